"""`--recipe`, an option of several commands, and `aliasfree recipes`, which lists them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import typer

from aliasfree.experiments.recipes import RECIPES, Recipe, find_recipe

__all__ = ["MEASURE", "SAMPLE", "TRAIN", "recipe_option", "recipes"]

TRAIN, SAMPLE, MEASURE = "train", "sample", "evaluate"


def recipe_option(command: str) -> Any:
    """The option of a command: the recipe's arguments become the command's defaults, which what is typed overrules."""

    def take(context: typer.Context, name: str | None) -> str | None:
        if name is not None:
            context.default_map = {**(context.default_map or {}), **_defaults(find_recipe(name), command)}
        return name

    names = ", ".join(RECIPES)
    words = f"Arguments by a name, of which those typed overrule: {names}; see `aliasfree recipes`."
    return typer.Option("--recipe", metavar="NAME", is_eager=True, callback=take, help=words)


def recipes() -> None:
    """List the recipes: what the docs report, as commands."""
    for name, recipe in RECIPES.items():
        typer.echo(f"{name}: {recipe.about}")
        for command in (TRAIN, SAMPLE, MEASURE):
            options = _typed(_defaults(recipe, command))
            typer.echo(f"    {command:8} {options}")


def _defaults(recipe: Recipe, command: str) -> dict[str, Any]:
    """What a recipe says to a command, by the names of its parameters."""
    parts: dict[str, Mapping[str, Any]] = {
        TRAIN: recipe.training,
        SAMPLE: recipe.sampling,
        MEASURE: {**recipe.sampling, **recipe.evaluation},
    }
    # None is typed as 0, which only settings of the training have in a recipe
    given = {name: 0 if value is None else value for name, value in parts[command].items()}
    return {"class_" if name == "class_label" else name: value for name, value in given.items()}


def _typed(values: Mapping[str, Any]) -> str:
    words = []
    for name, value in values.items():
        option = "--" + name.strip("_").replace("_", "-")
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        words += [option] if value is True else [option, shlex.quote(shown)]
    return " ".join(words)
