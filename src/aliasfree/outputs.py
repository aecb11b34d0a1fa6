"""What a call may write: all its outputs are checked together, before its work starts.

The rule: a call never writes over what it reads, and over nothing else that is there unless it is told to
(`overwrite=True`). `evaluate` may renew its own figures: it knows them by their content, as figures of the same images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from aliasfree.errors import ArgumentError
from aliasfree.files import put_back
from aliasfree.lazy_exports import renamed

__all__ = ["check_outputs", "expand_path", "free_name"]

__getattr__ = renamed(__name__, {"named": "expand_path"})


def expand_path(path: str | Path) -> Path:
    """The path with `~` expanded, and with a name: "." and ".." become the folders that they stand for.

    >>> from pathlib import Path
    >>> from aliasfree.outputs import expand_path
    >>> expand_path(".") == Path.cwd(), expand_path("runs/a").as_posix()
    (True, 'runs/a')
    """
    path = Path(path).expanduser()
    return path.resolve() if path.name in ("", "..") else path


def check_outputs(
    outputs: Sequence[Path],
    *,
    reads: Iterable[Path] = (),
    fills: Path | None = None,
    overwrite: bool = False,
    own: bool = False,
) -> None:
    """Raise ArgumentError unless a call may write all of these files (or folders, replaced as a whole).

    reads      files and folders that the call reads, there or not: nothing of them is ever written over
    fills      a folder of images that the call reads: nothing is put into it either, where it would be taken for one
    overwrite  what else is there may be replaced
    own        what is there is of the same call, and may be renewed

    What a killed process had renamed, about to replace it, gets its name back first.
    """
    reads = list(reads)
    missing = [path for path in (*outputs, *reads) if not os.path.lexists(path)]
    for folder in {path.parent for path in missing}:
        put_back(folder, {path.name for path in missing if path.parent == folder})
    read = [path for path in reads if path.exists()]
    for k, path in enumerate(outputs):
        if path in outputs[:k]:
            raise ArgumentError(f"Two outputs would be called {path}; give another `out`.")
        if fills is not None and _within(path, fills):
            raise ArgumentError(f"{path} lies in the folder of images that is read; give an `out` outside of {fills}.")
        if path.exists() and not own and any(_within(path, other) or _contains(path, other) for other in read):
            raise ArgumentError(f"{path} is read by this call, so it is not written over; give another `out`.")
    there = [path for path in outputs if os.path.lexists(path)]
    if there and not (overwrite or own):
        more = f", and so do {len(there) - 1} more files that would be written" if len(there) > 1 else ""
        raise ArgumentError(f"{there[0]} exists{more}; give another `out`, or `overwrite=True`.")
    for path in outputs:
        _check_place(path)


def free_name(folder: Path, name: str, outputs: Callable[[Path], Sequence[Path]], suffix: str = "") -> Path:
    """The first of NAME, NAME-2, NAME-3, ... with the suffix, of whose `outputs` none is there."""
    tries, free = 1, folder / f"{name}{suffix}"
    while any(os.path.lexists(path) for path in outputs(free)):
        tries += 1
        free = folder / f"{name}-{tries}{suffix}"
    return free


def _within(path: Path, other: Path) -> bool:
    """Whether a path is a file, or that file's other name, or lies in a folder."""
    if path.exists() and other.is_file() and path.samefile(other):
        return True
    return path.resolve().is_relative_to(other.resolve())


def _contains(path: Path, other: Path) -> bool:
    """Whether `other` lies in a folder that would be replaced."""
    return path.is_dir() and other.resolve().is_relative_to(path.resolve())


def _check_place(path: Path) -> None:
    """Whether a file can be made there, as far as that is known without making one."""
    above = next(p for p in path.absolute().parents if os.path.lexists(p))
    if not above.is_dir():
        raise ArgumentError(f"{path} cannot be made, because {above} is no folder; give another `out`.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ArgumentError(f"{path} cannot be made: the folder {above} cannot be written to; give another `out`.")
