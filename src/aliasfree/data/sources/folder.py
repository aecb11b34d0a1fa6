"""A folder of images: class folders (with train/ and test/ above them or not), or images side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from aliasfree.data.decode import decode_all
from aliasfree.data.labels import LABEL_FILES
from aliasfree.data.source import Bad, Item, Source, single_split
from aliasfree.data.tree import Tree, arrange
from aliasfree.errors import DataError
from aliasfree.files import require_regular


class FolderSource(Source):
    """Images under a folder, as `aliasfree.data.tree.arrange` reads the names; links are followed."""

    priority: ClassVar[int] = -10
    takes_labels: ClassVar[bool] = True

    def __init__(self, path: Path, split: str) -> None:
        super().__init__(path, split)
        self._tree: Tree | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir()

    def stamp(self) -> list[str]:
        facts = dict(_scan(self.path))
        tree = arrange(facts, self.split, str(self.path), self.labels, self._read)
        if not tree.has_splits:
            single_split(self.path, self.split)
        self._tree = tree
        self.class_names, self.notes = tree.class_names, tree.notes
        sheets = (f"{n} {fact}" for n, fact in facts.items() if n.rpartition("/")[2] in LABEL_FILES)
        return [
            str(self.path.resolve()),
            self.labels,
            *sheets,
            *(f"{name} {label} {facts[name]}" for name, label in tree.files),
        ]

    def count(self) -> int:
        return len(self._arranged().files)

    def items(self, bad: Bad) -> Iterator[Item]:
        files = self._arranged().files
        paths = [self.path / name for name, _ in files]
        images = decode_all((partial(Path, path), str(path)) for path in paths)
        for (_, label), path, image in zip(files, paths, images, strict=True):
            if isinstance(image, DataError):
                bad(image)
            else:
                yield Item(image, label, str(path))

    def _read(self, name: str, most: int) -> bytes:
        try:
            with require_regular(self.path / name).open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read ({error.strerror}); check it.") from error

    def _arranged(self) -> Tree:
        if self._tree is None:
            self.stamp()
        assert self._tree is not None
        return self._tree


def _scan(root: Path) -> Iterator[tuple[str, str]]:
    """(relative posix name, size and time of change) of every file below; `gone` for a dangling link."""
    waiting: list[tuple[str, Path, tuple[Path, ...]]] = [("", root, ())]
    while waiting:
        prefix, folder, above = waiting.pop()
        try:
            real = folder.resolve()
            if real in above:
                continue  # a link back up
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir():
                        if not entry.name.startswith(".") and entry.name != "__MACOSX":
                            waiting.append((name + "/", Path(entry.path), (*above, real)))
                    elif not entry.name.startswith("."):
                        yield name, _fact(entry)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read ({error.strerror}); check its permissions.") from error


def _fact(entry: os.DirEntry[str]) -> str:
    try:
        stat = entry.stat()
    except FileNotFoundError:  # a dangling link; reading it says so, or skips it
        return "gone"
    return f"{stat.st_size} {stat.st_mtime_ns}"
