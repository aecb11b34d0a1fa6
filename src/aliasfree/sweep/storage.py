"""A cell's run folder in a storage that machines share: an object store, or any other place that fsspec knows."""

from __future__ import annotations

import time
from pathlib import Path

from aliasfree.errors import ArgumentError
from aliasfree.sweep.cells import MARK

__all__ = ["CellStorage"]

SECONDS_BETWEEN_PUSHES = 30.0
_ASIDE = ("tensorboard", "checkpoints")


class CellStorage:
    """One run folder here and its copy there.

    url     of the storage, such as "s3://bucket/sweep" or a folder that all machines see
    name    of the cell, its place below `url`
    folder  the run folder on this machine

    Raises ArgumentError for a storage that fsspec does not know.
    """

    def __init__(self, url: str, name: str, folder: Path) -> None:
        import fsspec

        try:
            self.fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ArgumentError(f"The `storage` {url!r} cannot be used ({error}); give a folder or a URL.") from error
        self.place, self.folder = f"{str(root).rstrip('/')}/{name}", folder
        self._pushed: dict[str, tuple[int, int]] = {}  # file -> its size and time when it was pushed
        self._next_push = time.monotonic() + SECONDS_BETWEEN_PUSHES

    def fetch(self, *, checkpoints: bool = True) -> None:
        """Bring the copy here, over what is here; nothing where there is none."""
        self.fs.invalidate_cache()
        for path in self.fs.find(self.place) if self.fs.exists(self.place) else []:
            name = str(path).rsplit(f"{self.place}/", 1)[-1]
            if not checkpoints and name.split("/")[0] in _ASIDE:
                continue
            here = self.folder / name
            here.parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(path, str(here))
            self._pushed[name] = self._state(here)

    def push_sometimes(self) -> None:
        """`push`, when the last time is a while ago."""
        if time.monotonic() >= self._next_push:
            self.push()

    def push(self) -> None:
        """Bring there what has changed here, the mark of a finished cell last, and remove there what is gone here."""
        files = {
            str(p.relative_to(self.folder)): p for p in sorted(self.folder.rglob("*"))
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(self.folder).parts)
        }  # fmt: skip
        for name in sorted(files, key=lambda n: n == MARK):
            state = self._state(files[name])
            if self._pushed.get(name) != state:
                there = f"{self.place}/{name}"
                self.fs.makedirs(there.rsplit("/", 1)[0], exist_ok=True)
                self.fs.put_file(str(files[name]), there)
                self._pushed[name] = state
        for name in set(self._pushed) - set(files):
            self.fs.rm_file(f"{self.place}/{name}")
            del self._pushed[name]
        self._next_push = time.monotonic() + SECONDS_BETWEEN_PUSHES

    @staticmethod
    def _state(path: Path) -> tuple[int, int]:
        found = path.stat()
        return found.st_size, found.st_mtime_ns
