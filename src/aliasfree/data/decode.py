"""One encoded image to 8-bit grey or RGB, and to the wanted size.

Conversions: EXIF orientation is applied; palettes of greys become grey, other palettes, CMYK, YCbCr and Lab RGB; 16-bit
grey is divided by 257 and rounded; transparency is composited on black; of an animation the first frame is taken.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from aliasfree.errors import DataError
from aliasfree.image_files import open_image

__all__ = ["IMAGE_SUFFIXES", "PEAK", "decode", "decode_all", "fit", "is_image_name", "to_channels", "without_remarks"]

IMAGE_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".apng",
        ".avif",
        ".dib",
        ".ico",
        ".j2k",
        ".jp2",
        ".jpe",
        ".jpx",
        ".tga",
    }
)
MOST_PIXELS = 2**26
"""Most pixels of one image; a header that claims more is refused before anything is allocated."""
PEAK = "aliasfree peak"
"""Key of `info` under which an image that had 16 bits keeps its largest value."""
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}


def is_image_name(path: str) -> bool:
    """True for a file name (posix, relative) of an image: known suffix, nothing hidden, no `__MACOSX` junk."""
    parts = path.split("/")
    if any(p.startswith(".") or p == "__MACOSX" for p in parts):
        return False
    stem, dot, suffix = parts[-1].rpartition(".")
    return bool(stem and dot) and f".{suffix.lower()}" in IMAGE_SUFFIXES


def decode(file: Path | IO[bytes], name: str) -> Image.Image:
    """The image in `file` as a PIL image of mode `L` or `RGB`.

    file  a path or an open binary file
    name  its name in messages; `archive.zip!member` for a file inside a zip

    Raises DataError for a file that is truncated, corrupt, of an unknown format, or whose range of values is not known.
    """
    try:
        with open_image(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"claims {image.width} x {image.height} pixels, more than 2^26; shrink it first.")
            image.load()
            upright = ImageOps.exif_transpose(image)
        return _plain(upright)
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except MemoryError:
        raise
    # Pillow's readers raise whatever their parsing trips over (OSError, SyntaxError, struct.error, ...).
    except Exception as error:
        reason = "not an image this Pillow can read" if isinstance(error, Image.UnidentifiedImageError) else error
        raise damaged(name, reason) from error


def decode_all(
    files: Iterable[tuple[Callable[[], Path | IO[bytes]], str]], workers: int | None = None
) -> Iterator[Image.Image | DataError]:
    """`decode` of each (how to open it, its name), in order, by a pool of threads; an error takes an image's place.

    workers  None = one for each processor of this process, at most 8; a few images more are held in memory
    """
    workers = workers or min(
        8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )

    def one(make: Callable[[], Path | IO[bytes]], name: str) -> Image.Image | DataError:
        try:
            return decode(make(), name)
        except DataError as error:
            return error

    waiting: deque[Future[Image.Image | DataError]] = deque()
    pool = ThreadPoolExecutor(workers, "decode")
    try:
        for make, name in files:
            waiting.append(pool.submit(one, make, name))
            if len(waiting) > workers + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Leave out Pillow's warnings about EXIF and palettes, which do not concern the pixels. Not for use in threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


CURE = "; replace it, or leave such files out with `skip_bad=True`."
"""What ends the sentence about a damaged file."""


def damaged(name: str, reason: object) -> DataError:
    """The error of a file that is not what its name says."""
    return DataError(f"{name} is truncated or corrupt ({reason}){CURE}")


def _plain(image: Image.Image) -> Image.Image:
    grey = image.mode in _GREY_MODES or _is_grey_palette(image)
    if image.mode == "F":
        raise DataError("holds floating-point pixels, whose range is not known; save it as 8-bit first.")
    if image.mode.startswith("I"):  # 16-bit grey, as I;16 or widened to 32 bits
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError("holds 32-bit pixels beyond 0..65535; save it as 8-bit first.")
        eight = Image.fromarray(((values + 128) // 257).astype(np.uint8))
        eight.info[PEAK] = int(values.max(initial=0))
        return eight
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return image.convert("L" if grey else "RGB")


def _is_grey_palette(image: Image.Image) -> bool:
    palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    return palette is not None and palette[0::3] == palette[1::3] == palette[2::3]


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Grey (1, luma of ITU-R BT.601) or colour (3, grey repeated)."""
    return image.convert("L" if channels == 1 else "RGB")


def fit(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """The image at (height, width) `size`.

    Equal proportions: one call of Pillow's antialiased `resize`, which is what torchvision's `Resize` does to a PIL
    image and so what the paper does to MNIST (28 to 32, bilinear). Other proportions: scaled until it just covers
    `size` (square size: the shorter side fits), then the centre is cut out.
    """
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(height / image.height, width / image.width)
    covering = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    if image.size != covering:
        image = image.resize(covering, resample)
    if covering == (width, height):
        return image
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
