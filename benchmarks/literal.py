"""The literal algorithm, as one writes it in plain PyTorch and as the paper's published code does.

    up:   zeros between the samples, then a full-rate depthwise convolution
    down: a full-rate depthwise convolution, then every factor-th sample

Zero padding only. Equal to the references of `aliasfree.ops`; kept apart from them because this is what everything
is timed against, so it must neither carry their generality nor follow their changes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.errors import ArgumentError
from aliasfree.filters import (
    FilterSpec,
    downsampling_kernel,
    downsampling_offset,
    upsampling_kernel,
    upsampling_offset,
)

__all__ = ["LiteralDownsample2d", "LiteralFilteredGELU2d", "LiteralUpsample2d"]


class _DepthwiseFilter(nn.Module):
    """One kernel for every channel, at full rate; `before` samples of padding in front of each axis."""

    kernel: Tensor

    def __init__(self, kernel: NDArray[np.float64], before: int) -> None:
        super().__init__()
        self.before, self.after = before, len(kernel) - 1 - before
        weight = torch.from_numpy(kernel.copy()).float()[None, None]
        self.register_buffer("kernel", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).repeat(channels, 1, 1, 1)
        if self.before == self.after:
            return F.conv2d(x, weight, padding=self.before, groups=channels)
        return F.conv2d(F.pad(x, (self.before, self.after) * 2), weight, groups=channels)


class LiteralUpsample2d(nn.Module):
    """(N, C, H, W) to (N, C, factor H, factor W)."""

    def __init__(self, spec: FilterSpec, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.filter = _DepthwiseFilter(upsampling_kernel(_with_taps(spec), factor), upsampling_offset(spec, factor))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        zeros_between = torch.zeros(n, c, h * self.factor, w * self.factor, dtype=x.dtype, device=x.device)
        zeros_between[:, :, :: self.factor, :: self.factor] = x
        y: Tensor = self.filter(zeros_between)
        return y


class LiteralDownsample2d(nn.Module):
    """(N, C, H, W) to (N, C, ceil(H / factor), ceil(W / factor))."""

    def __init__(self, spec: FilterSpec, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.filter = _DepthwiseFilter(downsampling_kernel(_with_taps(spec), factor), downsampling_offset(spec, factor))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.filter(x)[:, :, :: self.factor, :: self.factor]
        return y


class LiteralFilteredGELU2d(nn.Module):
    """Upsample, exact GELU, downsample; same shape out. Filters are those of the higher rate."""

    def __init__(self, up: FilterSpec, down: FilterSpec, factor: int = 2) -> None:
        super().__init__()
        self.up, self.down = LiteralUpsample2d(up, factor), LiteralDownsample2d(down, factor)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(x)))
        return y


def _with_taps(spec: FilterSpec) -> FilterSpec:
    if spec.kind == "ideal":
        raise ArgumentError(
            "the 'ideal' filter has no taps to convolve with: benchmark 'hq', 'radial' or a paper filter"
        )
    return spec
