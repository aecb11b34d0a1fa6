"""The optimal linear predictor around a network (spectral preconditioning).

Noise is full-band and the network of a config that obeys the sampling theorem is not, so it cannot predict all of it.
What is linear in the prediction is known in closed form from the data's power spectrum S(f), relative to that of white
noise of unit variance. With a = cumulative alpha of t and v(f) = a S(f) + 1 - a, the state X and the noise E,

    E[E | X] = sqrt(1 - a) / v X      (Wiener's filter)      with the error variance a S / v at each frequency,

so the network sees X / sqrt(v), which is white, and predicts F, which is white too, in

    E = sqrt(1 - a) X / v + sqrt(a S / v) F

with the data's mean level taken out first. It has no parameter and commutes with shifts and, as S depends on |f| only,
with turns. Colours are first turned to the data's principal axes, each with a spectrum of its own.

Where shifts need not be kept, the mean may depend on the distance from the middle, and where the data hardly differ
from it (the empty corners around a digit), each pixel alone tells its noise: E = (X - sqrt(a) mean) / sqrt(1 - a), with
the error a s / (a s + 1 - a) of a pixel of variance s. By distance and noise level, the prediction goes over to that as
its error falls from 1/3 to 1/30 of the linear predictor's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.ops import fourier
from aliasfree.ops.radial import disc_filter2d
from aliasfree.ops.tracing import cache_constants

__all__ = ["Spectrum", "measure_spectrum", "precondition"]

LEAST_POWER = 1e-6
"""Where the data have less, relative to white noise of unit variance, they count as having this."""


@dataclass(frozen=True)
class Spectrum:
    """The data's second-order statistics, as far as shifts and turns leave them alone.

    side     rings lie 1 / side cycles a pixel apart
    mean     of each channel of images in [-1, 1]
    colours  the principal axes of the channels, orthogonal: rows of (C, C)
    power    along each axis, by ring from frequency 0 to the corner: |DFT|^2 / (H W), so that white noise of unit
             variance has 1 everywhere
    profile  of each channel, the mean at the distances 0, 1, 2 ... / side from the middle of the image, less `mean`;
             () = it does not depend on the distance
    spread   the variance around it at these distances, averaged over the channels; () with an empty profile

    >>> from aliasfree.nn import Spectrum
    >>> photographs = Spectrum.natural(channels=3, side=32)
    >>> photographs.mean, len(photographs.power), len(photographs.power[0])
    ((0.0, 0.0, 0.0), 3, 24)
    >>> Spectrum.of(photographs.to_dict()) == photographs
    True
    """

    side: int
    mean: tuple[float, ...]
    colours: tuple[tuple[float, ...], ...]
    power: tuple[tuple[float, ...], ...]
    profile: tuple[tuple[float, ...], ...] = ()
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        c = len(self.mean)
        if self.side < 2 or len(self.colours) != c or len(self.power) != c or any(len(r) != c for r in self.colours):
            raise ArgumentError("a spectrum has a mean, an axis and the powers of its rings for each channel")
        if any(not (math.isfinite(p) and p >= 0) for line in self.power for p in line) or not all(self.power):
            raise ArgumentError("the powers of a spectrum are finite and not negative")
        if any(len(line) != len(self.spread) for line in self.profile) or len(self.profile) not in (0, c):
            raise ArgumentError("the profile of a spectrum has a line for each channel, each as long as its spread")

    @classmethod
    def of(cls, values: Mapping[str, Any] | Spectrum) -> Spectrum:
        """The inverse of `to_dict`. Raises ArgumentError."""
        if isinstance(values, Spectrum):
            return values
        try:
            rows = {
                name: tuple(tuple(float(v) for v in line) for line in values.get(name, ()))
                for name in ("colours", "power", "profile")
            }
            spread = tuple(float(v) for v in values.get("spread", ()))
            return cls(int(values["side"]), tuple(float(v) for v in values["mean"]), **rows, spread=spread)
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"a spectrum holds side, mean, colours and power, as `measure_spectrum` gives them ({error})"
            ) from None

    @classmethod
    def natural(cls, channels: int, side: int = 32) -> Spectrum:
        """That of photographs in general, for networks that know no data yet: power falling as 1 / f^2 (Field 1987),
        variance 1/4, grey first among the colours."""
        rings = 1 + math.ceil(side / math.sqrt(2))
        fall = [1 / max(1.0, r) ** 2 for r in range(rings)]
        whole = sum(f * max(1.0, 2 * math.pi * r) for r, f in enumerate(fall)) / side**2
        grey = tuple(f / whole / 4 for f in fall)
        axes = torch.linalg.qr(torch.cat([torch.ones(channels, 1), torch.eye(channels)[:, 1:]], 1).double())[0].T
        power = tuple(tuple(p * (1.0 if c == 0 else 0.1) for p in grey) for c in range(channels))
        return cls(side, (0.0,) * channels, tuple(tuple(row) for row in axes.tolist()), power)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def measure_spectrum(images: Tensor, *, radial: bool = False) -> Spectrum:
    """The spectrum of images (N, C, H, W), uint8 or floats in [-1, 1], in float64. Raises ShapeError.

    radial  also how mean and variance depend on the distance from the middle; the power is then that of the rest.
            It commutes with turns, not with shifts

    Of more than 4,096 images evenly spaced ones are taken.

    >>> import torch
    >>> from aliasfree.nn import measure_spectrum
    >>> noise = torch.randn(1000, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> spectrum = measure_spectrum(noise)
    >>> spectrum.side, [round(power, 1) for power in spectrum.power[0][1:4]]
    (16, [1.0, 1.0, 1.0])
    """
    if images.ndim != 4 or not images.numel():
        raise ShapeError(f"expected images (N, C, H, W), N >= 1, got shape {tuple(images.shape)}")
    images = images[:: max(1, len(images) // 4096)]
    x = images.double() / 127.5 - 1 if images.dtype == torch.uint8 else images.double()
    h, w = x.shape[-2:]
    mean = x.mean((0, 2, 3))
    x = x - mean[:, None, None]
    profile, spread = _profile(x) if radial else ((), ())
    if radial:
        x = x - _by_distance(profile, h, w, min(h, w))
    flat = x.transpose(0, 1).flatten(1)
    axes = torch.linalg.eigh(flat @ flat.T / flat.shape[1])[1].flip(1).T
    x = torch.einsum("dc,nchw->ndhw", axes, x)
    plane = torch.fft.fft2(x).abs().square().mean(0) / (h * w)
    side = min(h, w)
    ring = (_radius(h, w, side) + 0.5).floor().long().flatten()
    count = torch.bincount(ring)
    power = torch.zeros(len(mean), len(count), dtype=torch.float64).index_add_(1, ring, plane.flatten(1)) / count.clamp(
        min=1
    )
    last = [
        max(i for i in range(r + 1) if count[i]) for r in range(len(count))
    ]  # a ring without a pixel, of oblong images
    lines = power[:, last].tolist()
    colours = tuple(tuple(row) for row in axes.tolist())
    return Spectrum(side, tuple(mean.tolist()), colours, tuple(tuple(p) for p in lines), profile, spread)


def precondition(spectrum: Spectrum, x: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """What the network is to see, and what makes the predicted noise of its output; both (N, C, H, W) as x.

    x          the noised images, mean level included
    alpha_bar  a of each image, (N,), in (0, 1)
    The transforms run in float32, or float64 for float64 images; the output is of that type.
    """
    work = x if x.dtype == torch.float64 else x.float()
    h, w = x.shape[-2:]
    colours, mean, power, spread = _constants(spectrum, h, w, work.dtype, x.device)
    a = alpha_bar.to(work)[:, None, None, None]
    v = a * power + (1 - a)
    centred = work - a.sqrt() * mean
    state = fourier.rfft2(_turned(colours, centred))
    size = x.shape[-2:]
    seen = fourier.irfft2(state * v.rsqrt(), size)

    def finish(out: Tensor) -> Tensor:
        rest = fourier.rfft2(_turned(colours, out.to(work.dtype)))
        noise = fourier.irfft2(state * ((1 - a).sqrt() / v) + rest * (a * power / v).sqrt(), size)
        noise = _turned(colours.mT, noise)
        if spread is None:
            return noise
        linear, alone = (a * power / v).mean((1, 2, 3), keepdim=True), a * spread / (a * spread + 1 - a)
        known = (torch.log10(linear / alone.clamp(min=1e-12)) - math.log10(3)).clamp(0, 1)
        return torch.lerp(noise, centred / (1 - a).sqrt(), known)

    return _turned(colours.mT, seen).to(x.dtype), finish


def residual_variance(spectrum: Spectrum, size: tuple[int, int], alpha_bar: Tensor) -> Tensor:
    """Mean over frequencies and colours of a S / v, for each a of (T,): the error of the linear predictor alone."""
    power = _planes(spectrum, *size)
    a = alpha_bar.double()
    return torch.stack([(each * power / (each * power + 1 - each)).mean() for each in a])


def _turned(colours: Tensor, x: Tensor) -> Tensor:
    return x if len(colours) == 1 else torch.einsum("dc,nchw->ndhw", colours, x)


def _radius(h: int, w: int, side: int) -> Tensor:
    """|f| of `torch.fft.fft2`'s plane, in rings of 1 / side cycles a pixel, float64 (H, W)."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in (h, w))
    return (rows[:, None] ** 2 + columns**2).sqrt() * side


def _planes(spectrum: Spectrum, h: int, w: int) -> Tensor:
    """S on the DFT's plane, interpolated between rings in logarithms, float64 (C, H, W)."""
    lines = torch.tensor(spectrum.power, dtype=torch.float64).clamp(min=LEAST_POWER).log()
    place = _radius(h, w, spectrum.side).clamp(max=lines.shape[1] - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=lines.shape[1] - 1)
    return torch.lerp(lines[:, low], lines[:, high], (place - low).expand(len(lines), -1, -1)).exp()


def _distance(h: int, w: int) -> Tensor:
    """Pixels from the middle of an image, float64 (H, W)."""
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (h, w))
    return (rows[:, None] ** 2 + columns**2).sqrt()


def _profile(x: Tensor) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Mean by distance of each channel, and the variance around it, of images (N, C, H, W)."""
    h, w = x.shape[-2:]
    ring = _distance(h, w).round().long().flatten()
    pixels = [x.flatten(2)[:, :, ring == r] for r in range(int(ring.max()) + 1)]
    pixels = [p if p.numel() else pixels[i + 1] for i, p in enumerate(pixels)]  # an even side has none at distance 0
    means = torch.stack([p.mean((0, 2)) for p in pixels], 1)
    spread = [float((p - p.mean((0, 2), keepdim=True)).square().mean()) for p in pixels]
    return tuple(tuple(line) for line in means.tolist()), tuple(spread)


def _by_distance(lines: tuple[tuple[float, ...], ...], h: int, w: int, side: int) -> Tensor:
    """Values at the distances 0, 1, 2 ... / side, interpolated on an image (H, W): float64 (C, H, W)."""
    values = torch.tensor(lines, dtype=torch.float64)
    place = (_distance(h, w) * side / min(h, w)).clamp(max=values.shape[1] - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=values.shape[1] - 1)
    return torch.lerp(values[:, low], values[:, high], (place - low).expand(len(values), -1, -1))


@cache_constants(maxsize=32)
def _constants(
    spectrum: Spectrum, h: int, w: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Axes (C, C), mean (C, 1, 1) or (C, H, W), S on rfft2's plane (C, H, W//2 + 1), variance by pixel (H, W)."""
    with torch.inference_mode(False), torch.no_grad():
        parts = (
            torch.tensor(spectrum.colours, dtype=torch.float64),
            torch.tensor(spectrum.mean, dtype=torch.float64)[:, None, None]
            + (
                disc_filter2d(_by_distance(spectrum.profile, h, w, spectrum.side)[None])[0] if spectrum.profile else 0.0
            ),
            _planes(spectrum, h, w)[..., : w // 2 + 1],
        )
        colours, mean, power = (part.to(device=device, dtype=dtype).contiguous() for part in parts)
        spread = None
        if spectrum.spread:
            spread = _by_distance((spectrum.spread,), h, w, spectrum.side)[0].to(device=device, dtype=dtype)
        return colours, mean, power, spread
