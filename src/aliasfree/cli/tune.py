"""`aliasfree tune`: one option for each setting of `TuneSettings`, and of `TableSettings` for the table in the end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aliasfree.cli.options import chosen, takes
from aliasfree.errors import ArgumentError
from aliasfree.experiments.tune import TableSettings, TuneTable
from aliasfree.tuning.settings import TuneSettings


@takes(TuneSettings, TableSettings)
def tune(
    given: dict[str, Any],
    table: dict[str, Any],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out; options given again change its settings.")
    ] = False,
) -> None:
    """Convert a stock model and train it towards what it was, into one folder.

    Ends with a table of the stock, the converted and the tuned model. SIGTERM and Ctrl-C finish the step and save;
    [bold]--resume[/bold] goes on bit for bit.
    """
    if resume and "out" not in given:
        raise ArgumentError("Going on with a run needs --out; see `aliasfree tune --help`.")
    before = None
    if resume:
        from aliasfree.tuning.trainer import read_settings

        before = read_settings(given["out"])
    settings = chosen(TuneSettings, given, "tune", "Tuning", before)
    if settings.data is not None and not resume and not settings.data.startswith("hub:"):
        from aliasfree.data.registry import resolve

        resolve(settings.data, settings.split)
    from aliasfree.experiments.tune import tune_and_measure

    folder, measured = tune_and_measure(settings, TableSettings(**table), resume=resume)
    if measured is None:  # not the first process
        return
    _show(measured)
    typer.echo(f"the tuned model is in {folder / 'model'}, the curve in {folder / 'curve.png'}")


def _show(measured: TuneTable) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(show_edge=False)
    for head in ("", *measured.models):
        shown.add_column(head, overflow="fold")
    for name in measured.names:
        shown.add_row(*measured.row(name))
    Console(markup=False, highlight=False).print(shown)
    for note in measured.notes:
        typer.echo(note)
