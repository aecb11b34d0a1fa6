"""The one place where a `Config` becomes layers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import nn

from aliasfree.config import Config
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.nn.attention import CrossCovarianceAttention, SelfAttention
from aliasfree.nn.radial import DiscFilter2d, DiscWindow2d, RadialConv2d
from aliasfree.nn.resampling import BilinearUpsample2d, Downsample2d, FilteredActivation2d, Upsample2d
from aliasfree.ops.padding import PADDINGS, Padding
from aliasfree.ops.radial import FALL

__all__ = ["Layers"]


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
        if self.padding_mode not in PADDINGS:
            raise ArgumentError(
                f"unknown padding_mode {self.padding_mode!r}{did_you_mean(str(self.padding_mode), PADDINGS)}"
            )
        if self.config.is_radial and self.padding_mode != "circular":
            raise ArgumentError(
                f"config R works on a periodic plane: `padding_mode` must be 'circular', not {self.padding_mode!r}"
            )

    def input_window(self) -> nn.Module:
        """Of the network's input: the window of a disc, on a larger plane (R), or nothing."""
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
        radial convolution or `band_limit`, takes the disc."""
        c = self.config
        if c.filters_activations and c.up and c.down:
            return FilteredActivation2d(
                "gelu", c.up, c.down, c.oversample, self.padding_mode, running_factor=c.running_oversample
            )
        return nn.GELU()

    def band_limit(self) -> nn.Module:
        """Of an activation that no convolution reads: the low-pass that keeps the disc |f| < 1 (R), or nothing."""
        return DiscFilter2d(1.0, FALL) if self.config.is_radial else nn.Identity()

    def attention(self, channels: int) -> nn.Module:
        """Self-attention of 4 heads and a feed-forward layer: softmax over pixels and per-pixel norms (paper), or what
        commutes with shifts (T, R). The state-dict keys are the same."""
        return CrossCovarianceAttention(self, channels) if self.config.traits.attention else SelfAttention(channels)

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

    def plane(self) -> nn.Module:
        """The old name of `input_window`."""
        warnings.warn("Layers.plane() is now called Layers.input_window()", DeprecationWarning, stacklevel=2)
        return self.input_window()

    def band(self) -> nn.Module:
        """The old name of `band_limit`."""
        warnings.warn("Layers.band() is now called Layers.band_limit()", DeprecationWarning, stacklevel=2)
        return self.band_limit()
