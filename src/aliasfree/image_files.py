"""The one place where image files are opened: formats that Pillow decodes itself, and regular files only.

Left to itself, Pillow goes by the content and starts Ghostscript, a whole interpreter, for an EPS that is called x.png.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import IO

from PIL import Image

from aliasfree.files import require_regular

__all__ = ["FORMATS", "open_image"]

FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "ICO", "JPEG2000", "TGA")
"""What is read, by Pillow's names; none of them starts a program."""


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """`PIL.Image.open` of a file of one of `FORMATS`; lazy as that is, and closed by `with`.

    Raises OSError (UnidentifiedImageError for another format), SyntaxError, or whatever Pillow's readers trip over.

    >>> from PIL import Image
    >>> from aliasfree.image_files import open_image
    >>> Image.new("L", (3, 2)).save("black.png")
    >>> open_image("black.png").size
    (3, 2)
    """
    return Image.open(require_regular(file) if isinstance(file, str | Path) else file, formats=_known())


@cache
def _known() -> tuple[str, ...]:
    """Of `FORMATS`, what this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
