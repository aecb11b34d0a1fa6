"""Band-limited up- and downsampling of planes.

    y = upsample2d(x):    1. insert factor-1 zeros after every sample of each axis
                          2. filter with the kernel (times factor^2 for gain "unity")
    y = downsample2d(x):  1. filter with the kernel   2. keep every factor-th sample

Neither is carried out that way: the zeros are never multiplied and the dropped samples never computed. The
kernel is a short sum of outer products, so a step is a product with a small matrix from each side, padding
included in the matrix; planes larger than `MATRIX_LIMIT` use polyphase convolutions instead. The literal
algorithm stands beside each op as `..._reference`.

Even kernels are pixel-centred: output pixel i of an upsampling lies at (i + 0.5) / factor - 0.5. Odd kernels and
kernels of gain "none" keep the published code's alignment (sample 0 on pixel 0).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ArgumentError, BackendError, ShapeError, did_you_mean
from aliasfree.filters import (
    Array,
    FilterSpec,
    downsampling_kernel,
    downsampling_offset,
    separable_terms,
    upsampling_kernel,
    upsampling_offset,
)

__all__ = ["downsample2d", "downsample2d_reference", "upsample2d", "upsample2d_reference"]

Padding = Literal["zeros", "circular", "reflect"]
PADDINGS: tuple[str, ...] = ("zeros", "circular", "reflect")
BACKENDS: tuple[str, ...] = ("auto", "torch", "reference")
MATRIX_LIMIT = 128
"""Longest side (of the lower rate) filtered by dense matrices: below it a matrix product beats a convolution."""


def upsample2d(
    x: Tensor,
    filter: FilterSpec | str,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> Tensor:
    """Upsample (N, C, H, W) to (N, C, factor H, factor W).

    filter    a FilterSpec for this rate, or the name of one ("hq", "2N", ...)
    factor    integer >= 2
    padding   what lies outside the plane: "zeros", "circular" or "reflect"; "ideal" is periodic whatever it says
    backend   "auto", "torch", or "reference" (the literal algorithm)

    Dtype, device and memory format are those of x; differentiable in x. Raises ShapeError, ArgumentError,
    ConfigError and BackendError. Source: arXiv 2411.09174, section on alias-free resampling.
    """
    spec = _check(x, filter, factor, padding, backend)
    if backend == "reference":
        return upsample2d_reference(x, spec, factor, padding)
    return _resample(x, spec, factor, padding, up=True)


def downsample2d(
    x: Tensor,
    filter: FilterSpec | str,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> Tensor:
    """Downsample (N, C, H, W) to (N, C, ceil(H / factor), ceil(W / factor)); arguments as for `upsample2d`.

    For gain "unity" this is the adjoint of `upsample2d` divided by factor^2 (padding "zeros" and "circular").
    """
    spec = _check(x, filter, factor, padding, backend)
    if backend == "reference":
        return downsample2d_reference(x, spec, factor, padding)
    return _resample(x, spec, factor, padding, up=False)


def upsample2d_reference(x: Tensor, spec: FilterSpec, factor: int = 2, padding: Padding = "zeros") -> Tensor:
    """The literal algorithm: zero insertion, then a full-rate convolution (a product of spectra for "ideal")."""
    n, c, h, w = x.shape
    z = x.new_zeros(n, c, h * factor, w * factor)
    z[:, :, ::factor, ::factor] = x
    if spec.kind == "ideal":
        return _brick_wall(z, spec, shift=(factor - 1) / 2) * factor**2
    k = torch.from_numpy(upsampling_kernel(spec, factor).copy()).to(x)
    # padding is meant for x, not for the zeros between its samples: extend x, insert zeros again, crop
    margin = -(-spec.taps // factor)
    z = x.new_zeros(n, c, (h + 2 * margin) * factor, (w + 2 * margin) * factor)
    z[:, :, ::factor, ::factor] = _extend(x, margin, padding)
    start = margin * factor - upsampling_offset(spec, factor)
    z = z[:, :, start : start + h * factor + spec.taps - 1, start : start + w * factor + spec.taps - 1]
    return _depthwise(z, k)


def downsample2d_reference(x: Tensor, spec: FilterSpec, factor: int = 2, padding: Padding = "zeros") -> Tensor:
    """The literal algorithm: a full-rate convolution, then every factor-th sample."""
    if spec.kind == "ideal":
        return _brick_wall(x, spec, shift=-(factor - 1) / 2)[:, :, ::factor, ::factor]
    k = torch.from_numpy(downsampling_kernel(spec, factor).copy()).to(x)
    start = spec.taps - downsampling_offset(spec, factor)
    x = _extend(x, spec.taps, padding)[:, :, start:, start:]
    h, w = x.shape[-2] - 2 * spec.taps + start, x.shape[-1] - 2 * spec.taps + start
    x = x[:, :, : h + spec.taps - 1, : w + spec.taps - 1]
    return _depthwise(x, k)[:, :, ::factor, ::factor]


def _extend(x: Tensor, margin: int, padding: Padding) -> Tensor:
    """x with `margin` more pixels on each side; margins may exceed the plane."""
    return _extend_axis(_extend_axis(x, 0, margin, margin, padding), 1, margin, margin, padding)


def _depthwise(x: Tensor, k: Tensor) -> Tensor:
    c = x.shape[1]
    return F.conv2d(x, k.expand(c, 1, *k.shape), groups=c)


def _brick_wall(x: Tensor, spec: FilterSpec, shift: float) -> Tensor:
    """Keep |frequency| < cutoff of both axes (half of it at the cutoff itself) and shift by `shift` pixels forward."""
    for dim in (-2, -1):
        n = x.shape[dim]
        k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        keep = torch.from_numpy(_pass_band(k.numpy(), n, spec.cutoff))
        spectrum = torch.fft.fft(x.to(torch.complex128), dim=dim)
        phase = torch.exp(-2j * torch.pi * k * shift / n) * keep
        x = torch.fft.ifft(spectrum * phase.reshape(-1, *[1] * (-1 - dim)).to(x.device), dim=dim).real.to(x.dtype)
    return x


def _pass_band(k: Array, n: int, cutoff: float) -> Array:
    edge = cutoff * n / 2
    return np.where(np.abs(k) < edge - 1e-9, 1.0, np.where(np.abs(k) < edge + 1e-9, 0.5, 0.0))


def _check(x: Tensor, filter: FilterSpec | str, factor: int, padding: str, backend: str) -> FilterSpec:
    if x.ndim != 4:
        raise ShapeError(f"expected images of shape (N, C, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ShapeError(f"expected a floating-point tensor, got {x.dtype}; scale integer images first")
    if not isinstance(factor, int) or factor < 2:
        raise ArgumentError(f"a resampling factor is an integer >= 2, not {factor!r}")
    if padding not in PADDINGS:
        raise ArgumentError(f"unknown padding {padding!r}{did_you_mean(str(padding), PADDINGS)}")
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}{did_you_mean(str(backend), BACKENDS)}")
    return FilterSpec.named(filter) if isinstance(filter, str) else filter


def _resample(x: Tensor, spec: FilterSpec, factor: int, padding: Padding, *, up: bool) -> Tensor:
    h, w = x.shape[-2:]
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    if max(h, w) > (MATRIX_LIMIT if up else MATRIX_LIMIT * factor) and spec.kind != "ideal":
        y = _polyphase(x, spec, factor, padding, up=up)
    else:
        where = (spec, factor, padding, up, x.dtype, x.device)
        terms = zip(axis_matrices(h, 0, *where), axis_matrices(w, 1, *where), strict=True)
        # the smaller intermediate first: rows last when upsampling, first when downsampling
        y = sum_terms([(r @ (x @ c.mT)) if up else ((r @ x) @ c.mT) for r, c in terms])
    return y.contiguous(memory_format=torch.channels_last) if channels_last else y


def sum_terms(terms: list[Tensor]) -> Tensor:
    """Sum of a non-empty list."""
    total = terms[0]
    for t in terms[1:]:
        total = total + t
    return total


@torch.compiler.assume_constant_result
@lru_cache(maxsize=1024)
def axis_matrices(
    n: int,
    axis: int,
    spec: FilterSpec,
    factor: int,
    padding: Padding,
    up: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """The matrices (n_out, n) that resample one axis (0 rows, 1 columns) of length n, one per separable term."""
    # a tensor born in inference mode could never take part in training afterwards
    with torch.inference_mode(False), torch.no_grad():
        matrices = (
            _ideal_matrix(n, spec, factor, up)
            if spec.kind == "ideal"
            else _fir_matrices(n, axis, spec, factor, padding, up)
        )
        return tuple(torch.from_numpy(m).to(device=device, dtype=dtype) for m in matrices)


def _fir_matrices(n: int, axis: int, spec: FilterSpec, factor: int, padding: Padding, up: bool) -> list[Array]:
    matrices = []
    for term in separable_terms(spec, factor, up=up):
        taps = term[axis]
        if up:
            out = np.arange(n * factor)
            # y[i] = sum_k h[k] x[m] with k = factor m - i + offset
            first = -(-(out - upsampling_offset(spec, factor)) // factor)
            source = first[:, None] + np.arange(-(-spec.taps // factor))
            k = factor * source - out[:, None] + upsampling_offset(spec, factor)
        else:
            out = np.arange(-(-n // factor))
            k = np.broadcast_to(np.arange(spec.taps), (len(out), spec.taps))
            source = k + factor * out[:, None] - downsampling_offset(spec, factor)
        weight = np.where(k < spec.taps, taps[np.minimum(k, spec.taps - 1)], 0.0)
        index, inside = _outside(source, n, padding)
        matrix = np.zeros((len(out), n))
        np.add.at(matrix, (np.broadcast_to(out[:, None], index.shape), index), weight * inside)
        matrices.append(matrix)
    return matrices


def _ideal_matrix(n: int, spec: FilterSpec, factor: int, up: bool) -> list[Array]:
    high = n * factor if up else n
    if high % factor:
        raise ShapeError(
            f"the periodic 'ideal' filter needs a size divisible by {factor}, not {n}; crop or pad the image"
        )
    k = np.arange(-(high // 2), high // 2 + 1, dtype=np.float64)
    keep = _pass_band(k, high, spec.cutoff)
    if high % 2 == 0:
        keep[[0, -1]] *= 0.5  # one Nyquist bin, counted at both ends
    low = factor * np.arange(high // factor) + (factor - 1) / 2
    distance = np.arange(high)[:, None] - low[None, :]
    matrix = np.einsum("k,kij->ij", keep, np.cos(2 * np.pi * k[:, None, None] * distance / high)) / high
    return [matrix * factor if up else matrix.T.copy()]


def _outside(source: Array | np.ndarray, n: int, padding: Padding) -> tuple[np.ndarray, np.ndarray]:
    """Where samples `source` of an axis of length n are read, and whether they exist (else they count as 0)."""
    if padding == "zeros":
        return np.clip(source, 0, n - 1), (source >= 0) & (source < n)
    if padding == "circular" or n == 1:
        return source % n, np.ones(source.shape, bool)
    folded = source % (2 * n - 2)
    return np.where(folded < n, folded, 2 * n - 2 - folded), np.ones(source.shape, bool)


def _polyphase(x: Tensor, spec: FilterSpec, factor: int, padding: Padding, *, up: bool) -> Tensor:
    """Separable polyphase filtering of large planes, one axis after the other."""
    axis_step = _upsample_axis if up else _downsample_axis
    totals = []
    for term in range(len(separable_terms(spec, factor, up=up))):
        y = x
        for axis in (1, 0) if up else (0, 1):
            y = axis_step(y, axis, term, spec, factor, padding)
        totals.append(y)
    return sum_terms(totals)


def _upsample_axis(x: Tensor, axis: int, term: int, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
    n, c, *size = x.shape
    start, phases = _phase_kernels(axis, term, spec, factor, x.dtype, x.device)
    reach = phases.shape[2 + axis]
    z = _extend_axis(x, axis, -start, reach - 1 + start, padding)
    y = F.conv2d(z.reshape(n * c, 1, *z.shape[2:]), phases)
    # the phases (dim 1) are neighbours along the axis
    y = y.movedim(1, 2 + axis)
    size[axis] *= factor
    return y.reshape(n, c, *size)


def _downsample_axis(x: Tensor, axis: int, term: int, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
    n, c, *size = x.shape
    out = -(-size[axis] // factor)
    before = downsampling_offset(spec, factor)
    z = _extend_axis(x, axis, before, (out - 1) * factor + spec.taps - before - size[axis], padding)
    line = _line_kernel(axis, term, spec, factor, x.dtype, x.device)
    size[axis] = out
    return F.conv2d(z.reshape(n * c, 1, *z.shape[2:]), line, stride=(1, factor) if axis else (factor, 1)).reshape(
        n, c, *size
    )


@torch.compiler.assume_constant_result
@lru_cache(maxsize=64)
def _phase_kernels(
    axis: int, term: int, spec: FilterSpec, factor: int, dtype: torch.dtype, device: torch.device
) -> tuple[int, Tensor]:
    """First sample outputs 0 .. factor-1 read and the phases' kernels (factor, 1, taps, 1), transposed for axis 1."""
    line = separable_terms(spec, factor, up=True)[term][axis]
    offset = upsampling_offset(spec, factor)
    first = [-((offset - i) // factor) for i in range(factor)]
    start = min(first)
    kernels = np.zeros((factor, max(first) - start + -(-spec.taps // factor)))
    for i in range(factor):
        own = line[(offset - i) % factor :: factor]
        kernels[i, first[i] - start : first[i] - start + len(own)] = own
    shape = (factor, 1, 1, -1) if axis else (factor, 1, -1, 1)
    with torch.inference_mode(False):
        return start, torch.from_numpy(kernels).to(device=device, dtype=dtype).reshape(shape)


@torch.compiler.assume_constant_result
@lru_cache(maxsize=64)
def _line_kernel(
    axis: int, term: int, spec: FilterSpec, factor: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    line = separable_terms(spec, factor, up=False)[term][axis]
    with torch.inference_mode(False):
        kernel = torch.from_numpy(line.copy()).to(device=device, dtype=dtype)
        return kernel.reshape((1, 1, 1, -1) if axis else (1, 1, -1, 1))


def _extend_axis(x: Tensor, axis: int, before: int, after: int, padding: Padding) -> Tensor:
    """x with samples added (negative: removed) before and after along rows (0) or columns (1)."""
    if padding == "zeros":
        return F.pad(x, (before, after) if axis else (0, 0, before, after))
    n = x.shape[2 + axis]
    index, _ = _outside(np.arange(-before, n + after), n, padding)
    return x.index_select(2 + axis, torch.from_numpy(index).to(x.device))
