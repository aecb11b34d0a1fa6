"""`aliasfree evaluate`, `analyze` and `report` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aliasfree.cli import app

TINY = ("--image-size", "8", "--base-channels", "4", "--batch-size", "4", "--device", "cpu", "--sample-every", "0")
FAST = ("--data", "digits", "--steps", "2", "--scheduler", "ddpm-clipped", "--device", "cpu")


def aliasfree(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
        aliasfree("train", "--data", "digits", "--config", "D-2N", "--out", out, *TINY, "--steps", 2)
        yield out


def test_a_run_is_evaluated_and_reported(run, tmp_path):
    shown = aliasfree("evaluate", run, *FAST, "--num", 70, "--features", "pixels")
    assert "| D-2N | pixels | 70 |" in shown
    assert "EQ-T_frac" in shown
    assert json.loads((run / "metrics.json").read_text())["num"] == 70
    out = tmp_path / "report.html"
    assert "| D-2N | pixels | 70 |" in aliasfree("report", run, "--out", out)
    assert out.is_file()
    assert out.with_suffix(".csv").read_text().count("\n") == 2


def test_turned_samples_are_measured(run, tmp_path):
    page = tmp_path / "turned.html"
    options = ("--num", 70, "--angles=0,90", "--windows", "0:1", "--methods", "spline", "--noises", "independent")
    shown = aliasfree("evaluate", run, *FAST, *options, "--out", page)
    assert "spline, independent, 0:1 (paper)" in shown
    assert "x(0) turned, bicubic" in shown
    assert page.is_file()


def test_a_config_is_analysed(tmp_path):
    page = tmp_path / "a.html"
    shown = aliasfree(
        "analyze", "A", "--image-size", 8, "--base-channels", 4, "--images", 1, "--rate", 2, "--out", page
    )
    assert "GELU" in shown
    assert "EQ-T_frac" in shown
    assert page.is_file()


@pytest.mark.parametrize(("arguments", "words"), [
    (("evaluate", "no-such-folder", *FAST), "no-such-folder"),
    (("evaluate", ".", *FAST, "--protocol", "x"), "--protocol is default or paper"),
    (("evaluate", "a", "b", *FAST, "--out", "x.json"), "--out is for a single run"),
    (("evaluate", ".", *FAST, "--angles", "x"), "--angles"),
    (("analyze", "D-9"), "did you mean"),
    (("analyze", "A", "--part", "x"), "--part is unet or vae"),
    (("report", "no-such-run"), "aliasfree evaluate"),
])  # fmt: skip
def test_mistakes_get_a_sentence_and_exit_code_2(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in aliasfree(*arguments, code=2)
    assert not list(tmp_path.iterdir())
