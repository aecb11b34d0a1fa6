"""The documentation site: built offline, complete, and with nothing on it that is loaded from elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from aliasfree.cli import app
from tests.test_docstrings import MODULES, PUBLIC

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"""(?:<script[^>]*src=|<link[^>]*href=|<img[^>]*src=|import\(|url\()"?https?:[^")\s]*""")


def tool(name: str) -> Any:
    """A module of docs/tools/."""
    spec = importlib.util.spec_from_file_location(f"docs_tools_{name}", ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_every_option_of_every_command_is_on_the_page_of_the_command_line(site):
    page = re.sub(r"<[^>]*>", "", (site / "cli.html").read_text())
    root: Any = typer.main.get_command(app)
    todo = [("aliasfree", root)]
    while todo:
        name, command = todo.pop()
        todo += [(f"{name} {below}", c) for below, c in getattr(command, "commands", {}).items()]
        part = re.split(rf"\n{name}(?:¶|&para;)", page)[-1]
        missing = [p.opts[0] for p in command.params if p.param_type_name == "option" and p.opts[0] not in part]
        assert not missing, (name, missing)


@pytest.mark.slow
def test_every_public_name_is_in_the_python_reference_with_its_example(site):
    pages = "".join(path.read_text() for path in (site / "api").glob("*.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', pages))
    shown = {anchor.rpartition(".")[2] for anchor in anchors}
    assert {name.rpartition(".")[2] for name in PUBLIC if not name.startswith("aliasfree.errors")} - shown <= {
        "AliasfreeError"
    }
    assert pages.count("&gt;&gt;&gt;") > len(PUBLIC)


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text()
        assert not LOADED.findall(text), path


@pytest.mark.slow
def test_a_broken_link_or_a_missing_name_stops_the_build(tmp_path):
    small = tmp_path / "project"
    shutil.copytree(ROOT / "docs" / "tools", small / "docs" / "tools")
    for name in ("examples", "notebooks", "src"):
        (small / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "CHANGELOG.md", small)
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0]
    config = config.replace("  - mkdocs-jupyter:", "  - mkdocs-jupyter:\n      include: []")
    (small / "mkdocs.yml").write_text(config.replace("omitted_files: warn", "omitted_files: ignore"))
    for text, complaint in (
        ("[a page](nowhere.md)", "nowhere.md"),
        ("[a file](../Makefile)", "Makefile"),
        ("[a place](#nowhere)", "nowhere"),
        ("::: aliasfree.ops.no_such_op", "no_such_op"),
    ):
        (small / "docs" / "index.md").write_text(f"# Title\n\n{text}\n")
        done = build(small, tmp_path / "out")
        assert done.returncode != 0, text
        assert complaint in done.stdout + done.stderr


def test_the_python_reference_has_the_modules_whose_examples_are_tested():
    covered = {module for _, modules in tool("pages").API.values() for module in modules}
    assert covered == set(MODULES) - {"aliasfree"}  # whose names are all those of others


def test_a_docstring_becomes_a_table_and_a_block_of_code():
    text = tool("docstrings").as_markdown(
        "Turn it.\n\nx       planes, (N, C, H, W)\ndy, dx  pixels | fractions,\n        down and right\n\n"
        "Raises ShapeError.\n\n"
        ">>> 1 + 1\n2"
    )
    assert "| `x` | planes, (N, C, H, W) |\n| `dy`, `dx` | pixels \\| fractions, down and right |" in text
    assert text.rstrip().endswith("Raises ShapeError.\n\n\n```pycon\n>>> 1 + 1\n2\n```")


def test_links_out_of_the_folder_lead_to_what_the_site_shows():
    def links(text: str) -> str:
        return tool("pages").on_page_markdown(text, None, None, None)

    assert links("[x](../examples/train_digits.py)") == "[x](examples.md#train_digits)"
    assert links("[x](../notebooks/Train.ipynb)") == "[x](notebooks/Train.ipynb)"
    assert links("[x](results.md)") == "[x](results.md)"


def test_no_help_text_is_lost_as_markup():
    root: Any = typer.main.get_command(app)
    todo, lost = [root], []
    while todo:
        command = todo.pop()
        todo += getattr(command, "commands", {}).values()
        lost += [(command.name, p.name) for p in command.params if re.search(r"\[\w[^\]]*: ", p.help or "")]
    assert not lost, "rich takes [default: ...] for markup and drops it; give show_default"


def test_the_figures_of_the_page_on_aliasing_can_be_made_again(tmp_path):
    tool("figures").main(tmp_path)
    page = (ROOT / "docs" / "aliasing.md").read_text()
    shown = set(re.findall(r"\]\(pictures/([\w-]+\.png)\)", page))
    assert {path.name for path in tmp_path.iterdir()} == shown
    for name in shown:
        with Image.open(tmp_path / name) as made, Image.open(ROOT / "docs" / "pictures" / name) as kept:
            assert made.size == kept.size


@pytest.mark.slow
@pytest.mark.parametrize("from_disk", [True, False], ids=["from the disk", "served"])
def test_the_search_finds_the_page_that_explains_a_word_first_without_a_network(site, browser, from_disk):
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = site.as_uri() if from_disk else f"http://127.0.0.1:{server.server_port}"
        page = browser.new_page()
        wrong: list[str] = []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith((address, "data:")) else wrong.append(r.url))
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").press_sequentially("rotation")
        page.wait_for_selector(".md-search-result__item h1", timeout=60_000)
        found = page.locator(".md-search-result__item h1").all_inner_texts()
        page.close()
        server.shutdown()
    guides = [path.read_text().partition("\n")[0].removeprefix("# ") for path in (ROOT / "docs").glob("*.md")]
    assert found[0] in guides
    assert {"Sampling", "Evaluation", "Diffusion"} <= set(found)  # the guide, and two pages of the reference
    assert not wrong


def test_a_sweep_is_brought_into_the_docs_without_a_place_of_this_machine(tmp_path, monkeypatch):
    out, docs = tmp_path / "out", tmp_path / "project" / "docs"
    cell = out / "runs" / "mnist" / "A" / "seed-1"
    cell.mkdir(parents=True)
    (cell / "metrics.json").write_text(json.dumps({"source": str(cell), "num": 3}))
    for path in (cell / "cell.json", out / "recipe.json"):
        path.write_text("{}")
    (out / "table.md").write_text("# small\n\nAbout.\n\n**An answer?** No.\n\n### mnist\n\n| a |\n| --- |\n")
    (out / "rotation-mnist.png").write_bytes(b"picture")
    (docs / "pictures").mkdir(parents=True)
    (docs / "lab").mkdir()
    page = docs / "lab" / "small-sweep.md"
    bring = tool("sweep")
    page.write_text(f"Before.\n\n{bring.BEGIN}\n\nold\n\n{bring.END}\n\nAfter.\n")
    monkeypatch.setattr(bring, "DOCS", docs)
    monkeypatch.setattr(sys, "argv", ["sweep.py", str(out)])
    bring.main()
    once = page.read_text()
    assert once.startswith(
        f"Before.\n\n{bring.BEGIN}\n\n1 cells of `recipes/small.toml`:\n\n**An answer?** No.\n\n### mnist"
    )
    assert once.endswith(f"(../pictures/small-mnist.png)\n\n{bring.END}\n\nAfter.\n")
    assert (docs / "pictures" / "small-mnist.png").read_bytes() == b"picture"
    kept = docs.parent / "results" / "small" / "runs" / "mnist" / "A" / "seed-1"
    assert json.loads((kept / "metrics.json").read_text()) == {"source": "runs/mnist/A/seed-1", "num": 3}
    bring.main()
    assert page.read_text() == once
