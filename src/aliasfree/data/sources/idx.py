"""IDX, the format of MNIST (yann.lecun.com): big-endian header, then the values; gzipped or not."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import ClassVar

import numpy as np

from aliasfree.data.source import Bad, Item, Source, single_split, split_of, stamp_file
from aliasfree.errors import DataError
from aliasfree.files import require_regular

_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049  # uint8 with 3 dimensions, uint8 with 1
_CHUNK_IMAGES = 1024
_PIECE = 2**20
_MOST_PIXELS = 2**26
"""Most pixels of one image."""
_IMAGES_NAME = re.compile(r"^(train|t10k|test)-images[-.]idx3-ubyte(\.gz)?$")
_IDX_NAME = re.compile(r"(idx\d|ubyte)[^.]*(\.gz)?$", re.IGNORECASE)


class IdxSource(Source):
    """A folder with MNIST's standard file names, or one images file with its labels beside it.

    `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-...`, with `-` or `.` before `idx`, with `.gz` or not.
    An images file whose labels are absent has no labels.
    """

    priority: ClassVar[int] = 10

    def __init__(self, path: Path, split: str) -> None:
        super().__init__(path, split)
        self._images, self._labels = self._locate()

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return bool(_images_files(path))
        return bool(_IDX_NAME.search(path.name)) or _begins_like_images(path)

    def stamp(self) -> list[str]:
        return [stamp_file(p) for p in (self._images, self._labels) if p is not None]

    def count(self) -> int:
        with _open(self._images) as file:
            return _header(file, self._images, _IMAGES_MAGIC, 3)[0]

    def items(self, bad: Bad) -> Iterator[Item]:  # noqa: ARG002
        labels = None if self._labels is None else _read_labels(self._labels)
        with _open(self._images) as file:
            n, height, width = _header(file, self._images, _IMAGES_MAGIC, 3)
            if labels is not None and len(labels) != n:
                raise DataError(
                    f"{self._images} holds {n} images but {self._labels} holds {len(labels)} labels; "
                    "give files that belong together."
                )
            step = max(1, min(_CHUNK_IMAGES, _MOST_PIXELS // (height * width)))
            for start in range(0, n, step):
                wanted = min(step, n - start)
                raw = _read(file, wanted * height * width, self._images)
                if len(raw) < wanted * height * width:
                    have = 16 + start * height * width + len(raw)
                    raise _wrong_length(self._images, 16 + n * height * width, str(have), f"{n} x {height} x {width}")
                for i, image in enumerate(np.frombuffer(raw, np.uint8).reshape(wanted, height, width), start):
                    label = None if labels is None else int(labels[i])
                    yield Item(image, label, f"{self._images.name}[{i}]")
            if _read(file, 1, self._images):
                expected = 16 + n * height * width
                raise _wrong_length(self._images, expected, f"more than {expected}", f"{n} x {height} x {width}")

    def _locate(self) -> tuple[Path, Path | None]:
        if self.path.is_dir():
            here = _images_files(self.path)
            found = [p for p in here if split_of(p.name) == self.split]
            if not found:
                name = "t10k" if self.split == "test" else self.split
                raise DataError(f"{self.path} has no {name}-images-idx3-ubyte(.gz) for split {self.split!r}; add it.")
            labels = _labels_beside(found[0])
            if labels is None:
                raise DataError(f"{self.path} has no labels beside {found[0].name}; add them, or name the images file.")
            return found[0], labels
        single_split(self.path, self.split)
        return self.path, _labels_beside(self.path)


def _images_files(folder: Path) -> list[Path]:
    """Images files under MNIST's names; of Kaggle's download, also those in a folder of their own name."""
    return sorted(f for p in folder.iterdir() if _IMAGES_NAME.match(p.name) if (f := _inner(p)) is not None)


def _inner(path: Path) -> Path | None:
    """The file itself, or the one of its name in the folder of its name."""
    if path.is_dir():
        inside = [path / path.name, path / path.name.replace("-idx", ".idx"), path / path.name.replace(".idx", "-idx")]
        return next((p for p in inside if p.is_file()), None)
    return path


def _begins_like_images(path: Path) -> bool:
    try:
        with _open(path) as file:
            return file.read(4) == _IMAGES_MAGIC.to_bytes(4, "big")
    except (OSError, EOFError, zlib.error):
        return False


def _labels_beside(images: Path) -> Path | None:
    if "images" not in images.name:
        return None
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    stems = {stem, stem.replace("-idx1", ".idx1"), stem.replace(".idx1", "-idx1")}
    candidates = (images.with_name(s + end) for s in sorted(stems, key=lambda s: s != stem) for end in ("", ".gz"))
    found = next((p for p in map(_inner, candidates) if p is not None and p.is_file()), None)
    if found is None and images.parent.name == images.name:  # Kaggle: each file in a folder of its own name
        return _labels_beside(images.parent.with_name(images.name))
    return found


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    try:
        with require_regular(path).open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rb") if zipped else path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error


def _read(file: gzip.GzipFile | BufferedReader, size: int, path: Path) -> bytes:
    """Up to `size` bytes; shorter only at the end of the file."""
    try:
        pieces = []  # in pieces: a header may promise more than there is
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)
    except EOFError as error:
        raise DataError(f"{path} is truncated: its gzip stream ends early; fetch the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); fetch the file again.") from error


def _header(file: gzip.GzipFile | BufferedReader, path: Path, magic: int, ndim: int) -> list[int]:
    raw = _read(file, 4 + 4 * ndim, path)
    kind = "images" if ndim == 3 else "labels"
    found = int.from_bytes(raw[:4], "big")
    if len(raw) >= 4 and found != magic:
        problem = f"is not an IDX file of {kind}: it begins with {found} instead of {magic}"
        raise DataError(f"{path} {problem}; check that it is the right file.")
    if len(raw) < 4 + 4 * ndim:
        raise _wrong_length(path, 4 + 4 * ndim, str(len(raw)), "the header alone")
    sizes = [int(n) for n in np.frombuffer(raw, ">u4", ndim, 4)]
    if math.prod(sizes[1:]) > _MOST_PIXELS or 0 in sizes[1:]:
        raise DataError(f"{path} claims images of {' x '.join(map(str, sizes[1:]))} pixels; fetch the file again.")
    return sizes


def _read_labels(path: Path) -> np.ndarray:
    with _open(path) as file:
        (n,) = _header(file, path, _LABELS_MAGIC, 1)
        raw = _read(file, n, path)
        if len(raw) < n or _read(file, 1, path):
            found = str(8 + len(raw)) if len(raw) < n else f"more than {8 + n}"
            raise _wrong_length(path, 8 + n, found, f"{n} labels")
    return np.frombuffer(raw, np.uint8)


def _wrong_length(path: Path, expected: int, found: str, what: str) -> DataError:
    return DataError(
        f"{path} has the wrong length: {expected} bytes expected ({what}), {found} found; fetch the file again."
    )
