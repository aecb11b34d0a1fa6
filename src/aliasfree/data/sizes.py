"""Image sizes: reading what the user wrote, and the one rule a UNet with three downsamplings sets."""

from __future__ import annotations

from aliasfree.errors import ArgumentError

__all__ = ["check_image_size", "height_width"]

Size = int | tuple[int, int]


def height_width(size: Size) -> tuple[int, int]:
    """(height, width) in pixels from one number (square) or a pair.

    Raises ArgumentError for anything but one or two positive whole numbers.
    """
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
        raise ArgumentError(f"Image size {size!r} is not one or two positive whole numbers; write 32 or (32, 48).")
    return pair


def check_image_size(size: Size, multiple: int = 8) -> tuple[int, int]:
    """(height, width) when both can be halved three times, as the UNet does.

    size      pixels, one number (square) or (height, width)
    multiple  what both must be divisible by, >= 1; 8 = three downsamplings by 2

    Raises ArgumentError for other than positive whole numbers, and, naming the nearest sizes, for indivisible ones.

    >>> from aliasfree.data import check_image_size
    >>> check_image_size(32), check_image_size((32, 48))
    ((32, 32), (32, 48))
    """
    pair = height_width(size)
    for n in pair:
        if n % multiple:
            below, above = n // multiple * multiple, (n // multiple + 1) * multiple
            nearest = f"{below} or {above}" if below else f"{above}"
            shown = f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
            raise ArgumentError(
                f"Image size {shown} is not divisible by {multiple}; choose {nearest} with `image_size`."
            )
    return pair
