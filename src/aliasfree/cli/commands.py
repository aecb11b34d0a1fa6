"""What all commands share: paths as people type them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from aliasfree.outputs import named

__all__ = ["App"]

Function = TypeVar("Function", bound=Callable[..., None])


class App(typer.Typer):
    """Commands whose paths may begin with `~`, also where the shell leaves it (`--out=~/runs`), or be "." or ".."."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """As Typer's."""
        register = super().command(name, **options)

        def add(function: Function) -> Function:
            @functools.wraps(function)
            def run(**arguments: Any) -> None:
                function(**{name: _named(value) for name, value in arguments.items()})

            register(run)
            return function

        return add


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(v) for v in value]
    return named(value) if isinstance(value, Path) else value
