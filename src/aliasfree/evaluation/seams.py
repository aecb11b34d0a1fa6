"""How much of a seam there is where an image meets itself."""

from __future__ import annotations

from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError

__all__ = ["seam"]


def seam(images: Tensor, axis: str) -> float:
    """The gradient across the wrap over the median of those inside: 1 = no line is seen when the images are laid side
    by side, above 1 = a seam, below 1 = a smear.

    images  (N, C, H, W), N >= 1, sides of at least 3
    axis    "x" = the left edge beside the right one, "y" = the top beside the bottom

    A gradient is the mean absolute difference of neighbouring lines, over images, channels and the line. With few
    images it is noisy. Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.evaluation.seams import seam
    >>> noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    >>> round(seam(noise, "x"), 1), round(seam(ramp, "x"))
    (1.0, 31)
    """
    if axis not in ("x", "y"):
        raise ArgumentError(f"`axis` is x (left beside right) or y (top beside bottom), not {axis!r}")
    if images.ndim != 4 or not images.numel() or min(images.shape[-2:]) < 3:
        raise ShapeError(f"expected images (N, C, H, W) with sides of at least 3, got shape {tuple(images.shape)}")
    lines = images.double() if axis == "x" else images.double().mT
    steps = (lines - lines.roll(1, -1)).abs().mean((0, 1, 2))
    return float(steps[0] / steps[1:].median())
