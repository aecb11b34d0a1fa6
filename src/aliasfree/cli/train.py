"""`aliasfree train`: one option for each setting of `RunSettings`."""

from __future__ import annotations

import os
import re
from shlex import quote
from typing import Annotated, Any

import typer

from aliasfree.cli.options import chosen, takes
from aliasfree.cli.recipes import TRAIN, recipe_option
from aliasfree.errors import ArgumentError
from aliasfree.training.settings import RunSettings


@takes(RunSettings)
def train(
    given: dict[str, Any],
    context: typer.Context,
    recipe: Annotated[str | None, recipe_option(TRAIN)] = None,  # its arguments are among those given
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out; options given again change its settings.")
    ] = False,
) -> None:
    """Train a network, into one folder; the defaults are the paper's.

    SIGTERM and Ctrl-C finish the step and save; [bold]--resume[/bold] goes on bit for bit. For several processes:
    [bold]torchrun --nproc_per_node 2 -m aliasfree train ...[/bold]
    """
    from aliasfree.training.run_folder import RunFolder, check_folder

    if resume and "out" not in given:
        raise ArgumentError("Going on with a run needs --out; see `aliasfree train --help`.")
    before = RunFolder(given["out"]).settings if resume else None
    settings = chosen(RunSettings, given, "train", "A new run", before)
    # refusals first: torch and diffusers take seconds to import
    check_folder(RunFolder(settings.out), resume)
    if not resume and not settings.data.startswith("hub:"):
        from aliasfree.data.registry import resolve

        resolve(settings.data, settings.split)
    from aliasfree.training.trainer import train

    try:
        folder = train(settings, resume=resume)
    except ArgumentError as error:
        raise _of_recipe(error, recipe, context) from error
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun, one process speaks for all
        typer.echo(f"The run is in {folder.path}; sample from it with `aliasfree sample {quote(str(folder.path))}`.")


def _of_recipe(error: ArgumentError, recipe: str | None, context: typer.Context) -> ArgumentError:
    """The error, and which of its arguments nobody typed."""
    names = re.findall(r"`(\w+)`", str(error)) if recipe is not None else []
    sources = {name: context.get_parameter_source(name) for name in names}
    theirs = [name for name, source in sources.items() if source is not None and source.name == "DEFAULT_MAP"]
    if not theirs:
        return error
    return ArgumentError(f"{error} Recipe {recipe} sets `{theirs[0]}`: overrule it, or leave `recipe` out.")
