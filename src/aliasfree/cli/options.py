"""Messages from below speak of arguments, in backticks; here they become the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["option_names", "with_options"]

_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")
_OTHER_NAMES = {"class_label": "class_"}
"""Arguments that an option calls something else."""


def with_options(message: str, names: dict[str, str]) -> str:
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
