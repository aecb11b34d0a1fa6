"""Resampling as small matrices for kernels that multiply tiles: each axis on its own, padding included.

    A `Band` is the linear map of one axis, y[i] = sum_k w[i, k] x[source[i, k]], as sparse rows.
    A `Tiling` cuts the output of a chain of bands into tiles and holds, for every tile, the dense matrices between the
    windows it reads, the pixels of the higher rate it passes through (in strips) and the pixels it writes.

Windows of a periodic axis may begin before pixel 0 or end after the last one; they count modulo its length. Blocks are
padded with zeros to powers of two of at least 16, the smallest sides that matrix units take.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from aliasfree.filters import (
    Array,
    FilterSpec,
    downsampling_kernel,
    separable_terms,
    upsampling_kernel,
)
from aliasfree.ops.padding import Padding, outside
from aliasfree.ops.plain import axis_matrices
from aliasfree.ops.taps import axis_taps

__all__ = ["Band", "Gains", "Tiling", "axis_band", "block_side", "gains", "longest", "tiling"]

SMALLEST = 1e-7
"""Terms below this share of the largest are dropped: float32 does not see them."""
TRACE = 1e-12
"""Written for a tap that is exactly zero: infinities and NaN pass through it, as they do in a convolution."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Band:
    """One axis of a resampling step: `source` and `present` (n_out, reach), `weight` (terms, n_out, reach).

    n          length of the input
    periodic   sources may lie outside 0 .. n-1 and count modulo n
    """

    source: Ints
    weight: Array
    present: NDArray[np.bool_]
    n: int
    periodic: bool

    @property
    def n_out(self) -> int:
        return len(self.source)

    def transposed(self) -> Band:
        """The adjoint map; it may add several terms for one pair of pixels."""
        out = np.broadcast_to(np.arange(self.n_out)[:, None], self.source.shape)[self.present]
        wraps, column = np.divmod(self.source[self.present], self.n)
        order = np.argsort(column, kind="stable")
        column, source = column[order], (out - wraps * self.n_out)[order]
        count = np.bincount(column, minlength=self.n)
        slot = np.arange(len(column)) - (np.cumsum(count) - count)[column]
        shape = (self.n, max(1, int(count.max(initial=0))))
        sources, present = np.zeros(shape, np.int64), np.zeros(shape, bool)
        weight = np.zeros((len(self.weight), *shape))
        sources[column, slot], present[column, slot] = source, True
        weight[:, column, slot] = self.weight[:, self.present][:, order]
        return Band(sources, weight, present, self.n_out, self.periodic)

    def spans(self) -> tuple[Ints, Ints]:
        """First and last source of every row; of a row without any, n and -1 (beyond all others)."""
        far = self.n + self.source.size
        first = np.where(self.present, self.source, far).min(1)
        last = np.where(self.present, self.source, -far).max(1)
        return first, last

    def rows(self, start: int, stop: int) -> tuple[Ints, NDArray[np.bool_], Array]:
        """(source, present, weight) of outputs start .. stop-1, which count modulo n_out on a periodic axis."""
        wraps, row = np.divmod(np.arange(start, stop), self.n_out)
        return self.source[row] + wraps[:, None] * self.n, self.present[row], self.weight[:, row]

    def window(self, start: int, stop: int) -> tuple[int, int]:
        """The inputs (first, past the last) that outputs start .. stop-1 read; a window of one if none is read."""
        source, present, _ = self.rows(start, stop)
        if not present.any():
            return 0, 1
        return int(source[present].min()), int(source[present].max()) + 1

    def block(self, start: int, stop: int, first: int, shape: tuple[int, int], whole: bool) -> Array:
        """Dense (terms, *shape) between inputs first, first + 1, ... and outputs start .. stop-1.

        whole   the inputs are the whole axis; periodic ones are wrapped into it
        """
        source, present, weight = self.rows(start, stop)
        row = np.broadcast_to(np.arange(stop - start)[:, None], source.shape)[present]
        column = source[present] % self.n if whole else source[present] - first
        dense = np.zeros((len(weight), *shape))
        for matrix, w in zip(dense, weight, strict=True):
            np.add.at(matrix, (row, column), w[present])
            touched = np.zeros(shape, bool)
            touched[row, column] = True
            matrix[touched & (matrix == 0)] = TRACE
        return dense


@dataclass(frozen=True)
class Gains:
    """A kernel whose phases differ by a gain only: k[i, j] = gain[i % factor, j % factor] column[i] row[j]."""

    gain: Array
    lines: tuple[Array, Array]


@lru_cache(maxsize=64)
def gains(spec: FilterSpec, factor: int, up: bool) -> Gains | None:
    """The paper's 3x3 kernels, of rank 2, are one product and four gains. None where that does not hold.

    At rate 2 only: there every padding keeps the parity of a pixel, so a gain can be applied where the pixel is.
    """
    if spec.kind == "ideal" or factor != 2 or spec.taps < factor or _rank(spec, factor, up) == 1:
        return None
    k = upsampling_kernel(spec, factor) if up else downsampling_kernel(spec, factor)
    i, j = np.unravel_index(np.abs(k).argmax(), k.shape)
    lines, peaks = [], []
    for line in (k[:, j], k[i, :]):
        peak = [p + factor * int(np.abs(line[p::factor]).argmax()) for p in range(factor)]
        scale = line[peak][np.arange(len(line)) % factor]
        if not scale.all():
            return None
        lines.append(line / scale)
        peaks.append(peak)
    gain = k[np.ix_(*peaks)]
    phase = np.arange(spec.taps) % factor
    if np.abs(gain[np.ix_(phase, phase)] * np.outer(*lines) - k).max() > SMALLEST * np.abs(k).max():
        return None
    return Gains(gain, (lines[0], lines[1]))


def _rank(spec: FilterSpec, factor: int, up: bool) -> int:
    return len(separable_terms(spec, factor, up=up))


@lru_cache(maxsize=256)
def axis_band(
    n: int, axis: int, spec: FilterSpec, factor: int, padding: Padding, up: bool, with_gains: bool = False
) -> Band:
    """Band of `upsample2d` (up) or `downsample2d` along rows (axis 0) or columns (1) of length n.

    Every output of the 'ideal' filter reads the whole axis.

    with_gains   leave the factors of `gains` out where they exist; they are applied to pixels of the higher rate
    """
    if spec.kind == "ideal":
        (matrix,) = axis_matrices(n, axis, spec, factor, padding, up, torch.float64, torch.device("cpu"))
        source = np.broadcast_to(np.arange(n), matrix.shape)
        return Band(source, matrix.numpy()[None], np.ones(matrix.shape, bool), n, periodic=False)
    split = gains(spec, factor, up) if with_gains else None
    if split is not None:
        taps = split.lines[axis][None]
    else:
        terms = separable_terms(spec, factor, up=up)
        size = [np.abs(a).max() * np.abs(b).max() for a, b in terms]
        taps = np.array([t[axis] for t, s in zip(terms, size, strict=True) if s > SMALLEST * size[0]])
    source, tap = axis_taps(n, spec, factor, up=up)
    present = tap < spec.taps
    if padding != "circular":
        source, inside = outside(source, n, padding)
        present = present & inside
    weight = taps[:, np.minimum(tap, spec.taps - 1)] * present
    return Band(source, weight, present, n, padding == "circular")


def block_side(n: int) -> int:
    """The smallest power of two of at least 16 that holds n."""
    return max(16, 1 << (n - 1).bit_length())


def longest(band: Band, limit: int, most: int) -> int:
    """The most outputs (up to `most`) per tile whose windows fit into `limit` inputs; 0 if not even one does."""
    most = min(most, band.n_out)
    if band.n <= limit:
        return most
    first, last = band.spans()
    for tile in range(most, 0, -1):
        cuts = np.arange(0, band.n_out, tile)
        if (np.maximum.reduceat(last, cuts) - np.minimum.reduceat(first, cuts)).max() < limit:
            return tile
    return 0


@dataclass(frozen=True, eq=False)
class Tiling:
    """One axis of an operation, cut into tiles and strips of the higher rate; sides are those of the padded blocks.

    tile, tiles    outputs a tile writes, and how many tiles there are
    strips         parts in which a tile passes through the higher rate
    last           (tiles, strips, terms, out, middle): from a strip to the tile, None for a single step
    first          per input tensor (tiles, strips, terms, middle, window): from the window to a strip
    start          per input tensor (tiles, strips): where the windows begin
    need           per input tensor: pixels read per window
    whole          per input tensor: whether the window is the whole axis
    middle_start   (tiles, strips): first pixel of the higher rate of a strip
    """

    tile: int
    tiles: int
    strips: int
    last: Array | None
    first: tuple[Array, ...]
    start: tuple[Ints, ...]
    need: tuple[int, ...]
    whole: tuple[bool, ...]
    middle_start: Ints


def tiling(last: Band | None, first: tuple[Band, ...], tile: int, strip: int) -> Tiling:
    """Tiles of `tile` outputs of last(first(x)) with strips of `strip` pixels in between; `last` None: of first(x)."""
    length = first[0].n_out if last is None else last.n_out
    tiles = [(a, min(a + tile, length)) for a in range(0, length, tile)]
    middles = tiles
    if last is not None:
        middles = [last.window(*t) for t in tiles]
        if len(tiles) == 1 or max(b - a for a, b in middles) >= last.n:
            middles = [(0, last.n)] * len(tiles)
    strips = max(-(-(b - a) // strip) for a, b in middles)
    whole = bool(last is not None and middles[0] == (0, last.n))
    # strips beyond the end of a shorter window repeat its last pixel; `last` gives them no weight
    parts = [[_strip(a, b, s, strip) for s in range(strips)] for a, b in middles]

    out, middle = block_side(tile), block_side(strip)
    blocks, starts, needs, wholes = [], [], [], []
    for band in first:
        windows = [[band.window(*p) for p in row] for row in parts]
        need = max(b - a for row in windows for a, b in row)
        everything = band.n <= block_side(need)
        need = band.n if everything else need
        side = block_side(need)
        start = np.array([[0 if everything else a for a, _ in row] for row in windows])
        blocks.append(
            np.array(
                [
                    [band.block(*p, int(a), (middle, side), everything) for p, a in zip(row, at, strict=True)]
                    for row, at in zip(parts, start, strict=True)
                ]
            )
        )
        starts.append(start)
        needs.append(need)
        wholes.append(everything)
    combined = None
    if last is not None:
        dense = [last.block(*t, m[0], (out, strips * middle), whole) for t, m in zip(tiles, middles, strict=True)]
        # columns are contiguous over the strips because strips are as long as their blocks
        combined = np.array(dense).reshape(len(tiles), -1, out, strips, middle).transpose(0, 3, 1, 2, 4)
    return Tiling(
        tile, len(tiles), strips, combined, tuple(blocks), tuple(starts), tuple(needs), tuple(wholes),
        np.array([[m[0] + s * strip for s in range(strips)] for m in middles]),
    )  # fmt: skip


def _strip(start: int, stop: int, s: int, length: int) -> tuple[int, int]:
    first = min(start + s * length, stop - 1)
    return first, min(first + length, stop)
