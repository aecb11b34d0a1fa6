"""From the images of a source to one .npy file: equal shape and channels, appended a few hundred at a time."""

from __future__ import annotations

import hashlib
import io
import zlib
from typing import IO

import numpy as np
from PIL import Image

from aliasfree.data.decode import fit, to_channels
from aliasfree.data.source import Item
from aliasfree.errors import DataError

__all__ = ["BLOCK_BYTES", "ArraySink", "Shaper", "block_checksums"]

BLOCK_BYTES = 16 * 2**20
_FLUSH_IMAGES, _FLUSH_BYTES = 256, 2**22


class Shaper:
    """Brings images to one size and number of channels; what the first one sets, all others must keep."""

    def __init__(self, size: tuple[int, int] | None, channels: int | None, resample: Image.Resampling) -> None:
        self.size, self.channels, self.resample = size, channels, resample
        self.first_size = self.first_mode = ""

    def __call__(self, item: Item) -> np.ndarray:
        image = item.image
        if not isinstance(image, Image.Image) and self.size is not None and image.shape[:2] != self.size:
            image = Image.fromarray(np.ascontiguousarray(image))
        if isinstance(image, Image.Image):
            image = self._shape(image)
        pixels = np.asarray(image)
        if self.size is None:
            self.size, self.first_size = (pixels.shape[0], pixels.shape[1]), item.name
        channels = 1 if pixels.ndim == 2 else 3
        if self.channels is None:
            self.channels, self.first_mode = channels, item.name
        if channels != self.channels:
            if self.first_mode:
                raise self._mixed(item, channels)
            pixels = np.asarray(to_channels(Image.fromarray(np.ascontiguousarray(pixels)), self.channels))
        if pixels.shape[:2] != self.size:
            raise self._unequal(item, (pixels.shape[0], pixels.shape[1]))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _shape(self, image: Image.Image) -> Image.Image:
        if self.channels is not None and not self.first_mode:
            image = to_channels(image, self.channels)
        if self.size is not None and not self.first_size:
            image = fit(image, self.size, self.resample)
        return image

    def _mixed(self, item: Item, channels: int) -> DataError:
        grey, colour = (item.name, self.first_mode) if channels == 1 else (self.first_mode, item.name)
        return DataError(
            f"Grey and colour images are mixed ({grey} is grey, {colour} is in colour); choose with `channels=1` "
            "or `channels=3`."
        )

    def _unequal(self, item: Item, size: tuple[int, int]) -> DataError:
        assert self.size is not None
        return DataError(
            f"Images differ in size ({self.first_size} is {self.size[0]}x{self.size[1]}, {item.name} is "
            f"{size[0]}x{size[1]}); choose one with `image_size`."
        )


class ArraySink:
    """Appends images to an .npy file whose length is known only at the end; a few hundred are held at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.count = 0
        self.waiting: list[np.ndarray] = []
        self.shape: tuple[int, int, int] | None = None

    def add(self, image: np.ndarray) -> None:
        if self.shape is None:
            self.shape = (image.shape[0], image.shape[1], image.shape[2])
            self.file.write(_header((0, *self.shape)))
        self.waiting.append(image)
        if len(self.waiting) * image.size >= _FLUSH_BYTES or len(self.waiting) == _FLUSH_IMAGES:
            self._flush()

    def finish(self) -> tuple[int, int, int, int]:
        self._flush()
        assert self.shape is not None
        shape = (self.count, *self.shape)
        self.file.seek(0)
        self.file.write(_header(shape))
        return shape

    def _flush(self) -> None:
        if self.waiting:
            raw = np.stack(self.waiting).tobytes()
            self.hash.update(raw)
            self.file.write(raw)
            self.count += len(self.waiting)
            self.waiting.clear()


def _header(shape: tuple[int, ...]) -> bytes:
    """The .npy header; NumPy pads it so that its length does not depend on the number of images."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def block_checksums(file: IO[bytes]) -> tuple[int, ...]:
    file.flush()
    file.seek(0)
    sums = []
    while block := file.read(BLOCK_BYTES):
        sums.append(zlib.crc32(block))
    return tuple(sums)
