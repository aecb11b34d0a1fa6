"""`--json`: scripts get one document on standard output and nothing else there."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.cli.commands import Answer, App
from aliasfree.pictures import grid, save_png

RUN = ("train", "--data", "digits", "--config", "D-2N", "--image-size", 8, "--base-channels", 4, "--batch-size", 4,
       "--steps", 1, "--sample-every", 0, "--device", "cpu")  # fmt: skip
FAST = ("--data", "digits", "--num", 66, "--steps", 1, "--device", "cpu")
COMMANDS = {
    "evaluate": ("evaluate", "run", "images", *FAST, "--features", "pixels", "--no-equivariance"),
    "evaluate --angles": ("evaluate", "run", *FAST, "--angles=0,90", "--windows", "0:1", "--methods", "spline",
                          "--noises", "independent"),
    "analyze": ("analyze", "run", "--images", 1, "--rate", 2),
    "report": ("report", "run"),
    "filters": ("filters", "D-ideal", "D-2N"),
    "data info": ("data", "info", "images"),
    "doctor": ("doctor",),
}  # fmt: skip


def aliasfree(*arguments: object, code: int = 0) -> tuple[str, str]:
    """(standard output, standard error)."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> dict[str, object]:
    """What each command gives with --json."""
    here = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIASFREE_CACHE", str(here / "cache"))
        patch.chdir(here)
        aliasfree(*RUN, "--out", "run")
        for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (66, 8, 8, 1), np.uint8)):
            save_png(grid(image[None]), f"images/{i:03d}.png")
        printed = {name: aliasfree(*call, "--json")[0] for name, call in COMMANDS.items()}
    return {name: json.loads(text, parse_constant=_refuse) for name, text in printed.items()}


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_output_is_one_document(documents, name):
    assert documents[name]


def test_evaluate_gives_what_it_writes_for_each_source(documents):
    run, images = documents["evaluate"]
    assert (run["config"], run["num"], run["steps"]) == ("D-2N", 66, 1)
    assert run["fidelity"]["pixels"]["generated"]["fid"]["value"] > 0
    assert images["source"] == "images"
    (turned,) = documents["evaluate --angles"]
    assert turned["run"] == "run"
    assert turned["curves"]


def test_report_analyze_and_filters_give_rows_and_name_their_files(documents):
    (row,) = documents["report"]["rows"]
    assert row["name"] == "D-2N"
    assert row["figures"]["fid"]["value"] > 0
    assert documents["report"]["files"] == ["report.md", "report.csv", "report.html"]
    assert documents["analyze"]["page"] == "analysis-run.html"
    assert documents["analyze"]["layers"][0]["guilt"] >= documents["analyze"]["layers"][1]["guilt"]
    ideal, paper = documents["filters"]["filters"]
    assert ideal["stopband_attenuation_db"] == "Infinity"
    assert paper["phase_gains"] == pytest.approx([0.377, 0.239, 0.239, 0.145], abs=5e-4)


def test_data_info_counts_the_images(documents):
    info = documents["data info"]
    assert (info["images"], info["image_size"], info["channels"], info["classes"]) == (66, [8, 8], 1, None)


def test_what_else_a_command_says_is_on_standard_error():
    loud = App()

    @loud.command("loud", json=True)
    def _loud() -> Answer:
        print("printed")
        sys.stdout.write("written\n")
        typer.echo("echoed")
        logging.getLogger("aliasfree").warning("logged")
        warnings.warn("warned", stacklevel=1)
        return Answer({"path": Path("x"), "value": float("inf")}, lambda: typer.echo("shown"))

    @loud.command("other")
    def _other() -> None:
        pass

    with pytest.warns(UserWarning, match="warned"):
        done = CliRunner().invoke(loud, ["loud", "--json"])
    assert json.loads(done.stdout) == {"path": "x", "value": "Infinity"}
    assert all(word in done.stderr for word in ("printed", "written", "echoed"))
    with pytest.warns(UserWarning, match="warned"):
        done = CliRunner().invoke(loud, ["loud"])
    assert done.stdout.splitlines() == ["printed", "written", "echoed", "shown"]


def test_after_a_mistake_standard_output_is_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (("report", "nothing"), ("filters", "A"), ("data", "info", "nothing"), ("evaluate", "x", *FAST)):
        said, wrong = aliasfree(*call, "--json", code=2)
        assert said == ""
        assert wrong.startswith("error: ")
