"""`.npz`: images and labels as NumPy arrays; read in pieces straight from the archive, never unpickled."""

from __future__ import annotations

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from aliasfree.data.source import Bad, Item, Source, single_split, split_of, stamp_file
from aliasfree.data.tree import sort_classes
from aliasfree.errors import DataError

_IMAGE_KEYS = ("images", "image", "imgs", "x", "data", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "targets", "target", "arr_1")
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, UnicodeError, EOFError, OSError, RuntimeError)
"""What `zipfile` raises for damaged archives; the names of members are decoded, too."""
_CHUNK_BYTES = 4 * 2**20
_MOST_BYTES = 256 * 2**20
"""Most bytes of one image, and of all labels together."""


class NpzSource(Source):
    """Images under `images`, `x`, `data` or `arr_0`, labels under `labels`, `y`, `target` or `arr_1`; with splits,
    `x_train` or `train_images` and the like. A lone array of another name is taken as the images.

    Images: (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3; whole numbers 0..255, or floats 0..1, which are
    multiplied by 255. Labels: whole numbers from 0, or strings, (N,) or (N, 1); absent = none.
    """

    priority: ClassVar[int] = 6

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() == ".npz"

    def stamp(self) -> list[str]:
        return [stamp_file(self.path)]

    def items(self, bad: Bad) -> Iterator[Item]:  # noqa: ARG002
        try:
            with zipfile.ZipFile(self.path) as archive:
                images, labels = self._keys([n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")])
                classes = None if labels is None else self._labels(labels)
                with archive.open(images + ".npy") as file:
                    yield from self._images(file, images, classes)
        except _DAMAGE as error:
            raise DataError(f"{self.path} is truncated or corrupt ({error}); write it again.") from error

    def _keys(self, names: list[str]) -> tuple[str, str | None]:
        splits = {n: split_of(n) for n in names}
        if any(splits.values()):
            here = [n for n in names if splits[n] == self.split]
            if not here:
                have = ", ".join(sorted({s for s in splits.values() if s}))
                raise DataError(f"{self.path} has no arrays of the split {self.split!r}; it has: {have}.")
        else:
            single_split(self.path, self.split)
            here = names
        bare = {n: _without_split(n) for n in here}
        images = next((n for key in _IMAGE_KEYS for n in here if bare[n] == key), None)
        labels = next((n for key in _LABEL_KEYS for n in here if bare[n] == key), None)
        if images is None and len(here) == 1:
            images = here[0]
        if images is None:
            raise DataError(f"{self.path} holds {', '.join(names)}; call the images 'images' and the labels 'labels'.")
        return images, labels

    def _labels(self, key: str) -> np.ndarray:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(key + ".npy") as file:
                raw = file.read(_MOST_BYTES + 1)
                if len(raw) > _MOST_BYTES:
                    raise ValueError("more than 256 MiB")
                shape, _, dtype = _npy_header(io.BytesIO(raw), f"{self.path}[{key!r}]")
                if dtype.itemsize * math.prod(shape) > len(raw):
                    raise ValueError("the header claims more than there is")
                labels = np.load(io.BytesIO(raw), allow_pickle=False)
        except ValueError as error:
            raise DataError(f"The labels {key!r} in {self.path} cannot be read ({error}); store numbers.") from error
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1 or labels.dtype.kind not in "iuU":
            raise DataError(
                f"The labels {key!r} in {self.path} have shape {labels.shape} and type {labels.dtype}; "
                "store one whole number or string for each image."
            )
        if labels.dtype.kind == "U":
            self.class_names = sort_classes(labels.tolist())
            index = {name: i for i, name in enumerate(self.class_names)}
            labels = np.array([index[n] for n in labels.tolist()], np.int64)
        return labels

    def _images(self, file: IO[bytes], key: str, labels: np.ndarray | None) -> Iterator[Item]:
        title = f"{self.path}[{key!r}]"
        shape, fortran, dtype = _npy_header(file, title)
        if len(shape) not in (3, 4) or 0 in shape[1:] or dtype.kind not in "buif":
            expected = "expected numbers of shape (N, H, W), (N, H, W, C) or (N, C, H, W)"
            raise DataError(f"{title} has shape {shape} and type {dtype}; {expected}.")
        channels_first = len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3)
        if len(shape) == 4 and shape[1] in (1, 3) and shape[3] in (1, 3):
            raise DataError(
                f"{title} has shape {shape}: channels may be first or last; store (N, H, W) or larger images."
            )
        if len(shape) == 4 and not channels_first and shape[3] not in (1, 3):
            raise DataError(f"{title} has shape {shape}, so no axis of 1 or 3 channels; expected (N, H, W, C).")
        if fortran:
            raise DataError(f"{title} is stored in Fortran order; save numpy.ascontiguousarray(images) instead.")
        n = shape[0]
        if labels is not None and len(labels) != n:
            raise DataError(f"{self.path} holds {n} images but {len(labels)} labels; they must belong together.")
        each = math.prod(shape[1:]) * dtype.itemsize
        if each > _MOST_BYTES:
            raise DataError(f"{title} claims images of {shape[1:]}, {each} bytes each; write it again.")
        step = max(1, _CHUNK_BYTES // each)
        for start in range(0, n, step):
            wanted = min(step, n - start)
            raw = file.read(wanted * each)
            if len(raw) < wanted * each:
                cut = start + len(raw) // each
                raise DataError(f"{title} is truncated: image {cut} of {n} is incomplete; write it again.")
            chunk = _to_uint8(np.frombuffer(raw, dtype).reshape(wanted, *shape[1:]), title, start)
            if channels_first:
                chunk = chunk.transpose(0, 2, 3, 1)
            if chunk.ndim == 4 and chunk.shape[3] == 1:
                chunk = chunk[..., 0]
            for i, image in enumerate(chunk, start):
                yield Item(image, None if labels is None else int(labels[i]), f"{title}[{i}]")


def _without_split(key: str) -> str:
    words = [w for w in key.lower().split("_") if split_of(w) is None]
    return "_".join(words)


def _npy_header(file: IO[bytes], title: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # a damaged header fails in any way of Python's literal parser
        raise DataError(f"{title} is no NumPy array ({error}); write it again.") from error
    raise DataError(f"{title} is a structured array; store plain numbers.")


def _to_uint8(chunk: np.ndarray, title: str, start: int) -> np.ndarray:
    if chunk.dtype == np.uint8:
        return chunk
    if chunk.dtype.kind == "b":
        return chunk.astype(np.uint8) * np.uint8(255)
    top = 1 if chunk.dtype.kind == "f" else 255
    flat = chunk.reshape(len(chunk), -1)
    wrong = ~((flat >= 0) & (flat <= top)).all(axis=1)  # also true for NaN
    if wrong.any():
        kind = "floats must lie in 0..1" if top == 1 else "whole numbers must lie in 0..255"
        index = start + int(wrong.argmax())
        raise DataError(f"{title}[{index}] holds values out of range: {kind}; rescale the images.")
    return np.rint(chunk * 255.0).astype(np.uint8) if top == 1 else chunk.astype(np.uint8)
