"""What all commands share: paths as people type them, and `--json`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from aliasfree.files import json_value
from aliasfree.outputs import expand_path

__all__ = ["Answer", "App"]

Function = TypeVar("Function", bound=Callable[..., Any])
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else, for scripts.")]


@dataclass(frozen=True)
class Answer:
    """What a command found: a document for scripts (of what `files.plain` takes), and how it is shown to people."""

    document: Any
    show: Callable[[], None]


class App(typer.Typer):
    """Commands whose paths may begin with `~`, also where the shell leaves it (`--out=~/runs`), or be "." or "..".

    A command that is added with `json=True` returns an `Answer` and gets the option `--json`. With it, standard output
    holds the document and nothing else, or nothing after an error; whatever else is said is on standard error.
    """

    def command(self, name: str | None = None, *, json: bool = False, **options: Any) -> Callable[[Function], Function]:
        """As Typer's."""
        register = super().command(name, **options)

        def add(function: Function) -> Function:
            @functools.wraps(function)
            def run(**arguments: Any) -> None:
                as_json = json and arguments.pop("as_json")
                with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
                    answer = function(**{name: _named(value) for name, value in arguments.items()})
                if answer is not None:  # None: another process of torchrun answers
                    _tell(answer, as_json)

            if json:
                run.__signature__ = _with_json(function)  # type: ignore[attr-defined]
            register(run)
            return function

        return add


def _tell(answer: Answer, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(json_value(answer.document), indent=1, allow_nan=False))
    else:
        answer.show()


def _with_json(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a command with the option `--json` behind its own."""
    own = inspect.signature(function, eval_str=True)
    asked = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JSON)
    return own.replace(parameters=[*own.parameters.values(), asked], return_annotation=None)


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(v) for v in value]
    return expand_path(value) if isinstance(value, Path) else value
