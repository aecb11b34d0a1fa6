"""Files and folders that are whole or not there, and JSON that any reader takes.

A file is written under another name beside its own, synced to the disk and renamed: a reader finds the old content or
the new, never half of it, even after a power cut.

JSON has no infinity and no NaN. They are written as the strings "Infinity", "-Infinity" and "NaN", which `float` reads.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import errno
import glob
import json
import math
import os
import re
import shutil
import stat
import time
import warnings
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from aliasfree.lazy_exports import renamed

__all__ = [
    "clear_leftovers",
    "is_leftover",
    "json_value",
    "new_folder",
    "put_back",
    "put_in_place",
    "replacing",
    "require_regular",
    "sync",
    "together",
    "write_file",
    "write_json",
]

__getattr__ = renamed(__name__, {"plain": "json_value"})


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write a file under, which takes the place of `path` when the block ends well; parents are made.

    Raises OSError. After an error, also one of the block, `path` is unchanged and no other file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with _placing(aside, path):
        yield aside
        sync(aside)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A name to make and fill a folder under, which takes the place of `path` when the block ends well.

    A folder that is at `path` is renamed, replaced, and only then removed. Raises OSError. After an error, also one of
    the block, it is at `path` again; after a kill the next call puts it back (`put_back`). What of it cannot be removed
    is left under a hidden name, with a warning.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    put_back(path.parent, [path.name])
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if left == aside or is_leftover(left):  # of a killed process, perhaps one with the same number
            _discard(left)
    with _placing(aside, path):
        token = _waiting.set(None)  # the files in it have their places in it at once
        try:
            yield aside
        finally:
            _waiting.reset(token)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files and folders that are written within the block take their places together at its end.

    Raises OSError. After an error, also one of the block, all are as they were. A kill leaves each old or new, whole.

    >>> from aliasfree.files import together, write_file
    >>> with together():
    ...     write_file("table.csv", "a,b")
    ...     write_file("table.md", "| a | b |")
    """
    if _waiting.get() is not None:  # the outer block's end is the end
        yield
        return
    waiting: dict[Path, Path] = {}
    token = _waiting.set(waiting)
    try:
        try:
            yield
        finally:
            _waiting.reset(token)
        put_in_place(waiting)
    except BaseException:
        for aside in waiting.values():
            _discard(aside)
        raise


_waiting: contextvars.ContextVar[dict[Path, Path] | None] = contextvars.ContextVar("waiting", default=None)
"""Within `together`: by the path of what is to be replaced, the name that the new one has until then."""


@contextlib.contextmanager
def _placing(aside: Path, path: Path) -> Iterator[None]:
    try:
        yield
        waiting = _waiting.get()
        if waiting is None:
            put_in_place({path: aside})
        else:
            waiting[path] = aside
    except BaseException:
        _discard(aside)
        raise


def put_in_place(new: Mapping[Path, Path]) -> None:
    """Rename what was written, {path: its name so far}: all of it or, after an error, none."""
    for path, aside in new.items():
        if not os.path.lexists(aside):
            raise FileNotFoundError(errno.ENOENT, "nothing was written", str(path))
        if os.path.lexists(path) and path.is_dir() != aside.is_dir():
            raise FileExistsError(errno.EEXIST, "is a file and not a folder, or a folder and not a file", str(path))
    old = {path: path.with_name(f".{path.name}.{os.getpid()}.old") for path in new if os.path.lexists(path)}
    if len(new) == 1 and not any(path.is_dir() for path in old):
        old = {}  # a file takes the place of another in one go
    for inner in (inner for path in old if path.is_dir() for inner in new[path].rglob("*")):
        sync(inner)  # the old one goes only when the new one is safe
    try:
        for path, aside in new.items():
            if path in old:
                _set_aside(path, old[path])
            aside.replace(path)
        for folder in {path.parent for path in new}:
            sync(folder)
    except BaseException:
        for path, aside in new.items():
            if not os.path.lexists(aside):  # the new one is in place
                path.replace(aside)
            if path in old and os.path.lexists(old[path]):
                old[path].replace(path)
                old[path].unlink(missing_ok=True)  # two names of one file are both left
        raise
    for path in old:
        for hidden, _ in _old_ones(path.parent, [path.name]):
            with contextlib.suppress(OSError):
                hidden.replace(new[path])  # a name that is never put back: from here on it may be half removed
                _discard(new[path])
            for left in filter(os.path.lexists, (hidden, new[path])):
                warnings.warn(f"{path} is replaced; the old one cannot be removed whole: see {left}.", stacklevel=6)


def _set_aside(path: Path, old: Path) -> None:
    """Rename a folder; a file keeps its name until another takes its place."""
    if path.is_dir():
        path.rename(old)
        return
    old.unlink(missing_ok=True)
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(path, old, follow_symlinks=False)


def _discard(path: Path) -> None:
    """Remove a file or folder as far as that goes."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_OLD = re.compile(r"\.(.+)\.\d+\.old")


def _old_ones(folder: Path, names: Container[str] | None) -> list[tuple[Path, Path]]:
    """(its hidden name, its own) of whatever was in a place of a folder (None = any) that a new one takes."""
    found = ((entry, _OLD.fullmatch(entry.name)) for entry in folder.iterdir())
    return [(entry, folder / m[1]) for entry, m in found if m and (names is None or m[1] in names)]


def put_back(folder: Path, names: Container[str] | None = None) -> None:
    """Give what a killed process had renamed in a folder, about to replace it, its name again; None = any name."""
    if not os.access(folder, os.R_OK | os.W_OK) or not folder.is_dir():
        return
    for hidden, path in _old_ones(folder, names):
        if not os.path.lexists(path):
            time.sleep(0.2)  # a living process may be between its two renames
        if not os.path.lexists(path):
            hidden.rename(path)


_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp(\..*)?")


def is_leftover(path: Path) -> bool:
    """Whether a name is one under which `replacing` or `new_folder` of a process that is no more wrote."""
    found = _LEFTOVER.fullmatch(path.name)
    if found is None:
        return False
    try:
        os.kill(int(found[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False  # of another user
    return False


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes had begun to write in a folder; it need not be there."""
    for path in filter(is_leftover, folder.iterdir() if folder.is_dir() else ()):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_file(path: str | Path, content: bytes | str) -> None:
    """Replace a file in one go; text as UTF-8. Raises OSError, and then leaves the old one."""
    with replacing(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, value: Any, indent: int = 1) -> None:
    """Replace a JSON file in one go with what `json_value` makes of a value."""
    write_file(path, json.dumps(json_value(value), indent=indent, allow_nan=False) + "\n")


def json_value(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings as objects, sequences as lists, paths as strings, numbers that
    are not finite as "Infinity", "-Infinity" or "NaN"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: json_value(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value) if isinstance(value, Path) else value


def require_regular(path: str | Path) -> Path:
    """The path of a regular file, or of a link to one: opening a pipe or a device may wait for good. Raises OSError."""
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return path


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, outlive a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folder, and syncs nothing that is open for reading
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
