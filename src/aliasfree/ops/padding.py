"""What lies outside a plane."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.filters import Array

__all__ = ["PADDINGS", "Padding", "extend", "extend_axis", "outside"]

Padding = Literal["zeros", "circular", "reflect"]
PADDINGS: tuple[str, ...] = ("zeros", "circular", "reflect")


def outside(source: Array | np.ndarray, n: int, padding: Padding) -> tuple[np.ndarray, np.ndarray]:
    """Where samples `source` of an axis of length n are read, and whether they exist (else they count as 0)."""
    if padding == "zeros":
        return np.clip(source, 0, n - 1), (source >= 0) & (source < n)
    if padding == "circular" or n == 1:
        return source % n, np.ones(source.shape, bool)
    folded = source % (2 * n - 2)
    return np.where(folded < n, folded, 2 * n - 2 - folded), np.ones(source.shape, bool)


def extend_axis(x: Tensor, axis: int, before: int, after: int, padding: Padding) -> Tensor:
    """x with samples added (negative: removed) before and after along rows (0) or columns (1)."""
    if padding == "zeros":
        return F.pad(x, (before, after) if axis else (0, 0, before, after))
    n = x.shape[2 + axis]
    index, _ = outside(np.arange(-before, n + after), n, padding)
    return x.index_select(2 + axis, torch.from_numpy(index).to(x.device))


def extend(x: Tensor, margin: int, padding: Padding) -> Tensor:
    """x with `margin` more pixels on each side; margins may exceed the plane."""
    return extend_axis(extend_axis(x, 0, margin, margin, padding), 1, margin, margin, padding)
