"""Options of the command line made from settings; and arguments in messages from below, which become options here."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any

import typer

from aliasfree.cli.parse import parse_size
from aliasfree.errors import ArgumentError
from aliasfree.settings import Option, options

__all__ = ["chosen", "option_names", "takes", "with_options"]

_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")
_OTHER_NAMES = {"class_label": "class_"}
"""Arguments that an option calls something else."""


def takes(*settings: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command with an option for each field of these settings.

    The function gets what was given for each class, as a dict by the names of the fields, and its own options by name.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[len(settings) :]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        made = [_parameters(cls) for cls in settings]

        @functools.wraps(function)
        def run(**arguments: Any) -> Any:
            given = [_given(cls, parameters, arguments) for cls, parameters in zip(settings, made, strict=True)]
            return function(*given, **{p.name: arguments[p.name] for p in own})

        of_settings = [p for parameters in made for p in parameters.values()]
        plain = [p for p in of_settings if p.annotation.__metadata__[0].rich_help_panel is None]
        under_a_heading = [p for p in of_settings if p not in plain]
        run.__signature__ = inspect.Signature([*plain, *own, *under_a_heading])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return decorate


def chosen(settings: type[Any], given: Mapping[str, Any], command: str, what: str, before: Any = None) -> Any:
    """The settings of what was given, or those from `before` with the changes. Raises ArgumentError for what lacks."""
    if before is not None:
        return before.replace(**given)
    fields = sorted(settings.__dataclass_fields__.values(), key=lambda f: not f.metadata["option"].positional)
    lacking = [_spelled(field) for field in fields if field.default is MISSING and field.name not in given]
    if lacking:
        raise ArgumentError(f"{what} needs {' and '.join(lacking)}; see `aliasfree {command} --help`.")
    return settings(**given)


def _spelled(field: Any) -> str:
    told: Option = field.metadata["option"]
    return "the folder of a model" if told.positional else _long(field.name, told)


def _parameters(settings: type[Any]) -> dict[str, inspect.Parameter]:
    """By the names of the fields: the parameters of a function that Typer makes options of; None = not given."""
    told, kinds = options(settings), typing.get_type_hints(settings)
    names = {name: _long(name, one) for name, one in told.items()}
    return {name: _parameter(settings, name, told[name], kinds[name], names) for name in told}


def _parameter(settings: type[Any], name: str, told: Option, kind: Any, names: Mapping[str, str]) -> inspect.Parameter:
    default = settings.__dataclass_fields__[name].default
    if default is MISSING:
        shown: str | bool = True
    elif default is None:
        shown = told.none is not None and with_options(told.none, names)
    else:
        shown = ("no", "yes")[default] if isinstance(default, bool) else str(default)
    help_text = with_options(told.help, names).replace("[", r"\[")
    line: dict[str, Any] = {"help": help_text, "metavar": told.metavar, "rich_help_panel": told.panel}
    kind = _typed(kind)
    if told.positional:
        info = typer.Argument(**line)
    else:
        both = f"/--no-{names[name].removeprefix('--')}" if kind is bool else ""
        info = typer.Option(*(told.names or (f"{names[name]}{both}",)), show_default=shown, **line)
    annotation = Annotated[kind | None, info]
    place = names[name].removeprefix("--").replace("-", "_")
    return inspect.Parameter(place, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _typed(kind: Any) -> type:
    """As what the command line reads a setting: a size is a text that `parse_size` takes."""
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    simple = [one for one in kinds if one in (int, float, bool, str, Path)]
    sizes = any(typing.get_origin(one) is tuple for one in kinds)
    return str if sizes else simple[0]


def _given(
    settings: type[Any], parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """What was typed, by the names of the fields."""
    told, given = options(settings), {}
    for name, parameter in parameters.items():
        value = arguments[parameter.name]
        if value is None:
            continue
        if told[name].metavar == "SIZE":
            value = parse_size(value)
        given[name] = None if told[name].zero_is_none and value == 0 else value
    return given


def _long(name: str, told: Option) -> str:
    return told.names[0] if told.names else f"--{name.replace('_', '-')}"


def with_options(message: str, names: Mapping[str, str]) -> str:
    """ "`num` must be ..." -> "--num must be ...", "`features='pixels'`" -> "--features pixels", "`overwrite=True`" ->
    "--overwrite". What is no option of any command stays as it is.

    names  of `option_names`
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        shown = names.get(_OTHER_NAMES.get(name, name))
        if shown is None:
            return found[0]
        if value is None or value == "True":
            return shown
        return f"--no-{shown.removeprefix('--')}" if value == "False" else f"{shown} {value.strip(_QUOTES)}"

    return _ARGUMENT.sub(option, message)


_QUOTES = "'\""


def option_names(command: Any) -> dict[str, str]:
    """Argument name -> option ("image_size" -> "--image-size") over a click command and all below it."""
    return {parameter.name: _longest(parameter.opts) for parameter in _options(command)}


def _options(command: Any) -> Iterator[Any]:
    yield from (p for p in command.params if p.param_type_name == "option")
    for below in getattr(command, "commands", {}).values():
        yield from _options(below)


def _longest(names: list[str]) -> str:
    return next(name for name in names if name.startswith("--"))
