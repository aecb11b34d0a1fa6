"""A film of sub-pixel motion, as one network made it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Film", "Pixels"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Film:
    """What one network makes while its noise, and its frame where it knows one, move.

    images  uint8 (num, frames, H, W, C): as sampled
    back    the same moved back to where they began: an equivariant network's stands still
    db      all frames against one of them, moved: image level, over the pixels that show the same in both
    """

    name: str
    images: Pixels = field(repr=False)
    back: Pixels = field(repr=False)
    db: float

    @property
    def label(self) -> str:
        """ "T, 71 dB" """
        return f"{self.name}, {'exact' if np.isinf(self.db) else f'{self.db:.0f} dB'}"
