"""Constant tables of `aliasfree.ops.spatial`: phases, weights, indices, masks.

Built in float64 with NumPy, kept by size, motion, dtype and device in bounded caches. Motions come as tuples: one
entry for all samples, or one a sample; big per-sample tables are not kept.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aliasfree.ops.tracing import cache_constants

CACHED = 16
"""How many tables of one kind are kept."""
LARGEST = 1 << 16
"""Samples x pixels above which a table is built anew at each call (spline tables take 192 bytes a pixel)."""

T = TypeVar("T")
Floats = NDArray[np.float64]


class Affine(NamedTuple):
    """Where output pixel p reads: A (p - centre) + b + centre, (row, column) order."""

    a: tuple[float, float, float, float]
    b: tuple[float, float]


def rotation(degrees: float) -> Affine:
    """Counter-clockwise with row 0 on top; multiples of 90 are exact."""
    k = round(degrees / 90)
    rest = math.radians(degrees - 90 * k)
    c, s = math.cos(rest), math.sin(rest)
    c, s = ((c, s), (-s, c), (-c, -s), (s, -c))[k % 4]
    return Affine((c, s, -s, c), (0.0, 0.0))


def translation(dy: float, dx: float) -> Affine:
    return Affine((1.0, 0.0, 0.0, 1.0), (-dy, -dx))


def magnification(factor: float) -> Affine:
    return Affine((1 / factor, 0.0, 0.0, 1 / factor), (0.0, 0.0))


def _cached(build: Callable[..., T]) -> Callable[..., T]:
    """Cache of bounded length and, by refusing big tables, of bounded memory."""
    cached = cache_constants(CACHED)(build)

    @functools.wraps(build)
    def table(*key: Any) -> T:
        h, w, motions = key[:3]
        big = isinstance(motions, tuple) and len(motions) * h * w > LARGEST
        # A table first built under inference_mode must serve a later backward pass too.
        with torch.inference_mode(False):
            return build(*key) if big else cached(*key)

    return cast(Callable[..., T], table)


def _tensor(a: NDArray[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    if np.iscomplexobj(a):
        dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
    return torch.from_numpy(np.ascontiguousarray(a)).to(device, dtype)


def _phases(shifts: Floats, n: int) -> NDArray[np.complex128]:
    """(..., n // 2 + 1) factors that make line l of length n read at position + shifts[l].

    The Nyquist bin of an even n must stay real; it takes the sign of the whole part of the shift, so that the map is
    orthogonal, whole shifts are exact and shifts below half a pixel leave the bin alone.
    """
    whole = np.round(shifts)
    k = np.arange(n // 2 + 1)
    phase = np.exp(2j * np.pi / n * k * shifts[..., None])
    if n % 2 == 0:
        phase[..., -1] = 1 - 2 * (whole % 2)
    return phase


def _offsets(n: int) -> Floats:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2


@_cached
def shears(
    h: int, w: int, degrees: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Phases of the column shear (1 or N, 1, H, W//2+1) and of the row shear (1 or N, 1, H//2+1, W)."""
    theta = np.radians(np.asarray(degrees))[:, None]
    across = _phases(-np.tan(theta / 2) * _offsets(h), w)[:, None]
    down = _phases(np.sin(theta) * _offsets(w), h)[:, None].swapaxes(2, 3)
    return _tensor(across, dtype, device), _tensor(down, dtype, device)


def shift(n: int, shifts: tuple[float, ...], axis: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Phases that move lines along axis 2 or 3 by `shifts`, (1 or N, 1, n//2+1, 1) or (1 or N, 1, 1, n//2+1)."""
    return _shift(n, 1, shifts, axis, dtype, device)


@_cached
def _shift(n: int, _: int, shifts: tuple[float, ...], axis: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    phase = _tensor(_phases(-np.asarray(shifts), n), dtype, device)
    return phase[:, None, :, None] if axis == 2 else phase[:, None, None, :]


@_cached
def dirichlet(
    h: int, w: int, factors: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Band-limited periodic interpolation: rows (1 or N, 1, H, H) to apply from the left, columns from the right."""

    def matrix(n: int, factor: float) -> Floats:
        lag = (_offsets(n) / factor + (n - 1) / 2)[:, None] - np.arange(n)
        k = np.arange(1, (n - 1) // 2 + 1)
        k = k[k < factor * n / 2]  # what stays below Nyquist on the new grid
        out = 1 + 2 * np.cos(2 * np.pi / n * lag[..., None] * k).sum(-1)
        if n % 2 == 0 and factor >= 1:
            out += np.cos(np.pi * lag)
        return cast(Floats, out / n)

    rows = np.stack([matrix(h, f) for f in factors])[:, None]
    columns = np.stack([matrix(w, f).T for f in factors])[:, None]
    return _tensor(rows, dtype, device), _tensor(columns, dtype, device)


def _sources(h: int, w: int, maps: tuple[Affine, ...]) -> tuple[Floats, Floats]:
    """Row and column each output pixel reads, (len(maps), H, W)."""
    i, j = _offsets(h)[:, None], _offsets(w)
    rows = [m.a[0] * i + m.a[1] * j + m.b[0] + (h - 1) / 2 for m in maps]
    columns = [m.a[2] * i + m.a[3] * j + m.b[1] + (w - 1) / 2 for m in maps]
    return np.stack(rows), np.stack(columns)


@_cached
def grid(h: int, w: int, maps: tuple[Affine, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sampling grid of `grid_sample` with align_corners=False, (1 or N, H, W, 2)."""
    rows, columns = _sources(h, w, maps)
    return _tensor(np.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], -1), dtype, device)


@cache_constants(CACHED)
def spline_prefilter(h: int, w: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 / frequency response of the sampled cubic B-spline, (H, W//2+1): samples to periodic spline coefficients."""
    rows = (2 + np.cos(2 * np.pi * np.fft.fftfreq(h))) / 3
    columns = (2 + np.cos(2 * np.pi * np.fft.rfftfreq(w))) / 3
    with torch.inference_mode(False):
        return _tensor(1 / (rows[:, None] * columns), dtype, device)


@_cached
def spline_taps(
    h: int, w: int, maps: tuple[Affine, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The 16 taps of the cubic spline: flat index and weight, both (16, 1 or N, H*W)."""
    axes = []
    for source, n in zip(_sources(h, w, maps), (h, w), strict=True):
        source = source.reshape(len(maps), -1)
        base = np.floor(source)
        f = source - base
        g = 1 - f
        weight = np.stack([g**3, 4 - 6 * f**2 + 3 * f**3, 4 - 6 * g**2 + 3 * g**3, f**3]) / 6
        index = np.stack([base + k for k in (-1, 0, 1, 2)]).astype(np.int64) % n
        axes.append((index, weight))
    (row, row_weight), (column, column_weight) = axes
    index = (row[:, None] * w + column).reshape(16, len(maps), -1)
    weight = (row_weight[:, None] * column_weight).reshape(16, len(maps), -1)
    return _tensor(index, torch.int64, device), _tensor(weight, dtype, device)


@cache_constants(CACHED)
def disc(h: int, w: int, device: torch.device) -> Tensor:
    """Pixels within (min(H, W) - 1) / 2 of the centre, bool (1, 1, H, W)."""
    inside = np.hypot(_offsets(h)[:, None], _offsets(w)) <= (min(h, w) - 1) / 2
    with torch.inference_mode(False):
        return torch.from_numpy(inside)[None, None].to(device)


@_cached
def inside(h: int, w: int, maps: tuple[Affine, ...], device: torch.device) -> Tensor:
    """Output pixels that read within the outermost pixel centres, bool (1 or N, 1, H, W)."""
    rows, columns = _sources(h, w, maps)
    slack = 1e-9
    good = (rows >= -slack) & (rows <= h - 1 + slack) & (columns >= -slack) & (columns <= w - 1 + slack)
    return torch.from_numpy(good[:, None]).to(device)
