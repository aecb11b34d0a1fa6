"""Settings: frozen dataclasses that check what they are given, whether it was typed, or read from JSON or TOML.

A field is made by `option`: default, help and check stand there once, and the command line makes its option of them.
Types are those of the annotations. A class that has fields of its own making calls `check_types` in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aliasfree.errors import ArgumentError, ConfigError, did_you_mean
from aliasfree.files import json_value

__all__ = [
    "Option", "Settings", "at_least", "below", "between", "changed", "check_names", "check_types", "not_negative",
    "one_of", "option", "options", "positive",
]  # fmt: skip

Check = Callable[[str, Any, str], None]
"""check(name, value, tail) raises ArgumentError for a value out of range; the tail says what leaving it out means."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field of settings tells beside its type and default."""

    help: str = ""  # one line for the command line; an argument in backticks becomes an option there
    check: Check | None = None  # of a value that is not None
    none: str | None = None  # what None means: "all"
    panel: str | None = None  # the heading under which the command line lists it
    after: str | None = None  # the option behind which it is listed; None = as it is declared
    names: tuple[str, ...] = ()  # on the command line, where they are not made of the field's own
    metavar: str | None = None  # what stands there for a value, in place of the type
    positional: bool = False  # an argument by its place
    zero_is_none: bool = False  # 0 is written where None is meant, in what has no None: a command line, TOML


def option(default: Any = dataclasses.MISSING, help: str = "", check: Check | None = None, **line: Any) -> Any:
    """A field of settings; without a default it must be given.

    line  the other fields of `Option`
    """
    return dataclasses.field(default=default, metadata={"option": Option(help=help, check=check, **line)})


def changed(base: type[Any], name: str, default: Any, help: str | None = None, **line: Any) -> Any:
    """The field of a base class with another default, and with what else is given."""
    told = base.__dataclass_fields__[name].metadata["option"]
    line = line if help is None else {"help": help, **line}
    return dataclasses.field(default=default, metadata={"option": dataclasses.replace(told, **line)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of settings. Those that exist are valid.

    >>> from dataclasses import dataclass
    >>> from aliasfree.settings import Settings, at_least, option
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Blur(Settings):
    ...     width: int | None = option(None, "Pixels.", at_least(1), none="the image's")
    ...     quick: bool = option(False, "Less exact.")
    >>> Blur(width=3).to_dict()
    {'width': 3, 'quick': False}
    >>> Blur(quick="no")
    Traceback (most recent call last):
    aliasfree.errors.ArgumentError: `quick` must be true or false, not 'no'.
    """

    def __post_init__(self) -> None:
        check_types(self)
        for name, told in options(type(self)).items():
            value = getattr(self, name)
            if told.check is not None and value is not None:
                told.check(name, value, f" (left out: {told.none})" if told.none else "")
        self.check()

    def check(self) -> None:
        """What concerns several fields. Raises ArgumentError or ConfigError."""

    def replace(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again."""
        check_names(type(self), changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Types that JSON has, by the names of the fields."""
        return {field.name: json_value(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], version: str | None = None) -> Self:
        """The inverse of `to_dict`. Raises `ConfigError` for an unknown name, `ArgumentError` for a missing one.

        version  of the library that wrote the values, told where it has names that this one does not know
        """
        check_names(cls, values, version)
        needed = [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
        missing = [name for name in needed if name not in values]
        if missing:
            raise ArgumentError(f"The settings lack {', '.join(missing)}.")
        return cls(**values)


def options(settings: type[Any]) -> dict[str, Option]:
    """What is told of each field, in the order of the command line: a field stands behind the one that its option
    names, one that its class has from its base where it stood there, any other behind the one declared before it."""
    told = {f.name: f.metadata["option"] for f in dataclasses.fields(settings) if "option" in f.metadata}
    base = settings.__base__
    names = list(options(base)) if base is not None and dataclasses.is_dataclass(base) else []
    before: str | None = None
    for name in inspect.get_annotations(settings):
        if name not in told:
            continue
        after = told[name].after or (None if name in names else before)
        if name in names and after:
            names.remove(name)
        if name not in names:
            names.insert(names.index(after) + 1 if after else len(names), name)
        before = name
    return {name: told[name] for name in names}


def check_names(settings: type[Any], values: Mapping[str, Any], version: str | None = None) -> None:
    """Raise ConfigError for a name that settings do not have, ArgumentError for what is no table of names at all.

    version  of the library that wrote them
    """
    if not isinstance(values, Mapping):
        raise ArgumentError(f"Settings are a table of names and values, not {_shown(values)}.")
    names = [field.name for field in dataclasses.fields(settings)]
    for name in values:
        if name not in names:
            import importlib.metadata

            here = importlib.metadata.version("aliasfree")
            if version is not None and version != here:
                raise ConfigError(
                    f"There is no setting {_shown(name)} in aliasfree {here}, and these were written by aliasfree "
                    f"{_shown(version)[1:-1]}; install that version."
                )
            raise ConfigError(f"There is no setting {_shown(name)}{did_you_mean(str(name)[:80], names)}.")


# types


def check_types(settings: Any) -> None:
    """Check every field of a frozen dataclass against its annotation; text becomes a `Path`, a list a tuple, where such
    a one is asked for.

    Knows int (True and False are none), float (finite; a whole number will do), bool, str, Path, tuples, dataclasses,
    mappings, and unions of these with None. Raises ArgumentError naming the field.
    """
    for name, kind in _kinds(type(settings)).items():
        value = getattr(settings, name)
        try:
            taken = _taken(kind, value)
        except TypeError:
            raise ArgumentError(f"`{name}` must be {_words(kind)}, not {_shown(value)}.") from None
        if taken is not value:
            object.__setattr__(settings, name, taken)


def _kinds(settings: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _taken(kind: Any, value: Any) -> Any:
    """The value as its kind has it. Raises TypeError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        for one in arguments:
            try:
                return _taken(one, value)
            except TypeError:
                continue
        raise TypeError
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        every = len(arguments) == 2 and arguments[1] is Ellipsis
        if not every and len(value) != len(arguments):
            raise TypeError
        taken = tuple(_taken(one, v) for one, v in zip(arguments[:1] * len(value) if every else arguments, value,
                                                       strict=True))  # fmt: skip
        return value if taken == value else taken
    fits = {
        types.NoneType: value is None,
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value),
        str: isinstance(value, str | Path) and "\0" not in str(value),
        Path: isinstance(value, str | Path) and "\0" not in str(value),
    }.get(kind)
    if fits is None:
        fits = isinstance(value, origin or kind)
    if not fits:
        raise TypeError
    return kind(value) if kind in (str, Path) and not isinstance(value, kind) else value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _words(kind: Any) -> str:
    """What a kind is called: "a whole number or 2 whole numbers"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(one) for one in arguments if one is not types.NoneType)
    if origin is tuple:
        many = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"a list of {many}{_words(arguments[0]).removeprefix('a ')}s"
    simple = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", Path: "a path"}
    if kind in simple:
        return simple[kind]
    return "a table" if issubclass(origin or kind, Mapping) else f"a {getattr(kind, '__name__', kind)}"


_REPR = reprlib.Repr()
_REPR.maxstring = 60


def _shown(value: Any) -> str:
    """A value in a message, however large it is."""
    try:
        return _REPR.repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "so large a number"


# checks


def at_least(least: int) -> Check:
    """A whole number from `least` up."""
    return _must(lambda v: v >= least, f"a whole number of at least {least}")


def between(low: float, high: float) -> Check:
    """A number of that range, both ends included."""
    return _must(lambda v: low <= v <= high, f"between {low:g} and {high:g}")


def below(high: float) -> Check:
    """A number from 0 up to, and without, `high`."""
    return _must(lambda v: 0 <= v < high, f"at least 0 and below {high:g}")


def one_of(valid: Sequence[str]) -> Check:
    """One of these names."""

    def check(name: str, value: Any, tail: str) -> None:
        if value not in valid:
            raise ArgumentError(f"There is no `{name}` {_shown(value)}{did_you_mean(str(value)[:80], valid)}{tail}.")

    return check


def _must(holds: Callable[[Any], bool], words: str) -> Check:
    def check(name: str, value: Any, tail: str) -> None:
        if not holds(value):
            raise ArgumentError(f"`{name}` must be {words}, not {_shown(value)}{tail}.")

    return check


positive = _must(lambda v: v > 0, "a positive number")
not_negative = _must(lambda v: v >= 0, "0 or a positive number")
