"""From the text of a source (`data`) to the source: by name, by prefix, or by the content of the path."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path

from aliasfree.data.source import Source, check_split
from aliasfree.errors import ArgumentError, DataError, did_you_mean

__all__ = ["absolute", "find_named", "open_path", "places", "register_source", "resolve", "source_names", "where"]

_STORED_NAMES = ("mnist", "cifar10")
"""Names of data that must lie in a data folder; what lies there decides how it is read."""
_SUFFIXES = ("", ".zip", ".npz", ".csv", ".csv.gz", ".tar.gz")


_REGISTERED: list[type[Source]] = []


def register_source(kind: type[Source]) -> type[Source]:
    """Let `open_images`, and with it every command, know a kind of data of yours; gives the class, for use as `@`.

    The kinds of `aliasfree.data.sources` need no call. Raises ArgumentError for a class that could never be asked for,
    or that takes a name or prefix of another.

    >>> import numpy as np
    >>> from aliasfree.data import open_images, register_source
    >>> from aliasfree.data.source import Item, Source
    >>> class Grey(Source):
    ...     prefix = "grey:"
    ...
    ...     def stamp(self):
    ...         return [str(self.path)]
    ...
    ...     def items(self, bad):
    ...         yield Item(np.full((8, 8), int(self.path.name.removeprefix("grey:")), np.uint8), None, "grey")
    >>> _ = register_source(Grey)
    >>> int(open_images("grey:128").images.max())
    128
    """
    missing = ", ".join(sorted(getattr(kind, "__abstractmethods__", {"Source"})))
    if not issubclass(kind, Source) or missing:
        raise ArgumentError(f"{kind.__name__} is no whole source: it lacks {missing}.")
    if not (kind.names or kind.prefix or "recognises" in vars(kind)):
        raise ArgumentError(f"{kind.__name__} answers to nothing; give it `names`, a `prefix`, or `recognises`.")
    known = {text for other in _kinds() for text in (*other.names, other.prefix)} | {*_STORED_NAMES}
    taken = sorted(known & {*kind.names, kind.prefix} - {""})
    if taken:
        raise ArgumentError(f"{taken[0]!r} is another source already; choose another name than that.")
    _REGISTERED.append(kind)
    _kinds.cache_clear()
    return kind


@cache
def _kinds() -> tuple[type[Source], ...]:
    package = importlib.import_module("aliasfree.data.sources")
    kinds = list(_REGISTERED)
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        kinds += [
            k for k in vars(module).values()
            if isinstance(k, type) and issubclass(k, Source) and k.__module__ == module.__name__
        ]  # fmt: skip
    return tuple(sorted(kinds, key=lambda k: (-k.priority, k.__name__)))


def source_names() -> tuple[str, ...]:
    """The bare names `open_images` knows, sorted.

    >>> from aliasfree.data import source_names
    >>> source_names()
    ('cifar10', 'digits', 'mnist', 'mnist-m')
    """
    return tuple(sorted({*_STORED_NAMES, *(n for k in _kinds() for n in k.names)}))


def places(name: str) -> list[Path]:
    """The folders in which data called `name` is looked for, first one first."""
    roots = [os.environ["ALIASFREE_DATA"]] if os.environ.get("ALIASFREE_DATA") else []
    return [Path(root).expanduser() / name for root in (*roots, "data")]


def find_named(name: str) -> Path | None:
    """$ALIASFREE_DATA/<name>, then ./data/<name>, each as a folder or with a suffix such as .zip; None if absent.

    Whatever its case: the paper's data are in data/MNIST-M.
    """
    for place in places(name):
        there = {}
        with contextlib.suppress(OSError):  # no such folder, or one that may not be listed
            there = {path.name.lower(): path for path in place.parent.iterdir()}
        for suffix in _SUFFIXES:
            path = place.with_name(place.name + suffix)
            if path.exists():
                return path
            if path.name in there:
                return there[path.name]
    return None


def resolve(text: str | Path, split: str) -> Source:
    """The source that `text` means.

    text   a bare name, "hub:NAME", "mnist-m:DIGITS:BACKGROUNDS", or a path. A name wins over a path of the same
           spelling; write "./mnist" for the path
    split  "train", "val", "test" or "all", or another name in use

    Raises ArgumentError for an unknown split, DataError for no such name or path, or a path of no known kind.
    """
    split = check_split(split)
    written = str(text)
    if not isinstance(text, Path):
        for kind in _kinds():
            if written in kind.names or (kind.prefix and written.startswith(kind.prefix)):
                return kind.from_text(written, split)
        if written in _STORED_NAMES:
            return _stored(written, split)
    path = Path(written).expanduser()
    if not path.exists():
        bare = os.sep not in written and not path.suffix
        hint = did_you_mean(written, (*source_names(), "hub:NAME", "a path")) if bare else "; check the path."
        raise DataError(f"There is no data at {written!r}{hint}")
    return open_path(path, split)


def absolute(text: str) -> str:
    """The same source from wherever it is asked for: a path made absolute, a name as it is."""
    for kind in _kinds():
        if text in kind.names or (kind.prefix and text.startswith(kind.prefix)):
            return kind.absolute(text)
    path = Path(text).expanduser()
    return text if text in _STORED_NAMES or not path.exists() else str(path.absolute())


def where(text: str) -> Path | None:
    """The absolute path of data that a data folder holds ("mnist"); None for other names, and where there are none."""
    found = find_named(text) if text in source_names() else None
    return None if found is None else found.absolute()


def open_path(path: Path, split: str) -> Source:
    """The source for what lies at `path`, recognised by its content. Raises DataError for no regular file or folder."""
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder (a pipe, a device); give one of these.")
    for kind in _kinds():
        if kind.recognises(path):
            return kind(path, split)
    raise DataError(
        f"{path} is of no known kind; give an IDX, CSV, zip, tar or npz file, or a folder of images "
        "(class folders or all side by side)."
    )


def _stored(name: str, split: str) -> Source:
    path = find_named(name)
    if path is None:
        here = " or ".join(str(p) for p in places(name))
        advice = "" if os.environ.get("ALIASFREE_DATA") else " (or set ALIASFREE_DATA to the folder above it)"
        raise DataError(f"The data set {name!r} was not found; put its files into {here}{advice}, or give a path.")
    return open_path(path, split)
