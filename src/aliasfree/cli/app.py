"""The `aliasfree` command and what becomes of its errors."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from aliasfree import __version__
from aliasfree.cli import (
    analyze,
    data,
    demo,
    doctor,
    evaluate,
    export,
    filters,
    generate,
    recipes,
    report,
    studio,
    sweep,
    tile,
    train,
    tune,
)
from aliasfree.cli.commands import App
from aliasfree.cli.options import option_names, with_options
from aliasfree.errors import AliasfreeError

DEBUG = "ALIASFREE_DEBUG"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a write to a full disk says, which need not name the file: standard output has no name."""


class Commands(TyperGroup):
    """Turns what a user can cause into one sentence on stderr and an exit code; a bug keeps its traceback.

    2 for a mistake of the user's, 130 for Ctrl-C, and what a stopped run says of itself (128 + signal).
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AliasfreeError as error:
            code = getattr(error, "exit_code", 2)
            if code == 2 and os.environ.get(DEBUG):
                raise
            message = with_options(str(error), option_names(self))
            _say(message if code != 2 else f"error: {message}")
            raise typer.Exit(code) from error
        except BrokenPipeError:
            raise  # of `aliasfree ... | head`; handled by typer
        except OSError as error:
            # a disk that is full, read-only or not ours is no bug; the system's own words and the file say it
            if os.environ.get(DEBUG) or error.strerror is None or (error.filename is None and error.errno not in FULL):
                raise
            what = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
            _say(f"error: {what}; make room, or choose another place.")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            _say("interrupted.")
            raise typer.Exit(130) from error


def _say(line: str) -> None:
    typer.echo(line, err=True)


app = App(
    name="aliasfree",
    cls=Commands,
    help="Diffusion models whose every resampling step obeys the sampling theorem.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"aliasfree {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("sample")(generate.sample)
app.command("rotate")(generate.rotate)
app.command("film")(generate.film)
app.command("collage")(generate.collage)
app.command("evaluate", json=True)(evaluate.evaluate)
app.command("analyze", json=True)(analyze.analyze)
app.command("report", json=True)(report.report)
app.command("sweep")(sweep.sweep)
app.command("export")(export.export)
app.command("tile")(tile.tile)
app.command("app")(studio.app)
app.command("filters", json=True)(filters.filters)
app.command("configs")(filters.configs)
app.command("recipes")(recipes.recipes)
app.command("doctor", json=True)(doctor.doctor)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the `aliasfree` command; leaves by SystemExit."""
    for stream in (sys.stdout, sys.stderr):  # names and signs that it cannot print are spelled out
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: (
        f"warning: {message}\n"
    )  # no lines of source for who only uses it
    app(prog_name="aliasfree")
