"""How an operation is cut up for the GPU: sides of tiles, strips and windows, and planes per program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aliasfree.filters import Array, FilterSpec, downsampling_offset, upsampling_offset
from aliasfree.ops.backends.gpu.tables import Band, axis_band, block_side, gains, longest
from aliasfree.ops.padding import Padding

__all__ = ["Chain", "Plan", "Step", "activation_chain", "bands", "plan", "resampling_chain"]

TILE = 64
"""Longest side of a tile of the output."""
POINTWISE = 200
"""Cost of an activation in multiply-adds of the matrix units (per clock about 2000 of these, 10 activations)."""
READ = (100, 400)
"""Cost of reading a pixel, in the same unit: of whole rows, and of parts of rows, whose accesses are short."""
OVERHEAD = 100_000
"""Cost of a strip besides its arithmetic, in the same unit."""
FULL = 64
"""Rows from which a product runs at the full rate of the matrix units."""


@dataclass(frozen=True)
class Step:
    """A resampling step along both axes, or its adjoint; hashable, so that what follows from it can be kept."""

    spec: FilterSpec
    factor: int
    padding: Padding
    up: bool
    size: tuple[int, int]  # of the input of the step itself, also where the adjoint is meant
    adjoint: bool = False
    with_gains: bool = False

    def band(self, axis: int) -> Band:
        n = self.size[axis]
        band = axis_band(n, axis, self.spec, self.factor, self.padding, self.up, self.with_gains)
        return band.transposed() if self.adjoint else band

    def parity_gains(self) -> Array | None:
        """The gains of `gains` by the parity (row, column) of a pixel of the higher rate."""
        split = gains(self.spec, self.factor, self.up) if self.with_gains else None
        if split is None:
            return None
        offset = (upsampling_offset if self.up else downsampling_offset)(self.spec, self.factor)
        parity = (np.arange(2) + offset) % 2  # offset - i and offset + i have one parity
        return split.gain[np.ix_(parity, parity)]


@dataclass(frozen=True)
class Chain:
    """last(f(first[0] x, ...)) with a pointwise f, or first[0] x alone where `last` is None."""

    last: Step | None
    first: tuple[Step, ...]


@lru_cache(maxsize=64)
def bands(chain: Chain, axis: int) -> tuple[Band | None, tuple[Band, ...]]:
    """(last, first) of a chain along one axis."""
    return None if chain.last is None else chain.last.band(axis), tuple(s.band(axis) for s in chain.first)


def resampling_chain(
    spec: FilterSpec, factor: int, padding: Padding, size: tuple[int, int], *, up: bool, adjoint: bool = False
) -> Chain:
    """`upsample2d` (up) or `downsample2d` of planes of `size`, or the adjoint."""
    return Chain(None, (Step(spec, factor, padding, up, size, adjoint),))


def activation_chain(
    up: FilterSpec, down: FilterSpec, factor: int, padding: Padding, size: tuple[int, int], *, backward: bool = False
) -> Chain:
    """`filtered_activation2d` of planes of `size`, or its backward: inputs x and the gradient."""
    high = (size[0] * factor, size[1] * factor)
    rise = Step(up, factor, padding, True, size, with_gains=True)
    if not backward:
        return Chain(Step(down, factor, padding, False, high, with_gains=True), (rise,))
    lift = Step(down, factor, padding, False, high, adjoint=True, with_gains=True)
    return Chain(Step(up, factor, padding, True, size, adjoint=True, with_gains=True), (rise, lift))


@dataclass(frozen=True)
class Plan:
    """Output tile (rows, columns), pixels of the higher rate per strip (rows, columns), planes per program, warps."""

    tile: tuple[int, int]
    strip: tuple[int, int]
    planes: int
    warps: int


@lru_cache(maxsize=512)
def plan(chain: Chain, most_planes: int, least_planes: int, room: int) -> Plan | None:
    """The cheapest cut whose blocks hold at most `room` numbers; None if the filters are too long for any.

    most_planes    planes there are (a power of two will do)
    least_planes   planes side by side that memory accesses want (channels_last), 1 otherwise
    """
    best: tuple[float, Plan] | None = None
    _, first = bands(chain, 1)
    for tile_h, strip_h, strips, tiles_h, window_h in _cuts(chain, 0):
        for tile_w, strip_w, _, tiles_w, window_w in _cuts(chain, 1):
            out_h, out_w = block_side(tile_h), block_side(tile_w)
            largest = max(strip_h * strip_w, window_h * window_w, strip_h * window_w, strip_h * out_w, out_h * out_w)
            planes = 1
            while planes < most_planes and 2 * planes * largest <= room:
                planes *= 2
            if largest > room:
                continue
            work = OVERHEAD / planes + window_h * window_w * (strip_h + READ[first[0].n > window_w])
            narrow = 1.5 if strip_h * planes < FULL else 1.0
            work += narrow * strip_h * window_w * strip_w
            if chain.last is not None:
                work += strip_h * strip_w * (narrow * out_w + POINTWISE) + out_h * strip_h * out_w
            # accesses that waste part of every sector cost as if planes were missing
            cost = tiles_h * tiles_w * strips * work * max(1.0, least_planes / planes)
            if best is None or cost < best[0]:
                warps = 8 if planes * largest > 2048 else 4
                best = cost, Plan((tile_h, tile_w), (strip_h, strip_w), planes, warps)
    return None if best is None else best[1]


def _cuts(chain: Chain, axis: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Candidates of one axis: (tile, strip, strips, tiles, side of the window)."""
    last, first = bands(chain, axis)
    if last is None:
        (band,) = first
        for window in (16, 32, 64, 128):
            tile = _even(longest(band, window, TILE), band.n_out)
            if tile:
                yield tile, block_side(tile), 1, -(-band.n_out // tile), window
            if band.n <= window:
                return
        return
    reach = max(band.source.shape[1] for band in first)
    rate = max(1, round(first[0].n_out / first[0].n))
    # an axis that every output reads whole must fit into one strip along the columns
    for strip in (16, 32, 64, 128, 256)[: 5 if last.source.shape[1] == last.n else 4]:
        window = block_side(min(first[0].n, strip // rate + reach))
        if axis == 1:
            tile = _even(longest(last, strip, TILE), last.n_out)
            if tile:
                yield tile, strip, 1, -(-last.n_out // tile), window
        else:
            for tile in {min(t, last.n_out) for t in (16, 32, TILE)}:
                span = min(last.n, rate * (tile - 1) + last.source.shape[1])
                yield tile, strip, -(-span // strip), -(-last.n_out // tile), window
        if last.n <= strip:
            return


def _even(tile: int, n: int) -> int:
    """A tile whose neighbours begin at multiples of 8, where that costs little: accesses are wider there."""
    return tile if tile < 24 or tile == n else tile - tile % 8
