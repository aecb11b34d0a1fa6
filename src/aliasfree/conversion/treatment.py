"""What a converted module does to planes: the filters of a `Config`, in the phase the stock model had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.config import Config
from aliasfree.errors import ShapeError
from aliasfree.filters import FilterSpec, pass_band, separable_terms
from aliasfree.ops.activation import filtered_activation2d
from aliasfree.ops.padding import extend, extend_axis
from aliasfree.ops.resample import Padding, downsample2d, upsample2d
from aliasfree.ops.spatial import translate2d

__all__ = ["FACTORS", "Axes", "Treatment", "is_plane", "on_pixel", "on_planes", "pooled_size"]

Axes = dict[int, tuple[int, int]]
"""Where rows and columns lie in a tensor of so many axes; a tensor of another number of axes is no plane."""


def on_pixel(spec: FilterSpec) -> FilterSpec:
    """The filter of the same design that sits on a sample: odd taps. Filters of gain "none" sit there already.

    "hq" with 13 taps: -47 dB from 0.75 of Nyquist up (12 taps: -47 dB), within 0.04 dB up to 0.25.
    """
    if spec.kind == "ideal" or spec.taps % 2:
        return spec
    return replace(spec, taps=spec.taps + 1)


FACTORS = range(2, 9)
"""Factors of decimation and interpolation that are known."""


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
    lines: dict[int, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # worked out once: a forward pass that is compiled designs no filters
        config, up, down = self.config, self.config.up, self.config.down
        specs: dict[str, dict[int, FilterSpec]] = {k: {} for k in ("interpolate", "insert", "decimate", "up", "down")}
        lines: dict[int, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {}
        if up is not None and down is not None:
            rates = {2, 4, config.oversample, config.running_oversample or config.oversample}
            specs = {
                "interpolate": {f: up.at_rate(f) if f % 2 == 0 else on_pixel(up.at_rate(f)) for f in FACTORS},
                "insert": {f: on_pixel(up.at_rate(f)) for f in FACTORS},
                "decimate": {f: on_pixel(down.at_rate(f)) for f in FACTORS},
                "up": {rate: up.at_rate(rate) for rate in rates},
                "down": {rate: down.at_rate(rate) for rate in rates},
            }
            if down.kind != "ideal":
                for f, spec in specs["decimate"].items():
                    terms = separable_terms(spec, f, up=False)
                    lines[f] = tuple((tuple(c.tolist()), tuple(r.tolist())) for c, r in terms)
        object.__setattr__(self, "specs", specs)
        object.__setattr__(self, "lines", lines)

    @property
    def padding(self) -> Padding:
        """What the filters find outside the plane."""
        return self.padding_mode or "reflect"

    @property
    def periodic(self) -> bool:
        """Whether downsampling takes the plane for one period of a torus, whatever the padding ("ideal")."""
        return self.config.down is not None and self.config.down.kind == "ideal"

    @property
    def wraps(self) -> bool:
        """Whether a plane is one period of a torus, so that every result at the full rate must have its size."""
        return self.periodic or self.padding == "circular"

    def extend(self, x: Tensor, after: int, before: int = 0) -> Tensor:
        """x with rows and columns more behind its last ones and before its first, as the filters see them.

        There may be more of them than x has.
        """
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
        y = self._centred(x, factor)
        return y[..., : high[0], : high[1]] if tuple(y.shape[-2:]) != high else y

    def _centred(self, x: Tensor, factor: int) -> Tensor:
        spec = self.specs["interpolate"][factor]
        if factor % 2 == 0 or spec.kind == "ideal" or spec.gain == "none":
            return upsample2d(x, spec, factor, self.padding)
        # an odd kernel puts sample m on pixel factor m, and its place is (factor - 1) / 2 further on
        h, w = x.shape[-2:]
        margin = spec.taps // (2 * factor) + 2
        y = upsample2d(extend(x, margin, self.padding), spec, factor, self.padding)
        first = margin * factor - (factor - 1) // 2
        return y[..., first : first + factor * h, first : first + factor * w]

    def insert(self, x: Tensor, factor: int) -> Tensor:
        """(N, C, H, W) to (N, C, factor H, factor W), band-limited, with sample m on pixel factor m: where a transposed
        convolution puts it."""
        spec = self.specs["insert"][factor]
        y = upsample2d(x, spec, factor, self.padding)
        return translate2d(y, (1 - factor) / 2, (1 - factor) / 2, "fourier") if spec.kind == "ideal" else y

    def decimate(self, z: Tensor, factor: int) -> Tensor:
        """Low-pass z (N, C, H, W) and keep samples 0, factor, 2 factor ... of each axis.

        z is what a strided operation would give at stride 1, so the kept samples are those the stock model computes,
        and the low-pass must sit on them: an odd kernel.
        """
        spec = self.specs["decimate"][factor]
        if self.periodic:  # the op is pixel-centred
            z = translate2d(z, (factor - 1) / 2, (factor - 1) / 2, "fourier")
        return downsample2d(z, spec, factor, self.padding)

    def low_pass(self, x: Tensor, factor: int) -> Tensor:
        """Planes without what a factor times lower rate cannot carry; same shape."""
        spec = self.specs["decimate"][factor]
        if spec.kind == "ideal":
            h, w = x.shape[-2:]
            exact = x if x.dtype == torch.float64 else x.float()
            gains = [pass_band(np.fft.fftfreq(n, 1 / n).astype(np.float64), n, spec.cutoff) for n in (h, w)]
            gain = torch.from_numpy(np.outer(*gains)).to(x.device, exact.dtype)
            return torch.fft.ifft2(torch.fft.fft2(exact) * gain).real.to(x.dtype)
        c, margin = x.shape[1], spec.taps // 2
        padded = extend(x, margin, self.padding)
        out = torch.zeros((), dtype=x.dtype, device=x.device)
        for column, row in self.lines[factor]:
            z = F.conv2d(padded, x.new_tensor(row).expand(c, 1, 1, -1), groups=c)
            out = out + F.conv2d(z, x.new_tensor(column)[:, None].expand(c, 1, -1, 1), groups=c)
        return out

    def pool(self, x: Tensor, factor: int, window: Window, at_full_rate: Callable[[Tensor, int], Tensor]) -> Tensor:
        """A strided pool: `at_full_rate(x, padding)` is it at stride 1; then low-pass, every factor-th sample."""
        reach = window.dilation * (window.size - 1)
        size = [pooled_size(n, factor, window) for n in x.shape[-2:]]
        if window.padding == 0 or (self.wraps and reach >= window.padding):
            x, inner = self.extend(x, reach - window.padding, window.padding), 0
        else:
            inner = window.padding
        return self.decimate(at_full_rate(x, inner), factor)[..., : size[0], : size[1]]

    def activate(self, x: Tensor, activation: str | Callable[[Tensor], Tensor], *, training: bool = True) -> Tensor:
        """A pointwise nonlinearity of planes, by name or function, evaluated at a higher rate: `config.oversample`
        times, or outside of training `config.running_oversample` times."""
        rate = self.rate(training=training)
        return filtered_activation2d(
            x, activation, self.specs["up"][rate], self.specs["down"][rate], rate, self.padding
        )

    def at_rate(self, x: Tensor, rate: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of planes to planes of the same size, carried out at `rate` (2 or 4) times their rate."""
        high = function(upsample2d(x, self.specs["up"][rate], rate, self.padding))
        return downsample2d(high, self.specs["down"][rate], rate, self.padding)

    def rate(self, *, training: bool) -> int:
        """Of nonlinearities."""
        return self.config.oversample if training else self.config.running_oversample or self.config.oversample

    def gate(self, x: Tensor, function: Callable[[Tensor], Tensor], *, training: bool = True) -> Tensor:
        """a function(b) of planes x = (a, b) (N, 2C, H, W), evaluated at the higher rate: (N, C, H, W).

        The product doubles the bandwidth too, so both factors are upsampled.
        """
        rate = self.rate(training=training)
        a, b = upsample2d(x, self.specs["up"][rate], rate, self.padding).chunk(2, dim=1)
        return downsample2d(a * function(b), self.specs["down"][rate], rate, self.padding)


@dataclass(frozen=True)
class Window:
    """What a pool looks at, along each axis alike."""

    size: int
    padding: int = 0
    dilation: int = 1
    ceil: bool = False


def pooled_size(n: int, stride: int, window: Window) -> int:
    """How many windows of a pool with stride fit n samples, by PyTorch's rule."""
    span = n + 2 * window.padding - window.dilation * (window.size - 1) - 1
    if not window.ceil:
        return span // stride + 1
    count = -(-span // stride) + 1
    return count - 1 if (count - 1) * stride >= n + window.padding else count


def is_plane(x: Tensor) -> bool:
    """Whether x is (N, C, H, W) with something to filter; pooled vectors are not."""
    return x.ndim == 4 and torch.Size((1, 1)) != x.shape[-2:]


def on_planes(x: Tensor, axes: tuple[int, int], function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of planes (N, C, H, W) to planes, of x whose rows and columns lie along `axes`; the other axes, frames
    among them, count as channels."""
    if x.ndim == 4 and axes == (2, 3):
        return function(x)
    y = x.movedim(axes, (-2, -1))
    z = function(y.reshape(y.shape[0], -1, *y.shape[-2:]))
    return z.reshape(*y.shape[:-2], *z.shape[-2:]).movedim((-2, -1), axes)
