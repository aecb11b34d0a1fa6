"""Modules over the ops, and the one place where a `Config` becomes layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.config import Config
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.nn.attention import CrossCovarianceAttention, SelfAttention
from aliasfree.nn.radial import DiscFilter2d, DiscWindow2d, RadialConv2d
from aliasfree.ops.activation import filtered_activation2d
from aliasfree.ops.radial import FALL
from aliasfree.ops.resample import Padding, downsample2d, upsample2d

__all__ = ["BilinearUpsample2d", "Downsample2d", "FilteredActivation2d", "Layers", "Upsample2d"]


class Upsample2d(nn.Module):
    """`upsample2d` as a module: (N, C, H, W) to (N, C, 2H, 2W). Holds no parameter and no state.

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import Upsample2d
    >>> tuple(Upsample2d(FilterSpec.named("hq"))(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 16, 16)
    """

    def __init__(self, filter: FilterSpec, padding: Padding = "zeros") -> None:
        super().__init__()
        self.filter, self.padding = filter, padding

    def forward(self, x: Tensor) -> Tensor:
        return upsample2d(x, self.filter, 2, self.padding)


class Downsample2d(nn.Module):
    """`downsample2d` as a module: (N, C, H, W) to (N, C, H/2, W/2). Holds no parameter and no state.

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import Downsample2d
    >>> tuple(Downsample2d(FilterSpec.named("hq"))(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 4, 4)
    """

    def __init__(self, filter: FilterSpec, padding: Padding = "zeros") -> None:
        super().__init__()
        self.filter, self.padding = filter, padding

    def forward(self, x: Tensor) -> Tensor:
        return downsample2d(x, self.filter, 2, self.padding)


class BilinearUpsample2d(nn.Module):
    """The baseline's upsampling, (N, C, H, W) to (N, C, 2H, 2W): bilinear with corners aligned.

    Source: arXiv 2411.09174, Config A.

    >>> import torch
    >>> from aliasfree.nn import BilinearUpsample2d
    >>> tuple(BilinearUpsample2d()(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 16, 16)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class FilteredActivation2d(nn.Module):
    """`filtered_activation2d` as a module, same shape out. Holds no parameter and no state.

    running_factor   the rate in `eval()`; None = `factor`, that of training

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import FilteredActivation2d
    >>> hq = FilterSpec.named("hq")
    >>> act = FilteredActivation2d("silu", hq, hq, padding="circular", running_factor=4)
    >>> tuple(act.eval()(torch.zeros(1, 4, 8, 8)).shape)  # at 4 times the rate
    (1, 4, 8, 8)
    """

    def __init__(
        self,
        activation: str,
        up: FilterSpec,
        down: FilterSpec,
        factor: int = 2,
        padding: Padding = "zeros",
        running_factor: int | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.factor, self.padding = activation, factor, padding
        self.running_factor = running_factor or factor
        self._filters = {rate: (up.at_rate(rate), down.at_rate(rate)) for rate in (factor, self.running_factor)}

    def forward(self, x: Tensor) -> Tensor:
        rate = self.factor if self.training else self.running_factor
        return filtered_activation2d(x, self.activation, *self._filters[rate], rate, self.padding)


EDGE, START = 0.98, 0.4
"""Where R's resampling filters end and begin to fall, of the lower rate's Nyquist. What they smear must not reach round
the plane, so they fall gradually."""


@dataclass(frozen=True)
class Layers:
    """Turns a Config and a padding mode into layers; blocks ask here and decide nothing themselves.

    padding_mode   "zeros", "circular" or "reflect", for convolutions and filters alike

    >>> from aliasfree import Config
    >>> from aliasfree.nn import Layers
    >>> for name in ("A", "D-hq"):
    ...     layers = Layers(Config.parse(name))
    ...     print(type(layers.downsample()).__name__, type(layers.activation()).__name__)
    MaxPool2d GELU
    Downsample2d FilteredActivation2d
    """

    config: Config
    padding_mode: Padding = "zeros"

    def __post_init__(self) -> None:
        modes = get_args(Padding)
        if self.padding_mode not in modes:
            raise ArgumentError(
                f"unknown padding_mode {self.padding_mode!r}{did_you_mean(str(self.padding_mode), modes)}"
            )
        if self.config.is_radial and self.padding_mode != "circular":
            raise ArgumentError(
                f"config R works on a periodic plane: `padding_mode` must be 'circular', not {self.padding_mode!r}"
            )

    def plane(self) -> nn.Module:
        """What the network's input goes through first: nothing, or the window of a disc on a larger plane (R)."""
        return DiscWindow2d() if self.config.is_radial else nn.Identity()

    def conv(self, in_channels: int, out_channels: int) -> nn.Module:
        """3x3, or radial (R), same size, no bias (a norm follows)."""
        if self.config.is_radial:
            return RadialConv2d(in_channels, out_channels)
        return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False, padding_mode=self.padding_mode)

    def norm(self, channels: int) -> nn.Module:
        """Group norm with one group: statistics over all channels and pixels of a sample."""
        return nn.GroupNorm(1, channels)

    def activation(self) -> nn.Module:
        """Exact GELU of the convolution blocks, filtered in C and D. In R its band is a square still: what reads it, a
        radial convolution or `band`, takes the disc."""
        c = self.config
        if c.filters_activations and c.up and c.down:
            return FilteredActivation2d(
                "gelu", c.up, c.down, c.oversample, self.padding_mode, running_factor=c.running_oversample
            )
        return nn.GELU()

    def band(self) -> nn.Module:
        """What keeps the disc of an activation that no convolution reads (R), or nothing."""
        return DiscFilter2d(1.0, FALL) if self.config.is_radial else nn.Identity()

    def attention(self, channels: int) -> nn.Module:
        """Self-attention of 4 heads and a feed-forward layer: softmax over pixels and per-pixel norms (paper), or what
        commutes with shifts (T, R). The state-dict keys are the same."""
        return CrossCovarianceAttention(self, channels) if self.config.is_equivariant else SelfAttention(channels)

    def downsample(self) -> nn.Module:
        """By 2: 2x2 max pool in A and C, low-pass and decimate in B and D; in R the low-pass is radial and gradual."""
        c = self.config
        if c.is_radial and c.down:
            return nn.Sequential(Downsample2d(c.down, self.padding_mode), DiscFilter2d(EDGE, START))
        return Downsample2d(c.down, self.padding_mode) if c.filters_resampling and c.down else nn.MaxPool2d(2)

    def upsample(self) -> nn.Module:
        """By 2: bilinear with corners aligned in A and C, zero insertion and low-pass in B and D; radial in R."""
        c = self.config
        if c.is_radial and c.up:
            return nn.Sequential(Upsample2d(c.up, self.padding_mode), DiscFilter2d(EDGE / 2, START / 2))
        return Upsample2d(c.up, self.padding_mode) if c.filters_resampling and c.up else BilinearUpsample2d()
