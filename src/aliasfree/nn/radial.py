"""Modules over the radial ops: what Config R is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aliasfree.ops.radial import disc_filter2d, disc_window2d, radial_conv2d

__all__ = ["DiscFilter2d", "DiscWindow2d", "RadialConv2d"]

WIDTHS = (0.75, 1.5)
"""Pixels; with the point, three radial kernels. Wider ones hold no better and smear further."""


class RadialConv2d(nn.Module):
    """`radial_conv2d` as a module, without a bias: (N, in_channels, H, W) to (N, out_channels, H, W).

    It reads the disc |f| < 1 of its input only, fading from 0.8 on. Initialised as nn.Conv2d is.

    >>> import torch
    >>> from aliasfree.nn import RadialConv2d
    >>> conv = RadialConv2d(4, 8)
    >>> tuple(conv.weight.shape), tuple(conv(torch.zeros(1, 4, 8, 8)).shape)
    ((8, 4, 3), (1, 8, 8, 8))
    """

    def __init__(self, in_channels: int, out_channels: int, widths: tuple[float, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = widths
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1 + len(widths)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return radial_conv2d(x, self.weight, self.widths)


class DiscFilter2d(nn.Module):
    """`disc_filter2d` as a module, same shape out. Holds no parameter and no state.

    >>> import torch
    >>> from aliasfree.nn import DiscFilter2d
    >>> tuple(DiscFilter2d(edge=0.98, start=0.4)(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 8, 8)
    """

    def __init__(self, edge: float = 1.0, start: float | None = None) -> None:
        super().__init__()
        self.edge, self.start = edge, start

    def forward(self, x: Tensor) -> Tensor:
        return disc_filter2d(x, self.edge, self.start)


class DiscWindow2d(nn.Module):
    """`disc_window2d` as a module: (N, C, H, W) to a plane at least `padding` times as large, zero outside the disc.

    >>> import torch
    >>> from aliasfree.nn import DiscWindow2d
    >>> tuple(DiscWindow2d()(torch.zeros(1, 4, 16, 16)).shape)
    (1, 4, 24, 24)
    """

    def __init__(self, taper: float = 0.25, padding: float = 1.5) -> None:
        super().__init__()
        self.taper, self.padding = taper, padding

    def forward(self, x: Tensor) -> Tensor:
        return disc_window2d(x, self.taper, self.padding)
