"""`aliasfree sweep`: cells that go on, that fail alone, that are not mixed, and what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.errors import ArgumentError, RunError
from aliasfree.evaluation import classifier
from aliasfree.results.metrics import read_metrics
from aliasfree.sweep.cells import run_cell
from aliasfree.sweep.recipe import read_recipe
from aliasfree.sweep.sweep import _shown, sweep
from aliasfree.training import RunFolder

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = """
about = "tiny"
configs = ["A", "D-2N"]
seeds = [1, 2]
[training]
image_size = 8
base_channels = 4
batch_size = 2
steps = 3
checkpoint_every = 1
[sampling]
steps = 2
scheduler = "ddpm-clipped"
[evaluation]
num = 70
features = "pixels"
equivariance = false
[[data]]
name = "digits"
"""
QUIET = Console(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier, "IMAGES_SEEN", 3_000)
        yield


def recipe_file(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def marks(out: Path) -> dict[str, int]:
    """Cell -> when it was finished."""
    return {str(p.parent.relative_to(out / "runs")): p.stat().st_mtime_ns for p in out.glob("runs/*/*/*/cell.json")}


def test_every_cell_is_an_ordinary_run_and_the_table_is_written(tmp_path):
    turned = ("[[data]]", "[rotation]\nangles = [90]\nnum = 70\n[[data]]")
    recipe = read_recipe(recipe_file(tmp_path, turned))
    out = tmp_path / "out"
    result = sweep(recipe, out, device="cpu", console=QUIET)
    assert (result.finished, result.total, result.failed, result.stopped) == (4, 4, {}, False)
    run = RunFolder(out / "runs/digits/D-2N/seed-2")
    assert (run.settings.config, run.settings.seed, len(run.losses()[0])) == ("D-2N", 2, 3)
    assert read_metrics(run.path).sampling["seed"] == 2  # of its own seed's noise
    assert "| A | 2 |" in result.table
    assert "Difference to A" in result.table
    names = {p.name for p in result.files}
    assert names == {"table.md", "table.csv", "table.tex", "sweep.html", "rotation-digits.png"}
    assert all(p.stat().st_size > 100 for p in result.files)
    before = marks(out)
    figure = (out / "rotation-digits.png").read_bytes()
    turned_at = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/*/*/rotation.safetensors")}
    assert len(turned_at) == 2
    again = sweep(recipe, out, device="cpu", console=QUIET)
    assert (again.finished, again.table) == (4, result.table)
    assert marks(out) == before
    assert {p: p.stat().st_mtime_ns for p in turned_at} == turned_at
    assert (out / "rotation-digits.png").read_bytes() == figure  # from what is kept
    assert "Does turning while sampling work?" in result.table
    more = read_recipe(recipe_file(tmp_path, turned, ("seeds = [1, 2]", "seeds = [1, 2, 3]")))
    stopped = sweep(more, out, device="cpu", console=QUIET, until=time.time() - 1)
    assert (stopped.stopped, stopped.finished, stopped.table) == (True, 4, result.table)  # what is kept is shown


def test_progress_names_all_that_takes_long_and_never_goes_back(tmp_path):
    recipe = read_recipe(recipe_file(tmp_path, ('features = "pixels"', 'features = ["pixels", "classifier"]')))
    told: list[tuple[str, int, int]] = []
    run_cell(recipe.cells[0], tmp_path / "cell", device="cpu", report=lambda *a: told.append(a))
    order = list(dict.fromkeys(stage for stage, _, _ in told))
    assert order[:2] == ["training", "measuring"]
    assert {"learning", "comparing", "predicting noise"} <= set(order)
    shown: list[tuple[float, float, str]] = []
    report = _shown(lambda *a: shown.append(a), {"training": 3.0, "measuring": 1.0})
    for stage in told:
        report(*stage)
    passed = [one for one, _, _ in shown]
    assert passed == sorted(passed)
    assert (passed[-1], {total for _, total, _ in shown}) == (4.0, {4.0})
    assert {"training 3/3", "measuring 70/70"} <= {words for _, _, words in shown}
    assert any(words.startswith("learning ") for _, _, words in shown)


def test_a_killed_sweep_goes_on_where_it_was_and_ends_with_the_same_figures(tmp_path):
    path = recipe_file(tmp_path, ("steps = 3", "steps = 12"), ("seeds = [1, 2]", "seeds = [1]"))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    sweep(read_recipe(path), whole, device="cpu", console=QUIET)
    command = [sys.executable, "-m", "aliasfree", "sweep", str(path), "--out", str(parts), "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}) as job:
        first = parts / "runs/digits/D-2N/seed-1/checkpoints"
        while job.poll() is None and not list(first.glob("step-*")):
            time.sleep(0.05)
        job.send_signal(signal.SIGKILL)
    assert job.returncode == -signal.SIGKILL
    done = marks(parts)
    assert set(done) == {"digits/A/seed-1"}
    result = sweep(read_recipe(path), parts, device="cpu", console=QUIET)
    assert (result.finished, marks(parts)["digits/A/seed-1"]) == (2, done["digits/A/seed-1"])
    assert result.table == (whole / "table.md").read_text().split("\n\n", 2)[2]


def test_a_sweep_whose_time_is_over_goes_on_and_says_so(tmp_path):
    path, out = recipe_file(tmp_path), tmp_path / "out"
    result = sweep(read_recipe(path), out, device="cpu", console=QUIET, until=time.time() - 1)
    assert (result.stopped, result.finished, result.files) == (True, 0, [])
    assert RunFolder(out / "runs/digits/A/seed-1").latest_checkpoint().name == "step-00000001"
    done = CliRunner().invoke(app, ["sweep", str(path), "--out", str(out), "--device", "cpu", "--stop-after", "0.01s"])
    assert done.exit_code == 75
    assert "0 of 4 cells are finished; the same command goes on." in done.output
    assert RunFolder(out / "runs/digits/A/seed-1").latest_checkpoint().name == "step-00000002"
    assert sweep(read_recipe(path), out, device="cpu", console=QUIET).finished == 4


def test_a_failed_cell_is_named_and_the_others_go_on(tmp_path):
    path, out = recipe_file(tmp_path), tmp_path / "out"
    bad = out / "runs/digits/A/seed-2"
    bad.mkdir(parents=True)
    (bad / "something").write_text("else")
    done = CliRunner().invoke(app, ["sweep", str(path), "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 1
    assert "failed: digits/A/seed-2: RunError" in done.output
    assert set(marks(out)) == {"digits/A/seed-1", "digits/D-2N/seed-1", "digits/D-2N/seed-2"}
    assert "is not empty" in json.loads((out / "failed.json").read_text())["digits/A/seed-2"]["error"]
    (bad / "something").unlink()
    result = sweep(read_recipe(path), out, device="cpu", console=QUIET)
    assert (result.finished, result.failed) == (4, {})
    assert not (out / "failed.json").exists()


def test_a_changed_recipe_is_not_mixed_in_but_seeds_may_be_added(tmp_path):
    out = tmp_path / "out"
    few = read_recipe(recipe_file(tmp_path, ("seeds = [1, 2]", "seeds = [1]"), ('["A", "D-2N"]', '["A"]')))
    sweep(few, out, device="cpu", console=QUIET)
    before = marks(out)
    other = read_recipe(recipe_file(tmp_path, ("steps = 3", "steps = 4")))
    with pytest.raises(RunError, match=r"cells on digits were made with other settings .*'steps': 3.*'steps': 4"):
        sweep(other, out, device="cpu", console=QUIET)
    more = sweep(read_recipe(recipe_file(tmp_path, ('["A", "D-2N"]', '["A"]'))), out, device="cpu", console=QUIET)
    assert more.finished == 2
    assert before.items() <= marks(out).items()


@pytest.mark.parametrize(("change", "words"), [
    (("configs", "config"), "did you mean 'configs'"),
    (('"D-2N"', '"D-3N"'), "did you mean 'D-2N'"),
    (("seeds = [1, 2]", "seeds = []"), "'seeds' needs at least one"),
    (("seeds = [1, 2]", "seeds = [1, 1]"), "none of them twice"),
    (("seeds = [1, 2]", "seeds = [1, -1]"), "'seed' must be a whole number from 0"),
    (("seeds = [1, 2]", 'seeds = "1"'), "'seeds' must be a list of whole numbers"),
    (("seeds = [1, 2]", ""), "'seeds' needs at least one"),
    (("base_channels = 4", "base_channels = 5"), "multiple of 4"),
    (("base_channels = 4", "width = 4"), "no 'width'"),
    (('"ddpm-clipped"', '"dpm"'), "scheduler"),
    (("steps = 2\n", 'steps = "2"\n'), "'steps' must be a whole number, not '2'"),
    (("num = 70", "num = 1"), "at least 2"),
    (("num = 70", 'num = "70"'), "'num' must be a whole number, not '70'"),
    (('name = "digits"', ""), "needs a name"),
    (('name = "digits"', 'name = "a/b"'), "can be a folder"),
    (('name = "digits"', 'name = ".."'), "can be a folder"),
    (('name = "digits"', 'name = "CON"'), "can be a folder"),
    (('name = "digits"', f'name = "{"x" * 300}"'), "can be a folder"),
    (('name = "digits"', 'name = "digits"\nsource = 3'), "'source' must be a text, not 3"),
    (('name = "digits"', 'name = "digits"\ntraining = 3'), r"\[training\] is a table"),
    (("[[data]]", "[data]"), r"\[\[data\]\]"),
    (("[[data]]", "[rotation]\nnum = 70\n[[data]]"), "'angles' needs at least one"),
    (("[[data]]", '[rotation]\nangles = ["x"]\n[[data]]'), "'angles' must be a list of finite numbers"),
    (("[[data]]", "[rotation]\nangles = [0, nan]\n[[data]]"), "'angles' must be a list of finite numbers"),
    (("[[data]]", "[rotation]\nangles = [0]\nnum = 0\n[[data]]"), "'num' must be a whole number of at least 1"),
    (("[[data]]", "[rotation]\nangles = [0]\nnum = 60\n[[data]]"), "'num' must be more than 64"),
    (('"pixels"', '["pixels", "efficientnet"]'), "70 images are too few .* 1280 features .* at least 1281"),
    (("num = 70", "num = 60"), "60 images are too few .* 64 features of pixels"),
    (('"pixels"', '"nope"'), "no 'features' 'nope'"),
    (('"pixels"', "3"), "'features' must be a list of texts"),
    (("steps = 3", "steps ="), "Invalid value"),
    (("seeds = [1, 2]", "seeds = [1, 2]\ntraining = 3"), "Cannot"),
])  # fmt: skip
def test_a_recipe_with_a_mistake_is_refused_before_anything_runs(tmp_path, change, words):
    with pytest.raises(ArgumentError, match=f"(?s)tiny.toml cannot be used: .*{words}"):
        read_recipe(recipe_file(tmp_path, change))


def test_a_recipe_of_a_windows_editor_is_read_and_another_encoding_named(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TINY.replace("\n", "\r\n").encode())
    assert read_recipe(path).configs == ("A", "D-2N")
    for content in (TINY.encode("utf-16"), TINY.encode() + b"\n# \xe9"):
        path.write_bytes(content)
        with pytest.raises(ArgumentError, match=r"is not UTF-8 text.*; save it as UTF-8"):
            read_recipe(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_recipe(tmp_path)


def test_the_recipes_that_come_along_can_be_read_by_name():
    smoke, small, paper = (read_recipe(Path(name)) for name in ("smoke", "paper-small", "paper"))
    assert len(smoke.cells) == 6
    assert len(small.cells) == 2 * len(paper.cells) == 2 * 39
    assert {p.stem for p in RECIPES.glob("*.toml")} == {"gallery", "smoke", "paper-small", "paper"}
    settings = {
        part.name: next(c for c in paper.cells if c.part is part).run_settings(Path("x")) for part in paper.data
    }
    for s in settings.values():
        assert (s.epochs, s.batch_size, s.image_size, s.base_channels, s.lr) == (100, 16, 32, None, 3e-4)
        assert (s.ema_decay, s.grad_clip) == (0.0, None)
    assert settings["cifar10"].split == "test"
    assert settings["mnist"].num_images == 20_000
    measured = paper.cells[0].evaluate_settings("inception")
    assert (measured.count, measured.sampling.steps, measured.protocol, measured.split) == (2000, 999, "paper", "test")
    with pytest.raises(ArgumentError, match="gallery, paper, paper-small, smoke"):
        read_recipe(Path("nothing"))


@pytest.mark.parametrize("words", ["0s", "-1m", "soon", "nans", ""])
def test_a_time_that_is_none_is_refused(tmp_path, words):
    done = CliRunner().invoke(app, ["sweep", str(recipe_file(tmp_path)), "--stop-after", words, "--out", "x"])
    assert done.exit_code == 2
    assert "--stop-after" in done.output
