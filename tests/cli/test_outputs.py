"""No command writes over what it reads, nor, unless told to, over anything else that is there."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.pictures import grid, save_png

FAST = ("--steps", "1", "--device", "cpu")
MEASURED = ("--data", "digits", "--features", "pixels", "--num", "66", *FAST)
TURNED = ("--data", "digits", "--num", "65", "--angles=0,90", "--windows", "0:1", "--methods", "spline",
          "--noises", "independent", *FAST)  # fmt: skip


def aliasfree(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of one step, measured, with four images."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        aliasfree("train", "--data", "digits", "--config", "A", "--out", out, "--image-size", 8, "--base-channels", 4,
                  "--batch-size", 4, "--steps", 1, "--sample-every", 0, "--device", "cpu")  # fmt: skip
        aliasfree("evaluate", out, *MEASURED, "--no-equivariance")
        aliasfree("sample", out, "--num", 4, *FAST)
        yield out


@pytest.fixture
def here(trained, tmp_path, monkeypatch) -> Path:
    """A folder with the run and 70 images, in which the commands are called."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), np.uint8)):
        save_png(grid(image[None]), f"images/{i:03d}.png")
    np.savez("samples.npz", np.random.default_rng(0).integers(0, 256, (70, 8, 8), np.uint8))
    return tmp_path


def state() -> dict[str, str]:
    """The content of every file here."""
    files = (p for p in Path().rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


CALLS = {
    "sample": (("sample", "run", "--num", 1, *FAST, "--out", "x"), ("x/00000.png", "x-grid.png", "x.json")),
    "rotate": (("rotate", "run", "--num", 1, "--angles=0,90", *FAST, "--out", "x.png"),
               ("x.png", "x.gif", "x.mp4", "x.json")),
    "collage": (("collage", "images", "--side", 5, "--out", "x.png"), ("x_0.png", "x_25.png", "x_50.png")),
    "evaluate": (("evaluate", "images", "--data", "digits", "--features", "pixels", "--out", "x.json"),
                 ("x.json", "x.png")),
    "evaluate a run": (("evaluate", "run", *MEASURED, "--no-equivariance", "--out", "x.json"), ("x.json", "x.png")),
    "evaluate --angles": (("evaluate", "run", *TURNED, "--out", "x.html"), ("x.html", "x.json", "x.png")),
    "analyze": (("analyze", "A", "--image-size", 8, "--base-channels", 4, "--images", 1, "--out", "x.html"),
                ("x.html", "x.json")),
    "report": (("report", "run", "--out", "x.html"), ("x.html", "x.csv", "x.md")),
    "filters": (("filters", "D-2N", "--out", "x.png"), ("x.png",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_every_output_and_sibling_is_guarded_before_the_work(name, here):
    call, outputs = CALLS[name]
    for output in outputs:
        precious = Path(output)
        precious.parent.mkdir(exist_ok=True)
        precious.write_text("precious")
        before = state()
        said = aliasfree(*call, code=2)
        assert "exists" in said
        assert "--overwrite" in said
        assert state() == before, f"{output}: something was written"
        precious.unlink()
        if precious.parent != Path():
            precious.parent.rmdir()


@pytest.mark.parametrize("name", [n for n in CALLS if n != "evaluate --angles"])
def test_overwrite_replaces_them_and_nothing_else(name, here):
    call, outputs = CALLS[name]
    for output in outputs:
        Path(output).parent.mkdir(exist_ok=True)
        Path(output).write_text("old")
    before = state()
    aliasfree(*call, "--overwrite")
    after = state()
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed == set(outputs)


@pytest.mark.parametrize(
    "call",
    [
        ("evaluate", "samples.npz", "--data", "digits", "--out", "samples.npz"),
        ("evaluate", "images", "--data", "samples.npz", "--out", "samples.json"),
        ("evaluate", "images", "--data", "digits", "--out", "images/000.json"),
        ("evaluate", "run", *MEASURED, "--out", "run/config.json"),
        ("evaluate", "run", *TURNED, "--out", "run/config.html"),
        ("collage", "images", "--out", "images/x.png"),
        ("analyze", "run", "--out", "run/config.html"),
        ("sample", "run", *FAST, "--out", "run/model"),
        ("rotate", "run", *FAST, "--out", "run/config.png"),
        ("report", "run", "--out", "run/losses.html"),
        ("report", "run/metrics.json", "--out", "run/metrics.html"),
    ],
    ids=lambda call: f"{call[0]} {call[1]} --out {call[-1]}",
)
def test_what_a_command_reads_stays_as_it_is_even_with_overwrite(call, here):
    before = state()
    done = CliRunner().invoke(app, [str(a) for a in (*call, "--overwrite")])
    after = state()
    assert {path for path in before if after.get(path) != before[path]} == set(), done.output


def test_the_figures_of_an_archive_lie_beside_it(here):
    before = state()
    aliasfree("evaluate", "samples.npz", "--data", "digits", "--features", "pixels")
    assert set(state()) - set(before) == {"samples-metrics.json", "samples-metrics.png"}
    assert state()["samples.npz"] == before["samples.npz"]
    aliasfree("report", "samples.npz")


def test_a_measurement_renews_its_own_figures(here):
    aliasfree("evaluate", "run", *MEASURED, "--no-equivariance")  # moved here: still its own
    call = ("evaluate", "images", "--data", "digits", "--features", "pixels")
    aliasfree(*call)
    aliasfree(*call)
    assert "exists" in aliasfree("evaluate", "samples.npz", "--data", "digits", "--out", "images-metrics.json", code=2)
    Path("run/metrics.json").write_text('{"mine": 1}')
    assert "exists" in aliasfree("evaluate", "run", *MEASURED, code=2)
