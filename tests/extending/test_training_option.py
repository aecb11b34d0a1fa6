"""A training option is one field: the page's example, on the command line and in a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from aliasfree.cli.options import chosen, takes
from aliasfree.errors import ArgumentError
from aliasfree.training import train

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def extended() -> Any:
    """The class of the page."""
    section = PAGE.read_text().partition("## Add a training option")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    names: dict[str, Any] = {"__name__": __name__, "dataclass": dataclass}
    exec(code, names)
    return names["MySettings"]


def test_it_is_an_option_of_the_command_behind_the_one_that_it_names(extended):
    got = []
    app = typer.Typer(rich_markup_mode="rich")

    @app.command()
    @takes(extended)
    def command(given: dict[str, Any]) -> None:
        got.append(chosen(extended, given, "train", "A new run"))

    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    line = next(line for line in shown.splitlines() if "--input-noise" in line)
    assert "Deviation of noise on the images. [default: (0.0)]" in " ".join(line.split())
    assert shown.index("--augment") < shown.index("--input-noise") < shown.index("--mixed-precision")
    needed = ["--data", "digits", "--config", "A", "--out", "x"]
    assert CliRunner().invoke(app, [*needed, "--input-noise", "0.5"]).exit_code == 0
    assert got[0].input_noise == 0.5
    with pytest.raises(ArgumentError, match="`input_noise` must be 0 or a positive number, not -1"):
        extended(data="digits", config="A", out="x", input_noise=-1)
    with pytest.raises(ArgumentError, match="`input_noise` must be a finite number, not 'much'"):
        extended(data="digits", config="A", out="x", input_noise="much")


def test_a_run_reads_it_and_keeps_it_in_its_folder(extended, tmp_path, monkeypatch):
    from aliasfree.training import state

    seen = []
    augment = state.augment

    def noisy(x: Any, *arguments: Any) -> Any:
        seen.append(settings.input_noise)
        return augment(x, *arguments)

    monkeypatch.setattr(state, "augment", noisy)
    settings = extended(data="digits", config="A", out=tmp_path / "run", image_size=8, base_channels=4, steps=1,
                        batch_size=2, sample_every=None, device="cpu", input_noise=0.25)  # fmt: skip
    run = train(settings, console=Console(quiet=True))
    assert seen == [0.25]
    assert run.config["settings"]["input_noise"] == 0.25
    assert run.settings_of(extended) == settings.replace(data=run.config["settings"]["data"])
