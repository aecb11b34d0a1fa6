"""What all commands share: paths as people type them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from aliasfree.outputs import named

__all__ = ["App"]


class App(typer.Typer):
    """Commands whose paths may begin with `~`, also where the shell leaves it (`--out=~/runs`), or be "." or ".."."""

    def command(self, *args: Any, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """As Typer's."""
        register = super().command(*args, **options)

        def add(function: Callable[..., None]) -> Callable[..., None]:
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
