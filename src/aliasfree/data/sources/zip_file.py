"""A zip of images, read in place: class folders or images side by side, as in a folder."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

from aliasfree.data.decode import damaged, decode_all
from aliasfree.data.source import Bad, Item, Source, holds_images, pick_file, single_split, stamp_file
from aliasfree.data.tree import Tree, arrange
from aliasfree.errors import DataError
from aliasfree.files import require_regular

_MOST_BYTES = 256 * 2**20
"""Most bytes that one member may unpack to."""


class ZipSource(Source):
    """A `.zip` file, or a folder of them named after their splits (`cifar10-train.zip`, `cifar10-test.zip`)."""

    priority: ClassVar[int] = 4
    takes_labels: ClassVar[bool] = True

    def __init__(self, path: Path, split: str) -> None:
        super().__init__(path, split)
        self._file = pick_file(_zips(path), split, path) if path.is_dir() else path
        self._tree: Tree | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return bool(_zips(path)) and not holds_images(path)
        return path.suffix.lower() == ".zip"

    def stamp(self) -> list[str]:
        return [stamp_file(self._file), self.labels]

    def count(self) -> int:
        with _open(self._file) as archive:
            return len(self._arrange(archive).files)

    def items(self, bad: Bad) -> Iterator[Item]:
        with _open(self._file) as archive:
            files = self._arrange(archive).files
            names = [f"{self._file}!{member}" for member, _ in files]

            def unpack(member: str, name: str) -> io.BytesIO:
                return io.BytesIO(_read(archive, member, name))

            pairs = zip(files, names, strict=True)
            images = decode_all((partial(unpack, member, name), name) for (member, _), name in pairs)
            for (_, label), name, image in zip(files, names, images, strict=True):
                if isinstance(image, DataError):
                    bad(image)
                else:
                    yield Item(image, label, name)

    def _arrange(self, archive: zipfile.ZipFile) -> Tree:
        if self._tree is None:
            names = (i.filename for i in archive.infolist() if not i.filename.endswith(("/", "\\")))
            self._tree = arrange(names, self.split, str(self._file), self.labels, self._read_sheet(archive))
            if not self._tree.has_splits:
                single_split(self._file, self.split)
            self.class_names, self.notes = self._tree.class_names, self._tree.notes
        return self._tree

    def _read_sheet(self, archive: zipfile.ZipFile) -> Callable[[str, int], bytes]:
        return lambda member, most: _read(archive, member, f"{self._file}!{member}", most)


def _zips(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix.lower() == ".zip" and not p.name.startswith(".")]


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(require_regular(path))
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} is not a complete zip file ({error}); fetch it again.") from error
    with archive:
        yield archive


def _read(archive: zipfile.ZipFile, member: str, name: str, most: int = _MOST_BYTES) -> bytes:
    try:
        with archive.open(member) as file:
            raw = file.read(most)
    except RuntimeError as error:  # what zipfile raises for encrypted members
        raise DataError(f"{name} cannot be read ({error}); give an archive without a password.") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        NotImplementedError,
        ValueError,
    ) as error:
        raise damaged(name, error) from error
    if len(raw) >= _MOST_BYTES:
        raise DataError(
            f"{name} unpacks to more than 256 MiB, which no image needs; leave it out with `skip_bad=True`."
        )
    return raw
