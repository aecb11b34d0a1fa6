"""`aliasfree demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the runs and report.html.", show_default="runs/demo; --quick: runs/demo-quick"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="All of it with few steps, in about a minute; the digits are poor.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs that were trained with other settings.")
    ] = False,
) -> None:
    """Train Config A and Config T on bundled digits, sample, move, turn, judge, and write a report."""
    from aliasfree.experiments.demo import QUICK, DemoSettings, run_demo

    settings = QUICK if quick else DemoSettings()
    place = out or Path("runs/demo-quick" if quick else "runs/demo")
    report = run_demo(place, settings=settings, overwrite=overwrite)
    typer.echo(f"The report is in {report}; open it in a browser.")
