"""What a visitor may ask for, and the checks of what the page's fields hold."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["folder_name", "number", "photograph", "uploaded", "whole"]

RUNS = 4
"""Side by side."""
STEPS = 250
"""Of sampling."""
FRAMES = 48
"""Of a film."""
FILM_STEPS = 20_000
"""Of all frames and runs of a film together."""
SIDE = 256
"""Pixels of an image that a network makes."""
PHOTOGRAPH = 192
"""Pixels of the middle of a photograph that are used."""
PIXELS = 40_000_000
"""Of a photograph that is read at all."""
FILE_BYTES = 2_000_000_000
"""Of one file that is sent to the studio."""
TRAINING_STEPS = 20_000


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises ArgumentError.

    >>> from aliasfree.app.limits import whole
    >>> whole(30.0, "steps", 1, 250)
    30
    """
    given = number(value, name, low, high, "a whole number ")
    if not given.is_integer():
        raise ArgumentError(f"`{name}` must be a whole number from {low} to {high}, not {value:g}.")
    return int(given)


def number(value: Any, name: str, low: float, high: float, kind: str = "") -> float:
    """A finite number within bounds. Raises ArgumentError."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not low <= value <= high:
        shown = f"{value:g}" if isinstance(value, int | float) else "nothing" if value is None else repr(value)
        raise ArgumentError(f"`{name}` must be {kind}from {low:g} to {high:g}, not {shown}.")
    return float(value)


def folder_name(value: Any) -> str:
    """A name for a new folder: letters, digits, "-", "_", ".", of which no path can be made. Raises ArgumentError."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.-]{0,63}", value, re.ASCII):
        raise ArgumentError("A name has up to 64 letters, digits, dots, dashes and underscores, such as digits-1.")
    return value


def uploaded(path: Any) -> Path:
    """A file that a visitor has sent. Raises ArgumentError for any other: a request can name whatever it likes."""
    folder = os.environ.get("GRADIO_TEMP_DIR")  # as `serve` has set it
    try:
        if folder and Path(path).resolve().is_relative_to(Path(folder).resolve()):
            return Path(path)
    except (OSError, TypeError, ValueError):  # no path at all
        pass
    raise ArgumentError("That file was not sent to the studio; choose it again.")


def photograph(path: str | Path) -> Tensor:
    """The middle of a photograph as float (1, C, S, S) in [-1, 1], C = 1 or 3, S a multiple of 4 and at most
    `PHOTOGRAPH`. Raises ArgumentError for what is no picture, or too small or large a one."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps, UnidentifiedImageError

    from aliasfree.image_files import open_image

    try:
        with open_image(path) as image:
            if image.width * image.height > PIXELS:
                raise ArgumentError(f"The picture has more than {PIXELS // 10**6} megapixels; choose a smaller one.")
            upright = ImageOps.exif_transpose(image)
            plain = upright.convert("L" if upright.mode in ("1", "L", "I;16") else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{Path(path).name} is no picture that can be read; choose a PNG or a JPEG.") from error
    side = min(PHOTOGRAPH, min(plain.size) // 4 * 4)
    if side < 16:
        raise ArgumentError(f"The picture is {plain.width}x{plain.height}; it needs at least 16 pixels a side.")
    scale = side / min(plain.size)
    if scale < 0.5:  # show the motif, not a few of its pixels
        plain = ImageOps.fit(plain, (2 * side, 2 * side), Image.Resampling.LANCZOS)
    left, top = (plain.width - side) // 2, (plain.height - side) // 2
    pixels = np.asarray(plain.crop((left, top, left + side, top + side)), np.float32)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(planes.copy())[None] / 127.5 - 1
