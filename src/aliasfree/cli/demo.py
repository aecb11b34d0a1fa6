"""`aliasfree demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="The folder for the two runs and report.html.")] = Path("runs/demo"),
) -> None:
    """Train Config A and Config D on bundled digits, sample, rotate, judge, and write a report."""
    from aliasfree.experiments.demo import run_demo

    report = run_demo(out)
    typer.echo(f"The report is in {report}; open it in a browser.")
