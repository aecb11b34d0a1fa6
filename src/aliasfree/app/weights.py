"""A saved model looked at before anything of it is built: what its config asks for, and what its weights hold."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aliasfree.app.limits import FILE_BYTES
from aliasfree.errors import ArgumentError

__all__ = ["check_regular", "check_weights", "read_object"]

JSON_BYTES = 2**23
"""Of a config that is read."""
HEADER_BYTES = 100_000_000
"""Of the header of a .safetensors; its own library takes no more."""
SMALL = 2**16
"""A number in a config up to which nothing large is built, whatever it means."""
PARTS = ("", "model", "samples", "unet", "vae", "scheduler")
"""Where a run or a folder of diffusers has files that the studio opens."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ArgumentError, without the path, for what is none, and for no regular file."""
    try:
        content = json.loads(_read(path, JSON_BYTES))
    except ArgumentError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        words = {UnicodeDecodeError: "is not UTF-8", RecursionError: "is nested too deep"}.get(type(error))
        told = error.strerror if isinstance(error, OSError) and error.strerror else "is not valid JSON"
        raise ArgumentError(f"{path.name} {words or told}") from error
    if not isinstance(content, dict):
        raise ArgumentError(f"{path.name} holds no object")
    return content


def check_regular(folder: Path) -> None:
    """Raises ArgumentError for anything but files and folders where those are that the studio opens: a pipe in the
    place of a file would never end."""
    for part in PARTS:
        if (folder / part).is_dir():
            for entry in os.scandir(folder / part):
                if not (entry.is_file() or entry.is_dir()):
                    raise ArgumentError(f"{entry.path} is no regular file; remove it.")


def check_weights(folder: Path) -> None:
    """Only safetensors are read: other weights are pickles, which may hold code; and nothing is built that is not in
    them. Raises ArgumentError."""
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise ArgumentError(
            "There are no weights as .safetensors, and no others are read; save the model again as such."
        )
    if sum(path.stat().st_size for path in files) > FILE_BYTES:
        raise ArgumentError("The model has more than 2 GB of weights, too many for the studio; use it in Python.")
    try:
        config = read_object(folder / "config.json")
    except ArgumentError as error:
        raise ArgumentError(f"The model's {error}; save it again.") from error
    shapes = [shape for path in files for shape in _shapes(path)]
    widest = max((side for shape in shapes for side in shape), default=0)
    for name, value, is_count in _numbers(config):
        most = len(shapes) if is_count else widest if "channels" in name else max(widest, SMALL)
        if value > most:
            of = f"{len(shapes)} tensors" if is_count else f"no side above {widest}"
            raise ArgumentError(
                f"The model's config asks for {value} in {name}, and its weights have {of}, so they do not belong "
                "together; save the model again."
            )


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, int, bool]]:
    """Every whole number of a config with its name, and whether so many layers are made of it; each of these has at
    least one tensor."""
    left: list[tuple[str, Any]] = list(config.items())
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            if "block" in name:
                yield f"the length of {name}", len(value), True
            left += [(name, inner) for inner in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value, "layers" in name


def _shapes(path: Path) -> list[list[int]]:
    """Of the tensors in a .safetensors, by its header alone."""
    damaged = ArgumentError(f"The weights in {path.parent} are damaged; save the model again.")
    size = int.from_bytes(_read(path, 8, whole=False), "little")
    if size > min(HEADER_BYTES, path.stat().st_size):
        raise damaged
    try:
        header = json.loads(_read(path, 8 + size, whole=False)[8:])
        return [[int(side) for side in v["shape"]] for k, v in header.items() if k != "__metadata__"]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise damaged from error


def _read(path: Path, most: int, *, whole: bool = True) -> bytes:
    """The first bytes of a regular file, without waiting for anyone. Raises ArgumentError, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ArgumentError(f"{path.name} is no regular file")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # it has become another since
            raise ArgumentError(f"{path.name} is no regular file")
        content = file.read(most + 1)
    if whole and len(content) > most:
        raise ArgumentError(f"{path.name} has more than {most} bytes")
    return content[:most]
