"""The ops in plain PyTorch: any dtype and device, differentiable any number of times.

The kernel is a short sum of outer products, so a step is a product with a small matrix from each side, padding
included in the matrix. Planes larger than `MATRIX_LIMIT` use polyphase convolutions instead, or Fourier transforms for
the 'ideal' filter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ShapeError
from aliasfree.filters import (
    Array,
    FilterSpec,
    downsampling_offset,
    pass_band,
    separable_terms,
    upsampling_offset,
)
from aliasfree.ops import fourier
from aliasfree.ops.chunks import in_chunks, treats_channels_alike
from aliasfree.ops.memory_format import is_channels_last
from aliasfree.ops.padding import Padding, extend_axis, outside
from aliasfree.ops.taps import axis_taps
from aliasfree.ops.tracing import cache_constants

__all__ = ["adjoint", "axis_matrices", "filtered_activation", "resample"]

MATRIX_LIMIT = 128
"""Longest side (of the lower rate) filtered by dense matrices: below it a matrix product beats a convolution, and for
'ideal' filters a Fourier transform (up and down by 2 on one CPU thread it is level at 128, twice as fast at 256)."""


def filtered_activation(
    x: Tensor, function: Callable[[Tensor], Tensor], up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
) -> Tensor:
    """Upsample, apply a pointwise function, downsample.

    'ideal' filters need spectra, or products, of whole planes: large tensors are worked on in chunks.
    """

    def run(planes: Tensor) -> Tensor:
        return resample(function(resample(planes, up, factor, padding, up=True)), down, factor, padding, up=False)

    if "ideal" not in (up.kind, down.kind):
        return run(x)
    return in_chunks(run, x, factor**2, by_channel=treats_channels_alike(function), recompute=True)


def resample(x: Tensor, spec: FilterSpec, factor: int, padding: Padding, *, up: bool) -> Tensor:
    """Up- or downsample (N, C, H, W) in x's dtype, under autocast too."""
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return _resample(x, spec, factor, padding, up=up)
    return _resample(x, spec, factor, padding, up=up)


def _resample(x: Tensor, spec: FilterSpec, factor: int, padding: Padding, *, up: bool) -> Tensor:
    h, w = x.shape[-2:]
    large = max(h, w) > (MATRIX_LIMIT if up else MATRIX_LIMIT * factor)
    if large and spec.kind != "ideal":
        y = _polyphase(x, spec, factor, padding, up=up)
    elif large and _within_the_lower_rate(h, w, spec, factor, up=up):
        y = in_chunks(lambda planes: _by_spectrum(planes, spec, factor, up=up), x, factor**2 if up else 1)
    else:
        where = (spec, factor, padding, up, x.dtype, x.device)
        terms = zip(axis_matrices(h, 0, *where), axis_matrices(w, 1, *where), strict=True)
        # the smaller intermediate first: rows last when upsampling, first when downsampling
        y = sum_terms([(r @ (x @ c.mT)) if up else ((r @ x) @ c.mT) for r, c in terms])
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y


def _within_the_lower_rate(h: int, w: int, spec: FilterSpec, factor: int, *, up: bool) -> bool:
    """Whether sizes divide and the pass band ends at the lower rate's Nyquist frequency: no wave is read twice."""
    return (up or not (h % factor or w % factor)) and spec.cutoff * factor < 1 + 1e-9


def sum_terms(terms: list[Tensor]) -> Tensor:
    """Sum of a non-empty list."""
    total = terms[0]
    for t in terms[1:]:
        total = total + t
    return total


@cache_constants(maxsize=1024)
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
        return tuple(torch.as_tensor(m, dtype=dtype, device=device) for m in matrices)


def _fir_matrices(n: int, axis: int, spec: FilterSpec, factor: int, padding: Padding, up: bool) -> list[Array]:
    source, tap = axis_taps(n, spec, factor, up=up)
    index, inside = outside(source, n, padding)
    present = inside & (tap < spec.taps)
    out = np.broadcast_to(np.arange(len(source))[:, None], source.shape)
    matrices = []
    for term in separable_terms(spec, factor, up=up):
        matrix = np.zeros((len(source), n))
        np.add.at(matrix, (out[present], index[present]), term[axis][tap[present]])
        matrices.append(matrix)
    return matrices


def _ideal_matrix(n: int, spec: FilterSpec, factor: int, up: bool) -> list[Array]:
    high = n * factor if up else n
    if high % factor:
        raise ShapeError(
            f"the periodic 'ideal' filter needs a size divisible by {factor}, not {n}; crop or pad the image"
        )
    k = np.arange(-(high // 2), high // 2 + 1, dtype=np.float64)
    keep = pass_band(k, high, spec.cutoff)
    if high % 2 == 0:
        keep[[0, -1]] *= 0.5  # one Nyquist bin, counted at both ends
    # the matrix depends on the distance alone, which counts modulo the period
    lag = np.arange(high)
    wave = np.cos(2 * np.pi * (k[:, None] * (lag - (factor - 1) / 2)[None, :] % high) / high)
    impulse = keep @ wave / high
    matrix = impulse[(lag[:, None] - factor * np.arange(high // factor)[None, :]) % high]
    return [matrix * factor if up else matrix.T.copy()]


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
    z = extend_axis(x, axis, -start, reach - 1 + start, padding)
    y = F.conv2d(z.reshape(n * c, 1, *z.shape[2:]), phases)
    # the phases (dim 1) are neighbours along the axis
    y = y.movedim(1, 2 + axis)
    size[axis] *= factor
    return y.reshape(n, c, *size)


def _downsample_axis(x: Tensor, axis: int, term: int, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
    n, c, *size = x.shape
    out = -(-size[axis] // factor)
    before = downsampling_offset(spec, factor)
    z = extend_axis(x, axis, before, (out - 1) * factor + spec.taps - before - size[axis], padding)
    line = _line_kernel(axis, term, spec, factor, x.dtype, x.device)
    size[axis] = out
    return F.conv2d(z.reshape(n * c, 1, *z.shape[2:]), line, stride=(1, factor) if axis else (factor, 1)).reshape(
        n, c, *size
    )


@cache_constants(maxsize=64)
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


@cache_constants(maxsize=64)
def _line_kernel(
    axis: int, term: int, spec: FilterSpec, factor: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    line = separable_terms(spec, factor, up=False)[term][axis]
    with torch.inference_mode(False):
        kernel = torch.from_numpy(line.copy()).to(device=device, dtype=dtype)
        return kernel.reshape((1, 1, 1, -1) if axis else (1, 1, -1, 1))


def _by_spectrum(x: Tensor, spec: FilterSpec, factor: int, *, up: bool) -> Tensor:
    """The 'ideal' filter by Fourier transforms, one axis after the other; float16 and bfloat16 in float32."""
    y = x if x.dtype in (torch.float32, torch.float64) else x.float()
    for axis in (3, 2) if up else (2, 3):
        n = y.shape[axis]
        low, out = (n, n * factor) if up else (n // factor, n // factor)
        gain = _spectral_gain(low, axis, spec, factor, up, y.dtype, y.device)
        spectrum = fourier.rfft(y, axis).narrow(axis, 0, low // 2 + 1) * gain
        if not up and low % 2 == 0:  # at the lower rate's Nyquist frequency a wave and its mirror image are one
            inner, last = spectrum.narrow(axis, 0, low // 2), spectrum.narrow(axis, low // 2, 1)
            spectrum = torch.cat([inner, last + last.conj()], axis)
        y = fourier.irfft(spectrum, out, axis)
    return y.to(x.dtype)


@cache_constants(maxsize=256)
def _spectral_gain(
    low: int, axis: int, spec: FilterSpec, factor: int, up: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Gain of the waves 0 .. low/2 along an axis: the pass band, and the shift between the two rates' grids."""
    high, k = low * factor, np.arange(low // 2 + 1, dtype=np.float64)
    shift = np.exp((-1j if up else 1j) * np.pi * k * (factor - 1) / high)
    gain = pass_band(k, high, spec.cutoff) * shift * (factor if up else 1 / factor)
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    with torch.inference_mode(False):
        return torch.from_numpy(gain).to(device, kind).view(shape)


def adjoint(
    grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: tuple[int, int], *, up: bool
) -> Tensor:
    """The transpose of `resample` from `size`: what a gradient of its output is for its input."""
    h, w = size
    large = max(h, w) > (MATRIX_LIMIT if up else MATRIX_LIMIT * factor)
    if large and spec.kind == "ideal" and _within_the_lower_rate(h, w, spec, factor, up=up):
        return _by_spectrum(grad, spec, factor, up=not up) * (factor**2 if up else factor**-2)
    where = (spec, factor, padding, up, grad.dtype, grad.device)
    terms = zip(axis_matrices(size[0], 0, *where), axis_matrices(size[1], 1, *where), strict=True)
    return sum_terms([(r.mT @ grad) @ c for r, c in terms])
