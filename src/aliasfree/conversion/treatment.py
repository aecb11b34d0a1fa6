"""What a converted module does to planes: the filters of a `Config`, in the phase the stock model had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.config import Config
from aliasfree.errors import ShapeError
from aliasfree.filters import FilterSpec
from aliasfree.ops.activation import filtered_activation2d
from aliasfree.ops.padding import extend_axis
from aliasfree.ops.resample import Padding, downsample2d, upsample2d
from aliasfree.ops.spatial import translate2d

__all__ = ["Treatment", "on_pixel"]


def on_pixel(spec: FilterSpec) -> FilterSpec:
    """The filter of the same design that sits on a sample: odd taps. Filters of gain "none" sit there already.

    "hq" with 13 taps: -47 dB from 0.75 of Nyquist up (12 taps: -47 dB), within 0.04 dB up to 0.25.
    """
    if spec.kind == "ideal" or spec.taps % 2:
        return spec
    return replace(spec, taps=spec.taps + 1)


FACTORS = range(2, 9)
"""Factors of decimation that are known; of interpolation the even ones."""


@dataclass(frozen=True)
class Treatment:
    """Filters of a converted module.

    config         what is filtered and how
    padding_mode   of convolutions and filters alike; None = convolutions keep theirs (zeros, usually) and the filters
                   find the plane reflected, which changes what pretrained weights see at the border the least
    """

    config: Config
    padding_mode: Padding | None = None
    specs: dict[str, dict[int, FilterSpec]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # worked out once: a forward pass that is compiled designs no filters
        up, down, rate = self.config.up, self.config.down, self.config.oversample
        specs: dict[str, dict[int, FilterSpec]] = {"interpolate": {}, "decimate": {}, "up": {}, "down": {}}
        if up is not None and down is not None:
            specs = {
                "interpolate": {f: up.at_rate(f) for f in FACTORS if f % 2 == 0},
                "decimate": {f: on_pixel(down.at_rate(f)) for f in FACTORS},
                "up": {rate: up.at_rate(rate)},
                "down": {rate: down.at_rate(rate)},
            }
        object.__setattr__(self, "specs", specs)

    @property
    def padding(self) -> Padding:
        """What the filters find outside the plane."""
        return self.padding_mode or "reflect"

    @property
    def periodic(self) -> bool:
        """Whether downsampling takes the plane for one period of a torus, whatever the padding ("ideal")."""
        return self.config.down is not None and self.config.down.kind == "ideal"

    def extend(self, x: Tensor, after: int) -> Tensor:
        """x with `after` more rows and columns behind its last ones, as the filters see them."""
        return self.surround(x, 0, after)

    def surround(self, x: Tensor, before: int, after: int) -> Tensor:
        """x with rows and columns before its first and behind its last ones; there may be more of them than x has."""
        if self.padding == "zeros" or max(before, after) < min(x.shape[-2:]):
            mode = {"zeros": "constant"}.get(self.padding, self.padding)
            return F.pad(x, (before, after, before, after), mode=mode)
        return extend_axis(extend_axis(x, 0, before, after, self.padding), 1, before, after, self.padding)

    def interpolate(self, x: Tensor, factor: int = 2, size: Sequence[int] | None = None) -> Tensor:
        """(N, C, H, W) to (N, C, factor H, factor W) or to `size`, which may differ from that by factor - 1 pixels.

        Pixel-centred, as nearest-neighbour and bilinear interpolation are: output i lies at (i + 0.5) / factor - 0.5.
        """
        low = tuple(x.shape[-2:])
        high = (factor * low[0], factor * low[1]) if size is None else (int(size[0]), int(size[1]))
        if any(abs(b - factor * a) >= factor for a, b in zip(low, high, strict=True)):
            raise ShapeError(f"cannot upsample {low[0]}x{low[1]} by {factor} to {high[0]}x{high[1]}")
        more = [max(0, -(-b // factor) - a) for a, b in zip(low, high, strict=True)]
        if any(more):
            mode = "circular" if self.padding == "circular" else "replicate"
            x = F.pad(x, (0, more[1], 0, more[0]), mode=mode)
        y = upsample2d(x, self.specs["interpolate"][factor], factor, self.padding)
        return y[..., : high[0], : high[1]] if tuple(y.shape[-2:]) != high else y

    def decimate(self, z: Tensor, factor: int) -> Tensor:
        """Low-pass z (N, C, H, W) and keep samples 0, factor, 2 factor ... of each axis.

        z is what a strided operation would give at stride 1, so the kept samples are those the stock model computes,
        and the low-pass must sit on them: an odd kernel.
        """
        spec = self.specs["decimate"][factor]
        if self.periodic:  # the op is pixel-centred
            z = translate2d(z, (factor - 1) / 2, (factor - 1) / 2, "fourier")
        return downsample2d(z, spec, factor, self.padding)

    def activate(self, x: Tensor, activation: str | Callable[[Tensor], Tensor]) -> Tensor:
        """A pointwise nonlinearity of planes, by name or function, evaluated at `config.oversample` times the rate."""
        rate = self.config.oversample
        return filtered_activation2d(
            x, activation, self.specs["up"][rate], self.specs["down"][rate], rate, self.padding
        )

    def gate(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """a function(b) of planes x = (a, b) (N, 2C, H, W), evaluated at the higher rate: (N, C, H, W).

        The product doubles the bandwidth too, so both factors are upsampled.
        """
        rate = self.config.oversample
        a, b = upsample2d(x, self.specs["up"][rate], rate, self.padding).chunk(2, dim=1)
        return downsample2d(a * function(b), self.specs["down"][rate], rate, self.padding)


def is_plane(x: Tensor) -> bool:
    """Whether x is (N, C, H, W) with something to filter; embeddings and pooled vectors are not."""
    return x.ndim == 4 and torch.Size((1, 1)) != x.shape[-2:]
