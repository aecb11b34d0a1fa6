"""`aliasfree sweep`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def sweep(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A TOML file: configs, data, seeds and settings; or smoke, paper.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder for runs, tables and page  [default: runs/RECIPE]")
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Save and stop after 90s, 9m or 5h; the same command goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train, sample and measure every config on every data set from every seed, and write one table of them.

    A sweep that was stopped goes on where it was; a cell that failed is named and tried again. It leaves with code 75
    when its time was over, 1 when a cell failed.
    """
    from aliasfree.cli.parse import parse_duration
    from aliasfree.experiments.sweep_recipe import read_recipe

    until = None if stop_after is None else time.time() + parse_duration(stop_after)
    found = read_recipe(recipe)
    from rich.console import Console

    from aliasfree.data.registry import resolve
    from aliasfree.experiments.sweep import sweep as run

    for part in found.data:
        if not part.source.startswith("hub:"):
            resolve(part.source, str(part.training.get("split", "train")))
    result = run(found, out or Path("runs") / found.name, device=device, until=until)
    if result.table:
        Console().print(result.table, markup=False, highlight=False, soft_wrap=True)
    for path in result.files:
        typer.echo(str(path))
    for name, error in result.failed.items():
        typer.echo(f"failed: {name}: {error}", err=True)
    if result.stopped:
        typer.echo(f"{result.finished} of {result.total} cells are finished; the same command goes on.", err=True)
        raise typer.Exit(75)
    if result.failed:
        raise typer.Exit(1)
