"""Matrices of a periodic axis, folded by its symmetries, for kernels that multiply small dense matrices.

The brick wall is even about the middle of the axis, and it commutes with moving by half a period. So an axis is taken
apart into sums and differences of the samples that these two motions exchange (an orbit: four samples, two where the
lower rate has an odd length), and its matrix falls into as many blocks, with a quarter of the products (or half):

    sample   i, half-1-i, half+i, n-1-i      block   + + + +,  + - + -,  + + - -,  + - - +

Folding happens in place: block b of orbit i stands where the b-th sample of the orbit stood, so a block is a line that
ascends or descends. The orbit in the middle of an odd half has two samples and no part in the blocks of differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from aliasfree.filters import Array, FilterSpec
from aliasfree.ops.backends.cpu.simd.layout import BLOCK
from aliasfree.ops.plain import axis_matrices

__all__ = ["DenseTables", "blocks", "dense_gather", "dense_spread", "folding"]

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class DenseTables:
    """Packed blocks of both axes: those of the rows first, those of the columns from `columns_at`.

    high   (H, W) of the higher rate
    """

    weights: NDArray[np.float32]
    columns_at: int
    high: Size


@lru_cache(maxsize=256)
def dense_spread(low: Size, high: Size, spec: FilterSpec, factor: int, adjoint: bool) -> DenseTables:
    """From `low` to `high` size (H, W): upsampling, or with `adjoint` the transpose of downsampling."""
    return _build(low, high, spec, factor, up=not adjoint, transposed=adjoint)


@lru_cache(maxsize=256)
def dense_gather(high: Size, low: Size, spec: FilterSpec, factor: int, adjoint: bool) -> DenseTables:
    """From `high` to `low` size (H, W): downsampling, or with `adjoint` the transpose of upsampling."""
    return _build(low, high, spec, factor, up=adjoint, transposed=adjoint)


def _build(low: Size, high: Size, spec: FilterSpec, factor: int, *, up: bool, transposed: bool) -> DenseTables:
    packed = []
    for axis in (0, 1):
        n = low[axis] if up else high[axis]
        (matrix,) = axis_matrices(n, axis, spec, factor, "circular", up, torch.float64, torch.device("cpu"))
        dense = matrix.numpy()
        packed.append(_packed(dense.T if transposed else dense, low[axis] % 2 == 0))
    return DenseTables(np.concatenate(packed), len(packed[0]), high)


def _packed(matrix: Array, fourfold: bool) -> NDArray[np.float32]:
    """Blocks one after the other, in each BLOCK outputs at a time, of those the weights of an input side by side."""
    parts = []
    for block in blocks(matrix, fourfold):
        outputs, inputs = block.shape
        padded = np.zeros((-(-outputs // BLOCK) * BLOCK, inputs), np.float32)
        padded[:outputs] = block
        parts.append(padded.reshape(len(padded) // BLOCK, BLOCK, inputs).swapaxes(1, 2).ravel())
    return np.concatenate(parts)


def blocks(matrix: Array, fourfold: bool) -> list[Array]:
    """The blocks (outputs, inputs) of a matrix with the symmetries above: it is F' blocks F with `folding`'s F."""
    out, into = (folding(n, fourfold) for n in matrix.shape)
    return [
        (f @ matrix @ g.T) / np.outer((f * f).sum(1), (g * g).sum(1))
        for f, g in zip(out, into, strict=True)
    ]  # fmt: skip


def folding(n: int, fourfold: bool) -> list[Array]:
    """Rows of +1, -1 and 0 (orbits, n) that take an axis of length n apart: one matrix per block."""
    signs: list[tuple[int, ...]]
    pairs: list[tuple[int, ...]]
    alone: list[tuple[int, ...]]
    if not fourfold:
        signs, pairs = [(1,), (-1,)], [(i, n - 1 - i) for i in range(n // 2)]
        alone = [(n // 2,)] if n % 2 else []
    else:
        half = n // 2
        signs = [(1, 1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, 1)]
        pairs = [(i, half - 1 - i, half + i, n - 1 - i) for i in range(half // 2)]
        alone = [(half // 2, half // 2 + half)] if half % 2 else []
    found = []
    for sign in signs:
        rows = [_row(n, orbit, (1, *sign)) for orbit in pairs]
        if sign[0] == 1:
            rows += [_row(n, orbit, (1, sign[1]) if fourfold else (1,)) for orbit in alone]
        found.append(np.array(rows).reshape(-1, n))
    return found


def _row(n: int, orbit: tuple[int, ...], signs: tuple[int, ...]) -> Array:
    row = np.zeros(n)
    row[list(orbit)] = signs
    return row
