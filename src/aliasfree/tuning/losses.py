"""What a student is asked for: to say what its teacher says, and to move its output with its input.

All losses are means over elements; `ratio` is how many pixels of the output stand for one of the input (the decoder of
an f8 autoencoder 8, its encoder 1/8, a UNet 1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from aliasfree.errors import DataError
from aliasfree.ops.spatial import translate2d

__all__ = ["Shift", "draw_shift", "motion_error", "perceptual", "shift_error", "smaller", "squared_error"]

REACH = 1 / 8
"""Shifts go so far, as a share of the side."""
LEAST_SIDE = 32
"""Pixels; smaller images are enlarged for the perceptual loss."""
Shift = tuple[Tensor, Tensor]
"""Down and right for each image, float64 (N,), in pixels of the latents or of what a UNet sees."""


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2, in float32."""
    return (a.float() - b.float()).square().mean()


def draw_shift(n: int, size: tuple[int, int], fractional: bool, generator: torch.Generator) -> Shift:
    """Shifts for n images within an eighth of the side and at least 1: any fraction, or whole pixels but not (0, 0).

    generator  on the CPU, so that no device is waited for
    """
    down, right = (
        _amounts(n, max(1, int(REACH * side)) if not fractional else max(1.0, REACH * side), fractional, generator)
        for side in size
    )
    if not fractional:
        right = torch.where((down == 0) & (right == 0), torch.ones_like(right), right)
    return down, right


def _amounts(n: int, most: float, fractional: bool, generator: torch.Generator) -> Tensor:
    if fractional:
        return (torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1) * most
    return torch.randint(-int(most), int(most) + 1, (n,), generator=generator).double()


def shift_error(
    fn: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, shift: Shift, ratio: float, periodic: bool
) -> Tensor:
    """Mean of (fn(T x) - T fn(x))^2 over the pixels that count: the loss of AF-LDM (Zhou et al. 2025).

    x         (N, C, H, W); y = fn(x), which is not computed again
    shift     of x, in its own pixels; y moves `ratio` times as far
    periodic  every pixel counts; else those that a shift brought in from the other side do not
    """
    down, right = shift
    moved = fn(translate2d(x, down, right))
    wanted, mask = translate2d(y, down * ratio, right * ratio, return_mask=True)
    error = (moved.float() - wanted.float()).square()
    if periodic:
        return error.mean()
    counted = mask.expand_as(error).to(error)
    return (error * counted).sum() / counted.sum().clamp(min=1)


def motion_error(
    fn: Callable[[Tensor], Tensor], x: Tensor, wanted: Tensor, motion: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean of (fn(g x) - g wanted)^2 for a motion of the grid itself: the loss of EQ-VAE (Kouzelis et al. 2025)."""
    return squared_error(fn(motion(x)), motion(wanted))


def smaller(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) at a smaller size, low-passed."""
    return F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)


def perceptual(device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """ST-LPIPS on AlexNet as a function of two batches of images in [-1, 1], grey or colour: its mean.

    Raises DataError without the package, which brings the weights with it. Source: Ghildyal and Liu 2022.
    """
    try:
        from stlpips_pytorch import stlpips
    except ImportError as error:
        raise DataError(
            "The perceptual loss is in a package of its own; install it with `pip install aliasfree[perceptual]`, or "
            "leave `perceptual` out."
        ) from error
    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval().requires_grad_(False)
    network = network.to(device)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        mean: Tensor = network(_for_lpips(a), _for_lpips(b)).mean()
        return mean

    return distance


def _for_lpips(x: Tensor) -> Tensor:
    """Colour, and at least as large as the network's five poolings want."""
    x = x.float().expand(-1, 3, -1, -1) if x.shape[1] == 1 else x.float()
    side = min(x.shape[2:])
    return x if side >= LEAST_SIDE else F.interpolate(x, scale_factor=LEAST_SIDE / side, mode="bicubic")
