"""Filtering that treats every direction alike: radially symmetric responses, in the Fourier domain of a periodic plane.

A plane wave that turns keeps its |f|, so a map that multiplies each frequency by a function of |f| commutes with
turns, as far as what it smears stays off the edge of the plane. A square band does not: turned by 45 degrees its
corners have no place in it. Frequencies are fractions of the Nyquist frequency; beyond 1 are the corners.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.ops import fourier
from aliasfree.ops.plain import resample
from aliasfree.ops.tracing import cache_constants

FALL, WINDOW_FALL = 0.8, 0.6
"""Where the bands of `radial_conv2d` and `disc_window2d` begin to fall towards the rim. Cut sharply where a plane is
full of energy, what a turn smears across the rim is lost in one direction and kept in another: noised and whitened
digits at 32x32, windowed, then commute with turns to 23 dB instead of 43."""

__all__ = ["centre2d", "disc_filter2d", "disc_window2d", "radial_conv2d", "radial_conv2d_reference"]


def disc_filter2d(x: Tensor, edge: float = 1.0, start: float | None = None) -> Tensor:
    """Keep the disc |f| < edge of each plane (N, C, H, W), and nothing on its rim or outside.

    edge   fraction of Nyquist, in (0, 1]
    start  where the gain begins to fall from 1, as a raised cosine; None = edge, a brick wall

    A gradual fall smears less: a brick wall's response decays as r^-1.5 only. Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.ops import disc_filter2d
    >>> checkerboard = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8))
    >>> bool(disc_filter2d(checkerboard[None, None] + 3).sub(3).abs().max() < 1e-6)  # a corner of the square band
    True
    """
    _check(x)
    start = edge if start is None else start
    if not 0 <= start <= edge <= 1 or edge == 0:
        raise ArgumentError(f"a disc's `edge` is in (0, 1] and `start` in [0, edge], not {edge:g} and {start:g}")
    work, (h, w) = _workable(x), x.shape[-2:]
    gain = _disc(h, w, edge, start, work.dtype, x.device)
    return fourier.irfft2(fourier.rfft2(work) * gain, (h, w)).to(x.dtype)


def radial_conv2d(x: Tensor, weight: Tensor, widths: Sequence[float]) -> Tensor:
    """Periodic convolution of (N, C, H, W) with kernels that are sums of radial ones, one for each weight.

        y = sum over b of  weight[:, :, b] (g_b * x),   each within the disc |f| < 1, falling from 0.8

    weight  (C', C, 1 + B); g_0 is a point, g_b a Gaussian of standard deviation widths[b - 1] pixels and sum 1
    widths  B numbers > 0

    Returns (N, C', H, W). Where a 3x3 kernel has nine weights for a pair of channels, this has 1 + B.
    Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.ops import radial_conv2d
    >>> y = radial_conv2d(torch.randn(2, 3, 16, 16), torch.randn(5, 3, 2), widths=[0.75])
    >>> tuple(y.shape)
    (2, 5, 16, 16)
    """
    _check_weight(x, weight, widths)
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return _radial_conv2d(x, weight, tuple(widths))
    return _radial_conv2d(x, weight, tuple(widths))


def _radial_conv2d(x: Tensor, weight: Tensor, widths: tuple[float, ...]) -> Tensor:
    n, _, h, w = x.shape
    work = _workable(x)
    gains = _gaussians(h, w, widths, work.dtype, x.device)
    spectrum = torch.view_as_real(fourier.rfft2(work))
    parts = (spectrum[:, :, None] * gains[..., None]).reshape(n, weight[0].numel(), -1)
    mixed = weight.to(work.dtype).flatten(1) @ parts
    mixed = torch.view_as_complex(mixed.reshape(n, len(weight), h, w // 2 + 1, 2))
    return fourier.irfft2(mixed, (h, w)).to(x.dtype)


def radial_conv2d_reference(x: Tensor, weight: Tensor, widths: Sequence[float]) -> Tensor:
    """The literal algorithm: the kernels in space, every pixel times every pixel; float64 inside.

    >>> import torch
    >>> from aliasfree.ops import radial_conv2d, radial_conv2d_reference
    >>> x, weight = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3)
    >>> torch.allclose(radial_conv2d(x, weight, [0.7, 1.5]), radial_conv2d_reference(x, weight, [0.7, 1.5]), atol=1e-5)
    True
    """
    _check_weight(x, weight, widths)
    h, w = x.shape[-2:]
    rows, columns = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in (h, w))
    position = [torch.arange(n, dtype=torch.float64) for n in (h, w)]
    kernels = []
    for width in (0.0, *widths):
        total = torch.zeros(h, w, dtype=torch.float64)
        for u in rows:
            for v in columns:
                f = ((u / h) ** 2 + (v / w) ** 2).sqrt()
                if f < 0.5 - 1e-9:
                    wave = torch.cos(2 * torch.pi * (u * position[0][:, None] / h + v * position[1] / w))
                    fall = 0.5 + 0.5 * torch.cos(torch.pi * ((2 * f - FALL) / (1 - FALL)).clamp(min=0))
                    total += fall * torch.exp(-2 * (torch.pi * width * f) ** 2) * wave / (h * w)
        kernels.append(total)
    kernel = torch.einsum("oib,bhw->oihw", weight.detach().double().cpu(), torch.stack(kernels))
    y = torch.zeros(len(x), len(weight), h, w, dtype=torch.float64)
    for i in range(h):
        for j in range(w):
            y += torch.einsum("oi,nihw->nohw", kernel[:, :, i, j], x.detach().double().cpu().roll((i, j), (2, 3)))
    return y.to(x)


def disc_window2d(x: Tensor, taper: float, padding: float) -> Tensor:
    """The inscribed disc of each plane (N, C, H, W), in the middle of a larger plane that is zero around it.

    taper    share of the disc's diameter over which it fades (raised cosine) to zero at its rim, in (0, 1/2]
    padding  side of the larger plane, at least as a multiple of H and W: it is rounded up to a multiple of 8

    What lies outside the disc has no place to turn to; with the zeros around it a filter may smear the disc without
    meeting its periodic copies. x must have nothing beyond Nyquist's disc to be windowed exactly: the product is taken
    at twice the rate, and the band |f| < 1 falls from 0.6 on. Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.ops import disc_window2d
    >>> y = disc_window2d(torch.ones(1, 1, 16, 16), taper=0.125, padding=1.5)
    >>> tuple(y.shape), bool(y[0, 0, 12, 12] > 0.9), bool(y[0, 0, 4, 4].abs() < 0.1)
    ((1, 1, 24, 24), True, True)
    """
    _check(x)
    if not 0 < taper <= 0.5 or padding < 1:
        raise ArgumentError(f"`taper` must be in (0, 0.5] and `padding` at least 1, not {taper:g} and {padding:g}")
    h, w = x.shape[-2:]
    work = _workable(x)
    window = _window(h, w, taper, work.dtype, x.device)
    fine = resample(work, BELOW_NYQUIST, 2, "circular", up=True) * window
    rows, columns = (-(-int(side * padding) // 8) * 8 - side for side in (h, w))
    fine = torch.constant_pad_nd(fine, (columns, columns, rows, rows))  # not F.pad, which may be taken for a border
    return disc_filter2d(resample(fine, BELOW_NYQUIST, 2, "circular", up=False), 1.0, WINDOW_FALL).to(x.dtype)


def centre2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (H, W) of planes (N, C, H', W') that differ from it by an even number of pixels, or x itself.

    >>> import torch
    >>> from aliasfree.ops import centre2d
    >>> centre2d(torch.arange(16.0).reshape(1, 1, 4, 4), (2, 2))[0, 0].tolist()
    [[5.0, 6.0], [9.0, 10.0]]
    """
    rows, columns = x.shape[-2] - size[0], x.shape[-1] - size[1]
    if min(rows, columns) < 0 or rows % 2 or columns % 2:
        raise ShapeError(f"{tuple(x.shape[-2:])} has no middle of {tuple(size)} pixels")
    if rows == columns == 0:
        return x
    return x[..., rows // 2 : rows // 2 + size[0], columns // 2 : columns // 2 + size[1]]


def _check(x: Tensor) -> None:
    if x.ndim != 4 or not x.is_floating_point():
        raise ShapeError(f"expected float planes (N, C, H, W), got {x.dtype} {tuple(x.shape)}")


def _check_weight(x: Tensor, weight: Tensor, widths: Sequence[float]) -> None:
    _check(x)
    if not all(width > 0 for width in widths):
        raise ArgumentError(f"the `widths` of radial kernels are above 0 pixels, not {list(widths)}")
    if weight.ndim != 3 or weight.shape[1:] != (x.shape[1], 1 + len(widths)):
        raise ShapeError(
            f"expected weights (C', {x.shape[1]}, {1 + len(widths)}) for planes {tuple(x.shape)}, "
            f"got {tuple(weight.shape)}"
        )


def _workable(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _radius(h: int, w: int) -> Tensor:
    """|f| over Nyquist on `torch.fft.rfft2`'s plane, float64 (H, W // 2 + 1)."""
    rows, columns = torch.fft.fftfreq(h, dtype=torch.float64), torch.fft.rfftfreq(w, dtype=torch.float64)
    return 2 * (rows[:, None] ** 2 + columns**2).sqrt()


def _fall(f: Tensor, edge: float, start: float) -> Tensor:
    share = ((f - start) / max(edge - start, 1e-9)).clamp(0, 1)
    return (0.5 + 0.5 * torch.cos(torch.pi * share)) * (f < edge - 1e-9)


@cache_constants(maxsize=64)
def _disc(h: int, w: int, edge: float, start: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    # a tensor born in inference mode could never take part in training afterwards
    with torch.inference_mode(False), torch.no_grad():
        return _fall(_radius(h, w), edge, start).to(device=device, dtype=dtype)


@cache_constants(maxsize=64)
def _gaussians(h: int, w: int, widths: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Gains of a point and of the Gaussians within the disc, (1 + B, H, W // 2 + 1)."""
    with torch.inference_mode(False), torch.no_grad():
        f = _radius(h, w)
        gains = torch.stack([torch.exp(-2 * (torch.pi * width * f / 2) ** 2) for width in (0.0, *widths)])
        return (gains * _fall(f, 1.0, FALL)).to(device=device, dtype=dtype)


@cache_constants(maxsize=16)
def _window(h: int, w: int, taper: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 inside the inscribed disc, 0 outside, at twice the rate: (2 H, 2 W)."""
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = ((torch.arange(2 * n, dtype=torch.float64) + 0.5) / 2 - n / 2 for n in (h, w))
        fade = taper * min(h, w)
        r = (rows[:, None] ** 2 + columns**2).sqrt()
        share = ((r - (min(h, w) / 2 - fade)) / fade).clamp(0, 1)
        return (0.5 + 0.5 * torch.cos(torch.pi * share)).to(device=device, dtype=dtype)
