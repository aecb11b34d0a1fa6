"""`aliasfree report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aliasfree.cli.commands import Answer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs that `aliasfree evaluate` has measured.")],
    out: Annotated[Path, typer.Option(help="The page, .html; .md and .csv beside it.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> Answer:
    """Put measured runs side by side: fidelity with intervals and floor, equivariance, speed, learning curves."""
    from aliasfree.reporting.runs import markdown, write_report

    rows, files = write_report(runs, out, overwrite=overwrite)

    def show() -> None:
        from rich.console import Console

        Console().print(markdown(rows), markup=False, highlight=False, soft_wrap=True)
        typer.echo("\n" + "\n".join(str(path) for path in files))

    return Answer({"rows": rows, "files": files}, show)
