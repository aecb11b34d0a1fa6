"""What aliasfree keeps on the disk beside runs: how much it is, and how it is removed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aliasfree.errors import RunError

__all__ = ["Cache", "clear_caches", "find_caches"]

OURS = {
    "images": re.compile(r"[0-9a-f]{32}(\.lock|\.(new|old)\..*)?"),
    "evaluation": re.compile(r"\.?(classifier|features)-[\w.-]+\.(safetensors|json)"),
}
"""Folder below the data cache -> the names that the library gives. Nothing else is ever removed."""


@dataclass(frozen=True)
class Cache:
    """Things of one kind that can be had again. `entries` are files and folders of this library's making."""

    what: str
    folder: Path
    entries: tuple[Path, ...]
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"what": self.what, "folder": self.folder, "entries": len(self.entries), "bytes": self.bytes}


def find_caches() -> list[Cache]:
    """Decoded images, what `aliasfree evaluate` keeps of real images, and compiled kernels."""
    from aliasfree.data.cache import cache_root
    from aliasfree.ops.backends.cpu.cache import cached_kernels

    root = cache_root()
    found = [
        _cache("decoded images", root / "images", _named(root / "images")),
        _cache("classifiers, features", root / "evaluation", _named(root / "evaluation")),
    ]
    kernels = cached_kernels()
    if kernels.folder is not None:
        found.append(_cache("compiled kernels", kernels.folder, kernels.all_files))
    return found


def clear_caches() -> list[Cache]:
    """Remove what `find_caches` finds, and give what it was; all of it is made again when it is needed.

    A link is removed, not what it points to. Raises RunError for what cannot be removed.
    """
    found = find_caches()
    for path in (path for cache in found for path in cache.entries):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be removed ({error.strerror}); remove it by hand.") from error
    return found


def _cache(what: str, folder: Path, entries: Sequence[Path]) -> Cache:
    return Cache(what, folder, tuple(entries), sum(map(_size, _files(entries))))


def _named(folder: Path) -> list[Path]:
    pattern = OURS[folder.name]
    return sorted(p for p in folder.iterdir() if pattern.fullmatch(p.name)) if folder.is_dir() else []


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            yield from path.rglob("*")
        else:
            yield path


def _size(path: Path) -> int:
    """Bytes of a file; 0 of a folder, and of what went meanwhile."""
    try:
        return path.lstat().st_size if not path.is_dir() else 0
    except FileNotFoundError:
        return 0
