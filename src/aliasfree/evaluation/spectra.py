"""Radial power spectra: how much of the images' energy lies at which frequency, whatever its direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aliasfree.errors import ShapeError

__all__ = ["radial_mean", "radial_power_spectrum", "without_nyquist"]


def radial_power_spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """(frequency, power) of images (N, C, H, W), averaged over images, channels and directions; float64 (B,) each.

    Frequencies are fractions of Nyquist, 0 .. 1, one bin a cycle over the shorter side; the corners beyond 1 are left
    out. Power is |DFT|^2 / (H W): white noise of variance v has v everywhere. The mean of each image is taken out.

    >>> import torch
    >>> from aliasfree.evaluation.spectra import radial_power_spectrum
    >>> noise = torch.randn(1000, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> frequency, power = radial_power_spectrum(noise)
    >>> len(frequency), [round(p, 1) for p in power.tolist()[1:4]]
    (9, [1.0, 1.0, 1.0])
    """
    if images.ndim != 4 or not images.numel():
        raise ShapeError(f"expected images (N, C, H, W), N >= 1, got shape {tuple(images.shape)}")
    x = images.double()
    h, w = x.shape[-2:]
    spectrum = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square().mean((0, 1)) / (h * w)
    return radial_mean(spectrum)


def without_nyquist(images: Tensor) -> Tensor:
    """Images (N, C, H, W) less what they have at the Nyquist frequency of an even side.

    A sine there is seen at its zeros alone, so a shift by a fraction of a pixel has no meaning for it.

    >>> import torch
    >>> from aliasfree.evaluation.spectra import without_nyquist
    >>> checkerboard = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))
    >>> bool(without_nyquist(checkerboard[None, None]).abs().max() < 1e-6)
    True
    """
    spectrum = torch.fft.fft2(images)
    h, w = images.shape[-2:]
    if h % 2 == 0:
        spectrum[..., h // 2, :] = 0
    if w % 2 == 0:
        spectrum[..., w // 2] = 0
    return torch.fft.ifft2(spectrum).real.contiguous()


def radial_mean(plane: Tensor) -> tuple[Tensor, Tensor]:
    """(frequency, mean) over rings of a DFT plane (H, W) in `torch.fft.fft2`'s order; see `radial_power_spectrum`.

    >>> import torch
    >>> from aliasfree.evaluation.spectra import radial_mean
    >>> frequency, mean = radial_mean(torch.ones(4, 4))
    >>> frequency.tolist(), mean.tolist()
    ([0.0, 0.5, 1.0], [1.0, 1.0, 1.0])
    """
    h, w = plane.shape
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64, device=plane.device) * 2 for n in (h, w))
    radius = (rows[:, None] ** 2 + columns**2).sqrt()
    bins = min(h, w) // 2 + 1
    ring = (radius * (bins - 1) + 0.5).floor().long().flatten()
    inside = ring < bins
    total = torch.zeros(bins, dtype=torch.float64, device=plane.device)
    total.index_add_(0, ring[inside], plane.double().flatten()[inside])
    count = torch.bincount(ring[inside], minlength=bins).clamp(min=1)
    frequency = torch.arange(bins, dtype=torch.float64) / max(1, bins - 1)
    return frequency, (total / count).cpu()


def decibel(power: float) -> float:
    """10 log10 of a ratio of energies; -inf for 0."""
    return 10 * math.log10(power) if power > 0 else -math.inf
