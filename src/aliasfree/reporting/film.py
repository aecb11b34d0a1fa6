"""A film of sub-pixel motion: networks one above the other, as frames, as a strip, and their figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from aliasfree.pictures import strip
from aliasfree.results.film import Film, Pixels

__all__ = ["FPS", "FRAMES", "TRAVEL", "film_frames", "film_shifts", "film_strip"]

PATCH = 8
"""Pixels along the side of what is shown enlarged."""
TILE = 128
"""Least pixels of a tile on the screen."""
SHOWN = 5
"""Frames of a strip."""
FRAMES = 32
TRAVEL = 2.0
"""Pixels, over the whole film."""
FPS = 16


def film_shifts(frames: int = FRAMES, travel: float = TRAVEL) -> list[float]:
    """Pixels of each frame; the last one stops short of `travel`, where the first one would come again."""
    return [travel * k / frames for k in range(frames)]


def film_frames(films: Sequence[Film]) -> list[Image.Image]:
    """Every frame: a row a network; its images as sampled, then a patch of the first one, moved back and enlarged."""
    num, count = films[0].images.shape[:2]
    place, labels = _place(films), [*(f"{i}" for i in range(num)), "moved back"]
    frames = []
    for k in range(count):
        rows = [[*(_tile(film.images[i, k]) for i in range(num)), _patch(film, k, place)] for film in films]
        frames.append(strip(np.array(rows), labels, [film.label for film in films], scale=1))
    return frames


def film_strip(films: Sequence[Film], shifts: Sequence[float]) -> Image.Image:
    """A few frames of the first image, and one line of its pixels over time, a row a frame.

    In that last column what moves with the picture draws slanted lines, what sticks to the grid upright ones. Before it
    come the frames' patches, moved back and enlarged: what does not stick is the same in all of them.
    """
    count = len(shifts)
    picks = [round(k * (count - 1) / (SHOWN - 1)) for k in range(SHOWN)]
    place = _place(films)
    rows = [[_tile(f.images[0, 0]), *(_patch(f, k, place) for k in picks), _over_time(f, place)] for f in films]
    labels = ["sampled", *(f"{shifts[k]:.2g} px" for k in picks), "over time"]
    return strip(np.array(rows), labels, [film.label for film in films], scale=1)


def _place(films: Sequence[Film]) -> tuple[int, int]:
    """(top, left) of the patch that stands least still, in all networks together; not at the border."""
    unrest = sum(film.back[0].astype(np.float64).var(0).mean(-1) for film in films)
    h, w = unrest.shape
    edge = 2 if min(h, w) >= PATCH + 4 else 0
    sums = np.lib.stride_tricks.sliding_window_view(unrest[edge : h - edge, edge : w - edge], (PATCH, PATCH)).sum(
        (2, 3)
    )
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top) + edge, int(left) + edge


def _tile(image: Pixels) -> Pixels:
    scale = max(1, -(-TILE // image.shape[1]))
    return image.repeat(scale, 0).repeat(scale, 1)


def _patch(film: Film, frame: int, place: tuple[int, int]) -> Pixels:
    top, left = place
    patch = film.back[0, frame, top : top + PATCH, left : left + PATCH]
    return _stretched(patch, _tile(film.images[0, 0]).shape)


def _over_time(film: Film, place: tuple[int, int]) -> Pixels:
    line = film.images[0, :, place[0] + PATCH // 2]  # (frames, W, C)
    return _stretched(line, _tile(film.images[0, 0]).shape)


def _stretched(image: Pixels, shape: tuple[int, ...]) -> Pixels:
    """To (H, W) of a tile, pixels as they are."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape[:2], image.shape[:2], strict=True))
    return image[rows][:, columns]
