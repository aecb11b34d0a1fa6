"""A tab of the studio is one function: the page's example, served, asked, and found again after a reload."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aliasfree.errors import ArgumentError
from tests.app.talk import ask, function, open_page, visitor

gradio = pytest.importorskip("gradio")
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def example(monkeypatch) -> str:
    """The page's code, run."""
    from aliasfree.app import page

    monkeypatch.setattr(page, "TABS", dict(page.TABS))
    code = re.search(r"## Add a tab to the studio\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    exec(code[1], {})
    return code[1]


@pytest.fixture
def address(example, tmp_path, monkeypatch) -> Iterator[str]:
    """Where the studio is served with it."""
    import uvicorn

    from aliasfree.app import server
    from aliasfree.app.networks import Networks

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "sent"))
    with server._listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        application, close = server._application(Networks(home=tmp_path), "127.0.0.1", port, None)
        served = uvicorn.Server(uvicorn.Config(application, log_level="warning", ws="none", lifespan="on"))
        thread = threading.Thread(target=served.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}"
        served.should_exit = True
        thread.join(60)
        close()


def test_the_tab_of_the_page_works_and_is_found_again_after_a_reload(address):
    with visitor(address) as client:
        config = open_page(client)
        assert "Squares" in [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
        assert "7 squared is 49." in ask(client, function(config, "square"), [7])
        load = next(d["id"] for d in config["dependencies"] if any(event == "load" for _, event in d["targets"]))
        assert "7 squared is 49." in ask(client, load, [])


def test_a_name_that_is_taken_and_two_panels_of_one_kind_are_refused(example, tmp_path):
    from aliasfree.app import page, server
    from aliasfree.app.networks import Networks

    with pytest.raises(ArgumentError, match="has a tab Squares already"):
        exec(example, {})
    page.TABS["Again"] = page.TABS["Squares"]
    with pytest.raises(ArgumentError, match="Two panels of the studio are of one kind"):
        server._application(Networks(home=tmp_path), "127.0.0.1", 1, None)
