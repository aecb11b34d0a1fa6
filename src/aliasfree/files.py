"""Files and folders that are whole or not there, and JSON that any reader takes.

A file is written under another name beside its own, synced to the disk and renamed: a reader finds the old content or
the new, never half of it, even after a power cut.

JSON has no infinity and no NaN. They are written as the strings "Infinity", "-Infinity" and "NaN", which `float` reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aliasfree.lazy_exports import renamed

__all__ = [
    "clear_leftovers",
    "is_leftover",
    "json_value",
    "new_folder",
    "replacing",
    "sync",
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
    try:
        yield aside
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A name to make and fill a folder under, which takes the place of `path` when the block ends well.

    A folder that is at `path` is removed then. Raises OSError, and leaves no trace.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        if path.exists():
            shutil.rmtree(path)
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
