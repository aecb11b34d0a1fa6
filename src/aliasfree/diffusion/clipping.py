"""Keeping a predicted image in [-1, 1], pixel by pixel or without aliasing."""

from __future__ import annotations

from torch import Tensor

from aliasfree.errors import ArgumentError
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.ops.activation import filtered_activation2d

__all__ = ["FINE_RATE", "clip"]

FINE_RATE = 8
"""The rate for networks that commute with shifts: docs/equivariance.md has what others give."""


def clip(x: Tensor, rate: int = 1) -> Tensor:
    """Images (N, C, H, W) clipped to [-1, 1].

    rate   1 = every pixel by itself, a nonlinearity on the grid, which aliases; above 1 the overshoot of the periodic
           plane is found at this many times the rate, low-passed below Nyquist and taken off. What lies within the
           range is left alone, and so is the Nyquist frequency; what is low-passed may leave the range a little

    Raises ArgumentError for a rate below 1.

    >>> import torch
    >>> from aliasfree.diffusion.clipping import clip
    >>> x = 2 * torch.randn(1, 1, 16, 16)
    >>> float(clip(x).abs().max())
    1.0
    >>> bool(clip(x, rate=8).square().mean() < x.square().mean())
    True
    """
    check_rate(rate)
    if rate == 1:
        return x.clamp(-1, 1)
    return x - filtered_activation2d(x, _overshoot, BELOW_NYQUIST.at_rate(rate), factor=rate, padding="circular")


def check_rate(rate: int) -> None:
    """Raises ArgumentError."""
    if not isinstance(rate, int) or rate < 1:
        raise ArgumentError(f"the rate of clipping is 1 (pixel by pixel) or an integer above, not {rate}")


def _overshoot(x: Tensor) -> Tensor:
    return x - x.clamp(-1, 1)
