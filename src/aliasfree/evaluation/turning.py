"""Images turned for the measurement of EQ-R."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from aliasfree.ops.spatial import Method, rotate2d

__all__ = ["Turning", "turned"]

Turning = Method | Literal["interpolant"]


def turned(x: Tensor, degrees: Tensor | Sequence[float], method: Turning) -> Tensor:
    """Images (N, C, S, S) turned by an angle each, degrees counter-clockwise, as `rotate2d` does or by "interpolant".

    "interpolant" reads the periodic trigonometric interpolant, quarter turns exactly. Images within the disc
    |f| < Nyquist lose nothing, where three shears lose what they push beyond the square band on the way.
    """
    if method != "interpolant":
        return rotate2d(x, degrees, method)
    images = []
    for image, angle in zip(x, torch.as_tensor(degrees, dtype=torch.float64).tolist(), strict=True):
        quarters = round(angle / 90)
        image = image.rot90(quarters, (1, 2))
        rest = angle - 90 * quarters
        images.append(_read_turned(image, rest) if rest else image)
    return torch.stack(images)


def _read_turned(image: Tensor, degrees: float) -> Tensor:
    """The trigonometric interpolant of an image (C, S, S) at the places that a turn about the middle reads."""
    side = image.shape[-1]
    line = torch.arange(side, dtype=torch.float64, device=image.device)
    i, j = line[:, None] - (side - 1) / 2, line - (side - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    k = torch.arange(1, (side + 1) // 2, dtype=torch.float64, device=image.device)

    def weights(place: Tensor) -> Tensor:
        phase = 2 * math.pi / side * (place.reshape(-1, 1) + (side - 1) / 2 - line)
        return (1 + 2 * sum(((n * phase).cos() for n in k.tolist()), torch.zeros_like(phase))) / side

    rows, columns = weights(cos * i + sin * j), weights(cos * j - sin * i)
    lines = rows @ image.double()
    return (lines * columns).sum(-1).reshape(image.shape).to(image.dtype)
