"""`aliasfree sweep`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer


def sweep(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A TOML file: configs, data, seeds and settings; or smoke, paper.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder for runs, tables and page.", show_default="runs/RECIPE")
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Save and stop after 90s, 9m or 5h; the same command goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    ray: Annotated[
        str | None, typer.Option(metavar="auto|local|ADDRESS", help="Run cells on a Ray cluster, several at once.")
    ] = None,
    gpus_per_run: Annotated[float | None, typer.Option(help="With --ray: of a cell; 0.25 puts four on a GPU.")] = None,
    cpus_per_run: Annotated[float | None, typer.Option(help="With --ray: of a cell.", show_default="1")] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --ray: where run folders go when machines share no folder (fsspec)."),
    ] = None,
) -> None:
    """Train, sample and measure every config on every data set from every seed, and write one table of them.

    A sweep that was stopped goes on where it was; a cell that failed is named and tried again. It leaves with code 75
    when its time was over, 1 when a cell failed.
    """
    from aliasfree.cli.parse import parse_duration
    from aliasfree.errors import ArgumentError
    from aliasfree.sweep.recipe import read_recipe

    of_cluster = {"gpus_per_run": gpus_per_run, "cpus_per_run": cpus_per_run, "storage": storage}
    given: dict[str, Any] = {name: value for name, value in of_cluster.items() if value is not None}
    if given and ray is None:
        raise ArgumentError(f"`{next(iter(given))}` is for a cluster; give `ray` as well.")
    until = None if stop_after is None else time.time() + parse_duration(stop_after)
    found = read_recipe(recipe)
    from rich.console import Console

    from aliasfree.data.registry import resolve
    from aliasfree.sweep.sweep import sweep as run

    for part in found.data:
        if not part.source.startswith("hub:"):
            resolve(part.source, str(part.training.get("split", "train")))
    there = None
    if ray is not None:
        from functools import partial

        from aliasfree.sweep.cluster import ClusterSettings, run_on_ray

        there = partial(run_on_ray, settings=ClusterSettings(address=ray, **given))
    result = run(found, out or Path("runs") / found.name, device=device, until=until, run=there)
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
