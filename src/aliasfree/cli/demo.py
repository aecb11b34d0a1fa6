"""`aliasfree demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="The folder for the runs and report.html.")] = Path("runs/demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace runs that were trained with other settings.")
    ] = False,
) -> None:
    """Train Config A and Config T on bundled digits, sample, move, turn, judge, and write a report."""
    from aliasfree.experiments.demo import run_demo

    report = run_demo(out, overwrite=overwrite)
    typer.echo(f"The report is in {report}; open it in a browser.")
