"""Errors a user can cause. Every message is one sentence that names the cure.

An argument is written in backticks: `num`, or with the value to give it, `features='pixels'`. The command line, and it
alone, makes its options of them (`cli/options.py`); a command to type stands in backticks too.

The command line prints the message and exits with code 2; anything that is not an `AliasfreeError` is a bug
and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AliasfreeError(Exception):
    """Base of all errors raised on purpose.

    >>> from aliasfree import AliasfreeError, Config
    >>> try:
    ...     Config.parse("D-3N")
    ... except AliasfreeError as error:
    ...     print(str(error).partition(" Valid")[0])
    unknown config 'D-3N'; did you mean 'D-2N'?
    """


class ConfigError(AliasfreeError, ValueError):
    """An unknown config, filter, window or activation name, or a filter that cannot exist."""


class ArgumentError(AliasfreeError, ValueError):
    """A value out of range, an unknown option, or arguments that contradict each other."""


class ShapeError(AliasfreeError, ValueError):
    """A tensor or image of the wrong rank, size or number of channels."""


class DataError(AliasfreeError, ValueError):
    """A data source that is missing, damaged or of another format than its name says."""


class CheckpointError(AliasfreeError, RuntimeError):
    """A checkpoint that is damaged, missing or of another architecture."""


class RunError(AliasfreeError, RuntimeError):
    """A run that cannot start or go on: folder in use, disk full, loss not finite."""


class BackendError(AliasfreeError, RuntimeError):
    """A backend asked for by name that cannot run here."""


def check_seed(seed: int) -> None:
    """Raise ArgumentError unless it is a number that torch and NumPy take for a seed, 0 .. 2^64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise ArgumentError(f"`seed` must be a whole number from 0 to 2^64 - 1, not {seed}.")


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A sentence tail listing the valid names, with the nearest one first: "; did you mean 'D-2N'? Valid: ..."."""
    names = list(valid)
    lowered = {n.lower(): n for n in reversed(names)}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    hint = f"; did you mean {lowered[near[0]]!r}?" if near else "."
    return f"{hint} Valid: {', '.join(names)}"
