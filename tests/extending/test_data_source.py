"""A data source is one registration: the page's example, in the cache and on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.data import open_images, register_source, registry, source_names
from aliasfree.data.source import Source
from aliasfree.errors import ArgumentError, DataError

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    yield
    registry._REGISTERED.clear()
    registry._kinds.cache_clear()


def test_the_source_of_the_page_is_read_by_its_content(tmp_path):
    images = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16).astype(np.uint8)
    np.save(tmp_path / "stack.npy", images)
    with pytest.raises(DataError, match="of no known kind"):
        open_images(tmp_path / "stack.npy")
    section = PAGE.read_text().partition("## Add a data source")[2]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})
    assert np.array_equal(open_images(tmp_path / "stack.npy").images[:, 0], images)
    told = CliRunner().invoke(app, ["data", "info", str(tmp_path / "stack.npy"), "--json"])
    assert json.loads(told.stdout)["images"] == 3
    with pytest.raises(DataError, match="no 'test' split"):
        open_images(tmp_path / "stack.npy", split="test")


class Named(Source):
    def stamp(self):
        return ["always the same"]

    def items(self, bad):
        yield from ()


def test_a_source_that_cannot_work_is_refused_when_it_is_registered():
    def make(**facts):
        return type("Mine", (Named,), facts)

    with pytest.raises(ArgumentError, match="answers to nothing"):
        register_source(make())
    for facts in ({"names": ("digits",)}, {"names": ("mnist",)}, {"prefix": "hub:"}):
        with pytest.raises(ArgumentError, match="is another source already"):
            register_source(make(**facts))
    with pytest.raises(ArgumentError, match="lacks items, stamp"):
        register_source(type("Half", (Source,), {"names": ("half",)}))
    register_source(make(names=("mine",)))
    assert "mine" in source_names()
