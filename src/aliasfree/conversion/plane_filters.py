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
from aliasfree.ops.padding import extend_axis
from aliasfree.ops.resample import Padding, downsample2d, upsample2d
from aliasfree.ops.spatial import translate2d

__all__ = ["FACTORS", "TILED", "Axes", "PlaneFilters", "is_plane", "on_pixel", "on_planes", "pooled_size"]

Axes = dict[int, tuple[int, int]]
"""Where rows and columns lie in a tensor of so many axes; a tensor of another number of axes is no plane."""


def on_pixel(spec: FilterSpec) -> FilterSpec:
    """The filter of the same design that sits on a sample: odd taps. Filters of gain "none" sit there already.

    "hq" with 13 taps: -47 dB from 0.75 of Nyquist up (12 taps: -47 dB), within 0.04 dB up to 0.25.
    """
    if spec.kind == "ideal" or spec.taps % 2:
        return spec
    return replace(spec, taps=spec.taps + 1)


SIDES = "choose images whose sides can be halved as often as the model does it, as multiples of 64"

TILED = ("", "x", "y", "xy")
"""Axes along which a plane may be tiled: x columns, y rows."""

FACTORS = range(2, 9)
"""Factors of decimation and interpolation that are known."""


@dataclass(frozen=True)
class PlaneFilters:
    """Filters of a converted module.

    config         what is filtered and how
    padding_mode   of convolutions and filters alike; None = convolutions keep theirs (zeros, usually) and the filters
                   find the plane reflected, which changes what pretrained weights see at the border the least
    tile           "x", "y" or "xy": along these axes the plane is one period of a torus, whatever the padding
    """

    config: Config
    padding_mode: Padding | None = None
    tile: str = ""
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
    def around(self) -> tuple[bool, bool]:
        """Whether the plane goes on at its other side, along rows (y) and columns (x)."""
        whole = self.padding_mode == "circular"
        return whole or "y" in self.tile, whole or "x" in self.tile

    @property
    def padding(self) -> Padding:
        """What the filters find outside the plane; along one tiled axis alone the plane is continued before."""
        return "circular" if all(self.around) else self.padding_mode or "reflect"

    @property
    def periodic(self) -> bool:
        """Whether downsampling takes the plane for one period of a torus, whatever the padding ("ideal")."""
        return self.config.down is not None and self.config.down.kind == "ideal"

    @property
    def wraps(self) -> tuple[bool, bool]:
        """Whether a plane is one period of a torus along rows and columns, so that every result at the full rate must
        have its size."""
        return self.periodic or self.around[0], self.periodic or self.around[1]

    def pad(self, x: Tensor, around: Sequence[int], own: str) -> Tensor:
        """Planes (..., H, W) with (left, right, top, bottom) more pixels, in the mode `own` ("zeros", "replicate" ...)
        of the stock operation unless these filters have another."""
        own = self.padding_mode or own
        rows, columns = ("circular" if wraps else own for wraps in self.around)
        left, right, top, bottom = around
        if rows == columns:
            return _pad(x, (left, right, top, bottom), rows)
        return _pad(_pad(x, (left, right, 0, 0), columns), (0, 0, top, bottom), rows)

    def extend(self, x: Tensor, after: int, before: int = 0) -> Tensor:
        """x with rows and columns more behind its last ones and before its first, as the filters see them.

        There may be more of them than x has.
        """
        return self.pad(x, (before, after, before, after), "reflect")

    def on_torus(
        self, x: Tensor, margin: int, function: Callable[[Tensor], Tensor], up: int = 1, down: int = 1
    ) -> Tensor:
        """A local function of planes (its result is `up` / `down` times as large), whatever it pads with, on planes
        that are tiled: of the plane continued by at least `margin` pixels along tiled axes, and cut."""
        margin = -(-margin // down) * down
        more = [margin * wraps for wraps in self.around]
        y = function(_pad(x, (more[1], more[1], more[0], more[0]), "circular"))
        first = [m * up // down for m in more]
        return y[..., first[0] : y.shape[-2] - first[0], first[1] : y.shape[-1] - first[1]]

    def _filtered(
        self, x: Tensor, margin: int, function: Callable[[Tensor], Tensor], up: int = 1, down: int = 1
    ) -> Tensor:
        """The same of a filter, which has a padding for both axes alike."""
        alike = self.around[0] == self.around[1]
        return function(x) if alike else self.on_torus(x, margin, function, up, down)

    def check_whole(self, x: Tensor, factor: int) -> None:
        """Raise ShapeError if a tiled axis does not hold whole steps of a decimation."""
        for axis, name in ((-2, "y"), (-1, "x")):
            if name in self.tile and x.shape[axis] % factor:
                raise ShapeError(
                    f"a plane of {x.shape[-2]}x{x.shape[-1]} is not seamless along {name} after decimation by "
                    f"{factor}: {SIDES}"
                )

    def up(self, x: Tensor, spec: FilterSpec, factor: int) -> Tensor:
        """Planes upsampled."""
        if spec.kind == "ideal":
            return upsample2d(x, spec, factor, self.padding)
        reach = spec.taps // (2 * factor) + 2
        return self._filtered(x, reach, lambda v: upsample2d(v, spec, factor, self.padding), up=factor)

    def down(self, x: Tensor, spec: FilterSpec, factor: int) -> Tensor:
        """Planes low-passed and downsampled."""
        self.check_whole(x, factor)
        if spec.kind == "ideal":
            return downsample2d(x, spec, factor, self.padding)
        reach = spec.taps // 2 + 2 * factor
        return self._filtered(x, reach, lambda v: downsample2d(v, spec, factor, self.padding), down=factor)

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
            for n, name in zip(more, ("y", "x"), strict=True):
                if n and name in self.tile:
                    raise ShapeError(
                        f"{low[0]}x{low[1]} upsampled to {high[0]}x{high[1]} is not seamless along {name}: {SIDES}"
                    )
            rows, columns = ("circular" if wraps else "replicate" for wraps in self.around)
            x = _pad(_pad(x, (0, more[1], 0, 0), columns), (0, 0, 0, more[0]), rows)
        y = self._centred(x, factor)
        return y[..., : high[0], : high[1]] if tuple(y.shape[-2:]) != high else y

    def _centred(self, x: Tensor, factor: int) -> Tensor:
        spec = self.specs["interpolate"][factor]
        if factor % 2 == 0 or spec.kind == "ideal" or spec.gain == "none":
            return self.up(x, spec, factor)
        # an odd kernel puts sample m on pixel factor m, and its place is (factor - 1) / 2 further on
        h, w = x.shape[-2:]
        margin = spec.taps // (2 * factor) + 2
        y = upsample2d(self.extend(x, margin, margin), spec, factor, self.padding)
        first = margin * factor - (factor - 1) // 2
        return y[..., first : first + factor * h, first : first + factor * w]

    def insert(self, x: Tensor, factor: int) -> Tensor:
        """(N, C, H, W) to (N, C, factor H, factor W), band-limited, with sample m on pixel factor m: where a transposed
        convolution puts it."""
        spec = self.specs["insert"][factor]
        y = self.up(x, spec, factor)
        return translate2d(y, (1 - factor) / 2, (1 - factor) / 2, "fourier") if spec.kind == "ideal" else y

    def decimate(self, z: Tensor, factor: int) -> Tensor:
        """Low-pass z (N, C, H, W) and keep samples 0, factor, 2 factor ... of each axis.

        z is what a strided operation would give at stride 1, so the kept samples are those the stock model computes,
        and the low-pass must sit on them: an odd kernel.
        """
        spec = self.specs["decimate"][factor]
        if self.periodic:  # the op is pixel-centred
            z = translate2d(z, (factor - 1) / 2, (factor - 1) / 2, "fourier")
        return self.down(z, spec, factor)

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
        padded = self.extend(x, margin, margin)
        out = torch.zeros((), dtype=x.dtype, device=x.device)
        for column, row in self.lines[factor]:
            z = F.conv2d(padded, x.new_tensor(row).expand(c, 1, 1, -1), groups=c)
            out = out + F.conv2d(z, x.new_tensor(column)[:, None].expand(c, 1, -1, 1), groups=c)
        return out

    def pool(
        self, x: Tensor, factor: int, window: Window, at_full_rate: Callable[[Tensor, tuple[int, int]], Tensor]
    ) -> Tensor:
        """A strided pool: `at_full_rate(x, padding)` is it at stride 1; then low-pass, every factor-th sample."""
        reach, own = window.dilation * (window.size - 1), window.padding
        size = [pooled_size(n, factor, window) for n in x.shape[-2:]]
        outside = [own == 0 or (wraps and reach >= own) for wraps in self.wraps]
        rows, columns = ((own, reach - own) if there else (0, 0) for there in outside)
        x = self.pad(x, (*columns, *rows), "reflect")
        inner = (own * (not outside[0]), own * (not outside[1]))
        return self.decimate(at_full_rate(x, inner), factor)[..., : size[0], : size[1]]

    def activate(self, x: Tensor, activation: str | Callable[[Tensor], Tensor], *, training: bool = True) -> Tensor:
        """A pointwise nonlinearity of planes, by name or function, evaluated at a higher rate: `config.oversample`
        times, or outside of training `config.running_oversample` times."""
        rate = self.rate(training=training)
        up, down = self.specs["up"][rate], self.specs["down"][rate]

        def filtered(v: Tensor) -> Tensor:
            return filtered_activation2d(v, activation, up, down, rate, self.padding)

        if up.kind == "ideal":
            return filtered(x)
        return self._filtered(x, (up.taps + down.taps) // (2 * rate) + 4, filtered)

    def at_rate(self, x: Tensor, rate: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of planes to planes of the same size, carried out at `rate` (2 or 4) times their rate."""
        high = function(self.up(x, self.specs["up"][rate], rate))
        return self.down(high, self.specs["down"][rate], rate)

    def rate(self, *, training: bool) -> int:
        """Of nonlinearities."""
        return self.config.oversample if training else self.config.running_oversample or self.config.oversample

    def gate(self, x: Tensor, function: Callable[[Tensor], Tensor], *, training: bool = True) -> Tensor:
        """a function(b) of planes x = (a, b) (N, 2C, H, W), evaluated at the higher rate: (N, C, H, W).

        The product doubles the bandwidth too, so both factors are upsampled.
        """
        rate = self.rate(training=training)
        a, b = self.up(x, self.specs["up"][rate], rate).chunk(2, dim=1)
        return self.down(a * function(b), self.specs["down"][rate], rate)


def _pad(x: Tensor, around: tuple[int, int, int, int], mode: str) -> Tensor:
    """(left, right, top, bottom) more pixels, of which there may be more than x has."""
    sides = around[2:], around[:2]
    if mode in ("reflect", "circular") and any(max(pair) >= n for pair, n in zip(sides, x.shape[-2:], strict=True)):
        planes = x.reshape(-1, 1, *x.shape[-2:])
        for axis, pair in enumerate(sides):
            planes = extend_axis(planes, axis, *pair, mode)  # type: ignore[arg-type]
        return planes.reshape(*x.shape[:-2], *planes.shape[-2:])
    if not any(around):
        return x
    if mode in ("zeros", "constant"):
        return F.pad(x, around)
    if x.ndim == 4:
        return F.pad(x, around, mode=mode)
    flat = F.pad(x.reshape(x.shape[0], -1, *x.shape[-2:]), around, mode=mode)
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])


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
