"""The times that a sampler of so many steps visits."""

from __future__ import annotations

import numpy as np

from aliasfree.errors import ArgumentError

__all__ = ["even_times", "trailing_times"]


def even_times(total: int, steps: int, last: float) -> list[int]:
    """`steps` distinct times from total-1 down to `last`, evenly spaced; one step visits total-1 alone."""
    if not 1 <= steps <= total - 1:
        raise ArgumentError(f"the number of sampling steps must be in 1..{total - 1}, not {steps}")
    return [int(t) for t in np.floor(np.linspace(total - 1, last, steps) + 0.5)]


def trailing_times(total: int, steps: int) -> list[int]:
    """Even steps whose last one, to the clean image, is as long as the others; t = 0 is not visited, nor trained on.

    "Trailing" of Lin et al. 2024 (arXiv 2305.08891, table 2), but for all steps in 1 .. total-1: diffusers' own gives
    t = 0 from 2/3 total on, and for some numbers t = -1.
    """
    return even_times(total, steps, max(1.0, total / max(steps, 1) - 1))
