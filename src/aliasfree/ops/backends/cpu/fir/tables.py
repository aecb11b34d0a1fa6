"""Resampling as tables for kernels that walk a plane row by row.

The kernel is split by the phase of its rows, k[p::factor, :] = sum_r v_r (x) h_r, because every row of the high-rate
plane meets one phase only: one term for a separable filter and for the paper's 3x3, a few for a radial one.

A `Spread` carries a low-rate plane to the high rate (upsampling, and the adjoint of downsampling):
    per high-rate row: vertical taps over low-rate rows, then horizontal taps along the row.
A `Gather` carries back (downsampling, and the adjoint of upsampling):
    per high-rate row: horizontal taps along the row, then vertical taps over the rows so made.

Vertical taps are sparse rows with padding resolved. Horizontal taps are shift-invariant: what they read outside the row
is written there first (`pads`), and what an adjoint leaves outside the row is added back (`folds`). `layout.TABLE` says
what a kernel reads of a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aliasfree.filters import (
    Array,
    FilterSpec,
    downsampling_kernel,
    downsampling_offset,
    upsampling_kernel,
    upsampling_offset,
)
from aliasfree.ops.backends.cpu.fir.layout import FOLD, PAD, SEGMENT, TABLE
from aliasfree.ops.backends.cpu.simd.layout import LANES
from aliasfree.ops.padding import Padding, outside
from aliasfree.ops.taps import axis_taps

__all__ = ["Tables", "gather", "spread"]

SMALLEST = 1e-7
"""Terms below this share of the largest singular value are dropped: float32 does not see them."""

UNROLLED = ((2, 1), (3, 2), (6, 1), (12, 2))
"""Taps along a row that kernels unroll: (taps, inputs from one output to the next), for filters of 3 and of 12 taps. A
filtered activation gains 3 to 7 % by it."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tables:
    """One step: `fields` by the names of `layout.TABLE`, and the record of it that kernels read."""

    record: NDArray[np.void]
    fields: dict[str, Any]
    """Numbers, and the arrays whose addresses the record has."""

    @classmethod
    def of(cls, **fields: Any) -> Tables:
        """Of numbers and arrays, which are brought to the types that kernels read."""
        record = np.zeros((), TABLE)
        kept: dict[str, Any] = {}
        for name in TABLE.fields or ():
            value = fields[name]
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value, {"i": np.int64, "f": np.float32}.get(value.dtype.kind))
            record[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
            kept[name] = value
        return cls(record, kept)

    @classmethod
    def empty(cls) -> Tables:
        """No step at all."""
        return cls.of(**dict.fromkeys(TABLE.fields or (), 0) | {"segment": np.zeros(0, SEGMENT)})


@dataclass(frozen=True)
class _Terms:
    """Terms of one kernel: `classes[p]` lists (v, h) for the kernel's rows p, p + factor, ..."""

    classes: list[list[tuple[Array, Array]]]
    taps: int
    offset: int


@lru_cache(maxsize=64)
def _terms(spec: FilterSpec, factor: int, up: bool) -> _Terms:
    k = upsampling_kernel(spec, factor) if up else downsampling_kernel(spec, factor)
    classes = []
    scale = np.abs(k).max()
    for p in range(factor):
        part = k[p::factor]
        u, s, vt = np.linalg.svd(part, full_matrices=False)
        keep = s > SMALLEST * scale
        classes.append([(u[:, r] * np.sqrt(s[r]), vt[r] * np.sqrt(s[r])) for r in np.flatnonzero(keep)])
    offset = upsampling_offset(spec, factor) if up else downsampling_offset(spec, factor)
    return _Terms(classes, spec.taps, offset)


@lru_cache(maxsize=256)
def spread(
    low: tuple[int, int], high: tuple[int, int], spec: FilterSpec, factor: int, padding: Padding, adjoint: bool
) -> Tables:
    """Tables from `low` to `high` size (H, W): upsampling, or with `adjoint` the transpose of downsampling."""
    return _build(low, high, spec, factor, padding, up=not adjoint, spreading=True)


@lru_cache(maxsize=256)
def gather(
    high: tuple[int, int], low: tuple[int, int], spec: FilterSpec, factor: int, padding: Padding, adjoint: bool
) -> Tables:
    """Tables from `high` to `low` size (H, W): downsampling, or with `adjoint` the transpose of upsampling."""
    return _build(low, high, spec, factor, padding, up=adjoint, spreading=False)


def _build(
    low: tuple[int, int],
    high: tuple[int, int],
    spec: FilterSpec,
    factor: int,
    padding: Padding,
    *,
    up: bool,
    spreading: bool,
) -> Tables:
    terms = _terms(spec, factor, up)
    # rows: triples (high row, phase, low row, term weights)
    high_row, phase, low_row, tap = _vertical(low[0], high[0], spec, factor, padding, up)
    key = high_row * factor + phase
    pairs, pair = np.unique(key, return_inverse=True)
    counts = np.array([len(c) for c in terms.classes])
    pair_phase = pairs % factor
    pair_lines = np.concatenate([[0], np.cumsum(counts[pair_phase])])
    rows: list[Ints] = []
    columns: list[Ints] = []
    values: list[Array] = []
    for p, terms_of in enumerate(terms.classes):
        mine = phase == p
        for r, (v, _) in enumerate(terms_of):
            rows.append(pair_lines[pair[mine]] + r)
            columns.append(low_row[mine])
            values.append(v[(tap[mine] - p) // factor])
    row, column = np.concatenate([*rows, []]).astype(np.int64), np.concatenate([*columns, []]).astype(np.int64)
    value = np.concatenate([*values, []])
    if spreading:
        ptr, source, weight = _sparse(row, column, value, int(pair_lines[-1]))
    else:
        ptr, source, weight = _sparse(column, row, value, low[0])
    if not spreading:  # as many lines for every pair
        owner = np.repeat(np.arange(len(pairs)), counts[pair_phase])
        most = max(1, int(counts.max()))
        source = owner[source] * most + source - pair_lines[owner[source]]
    along = _horizontal(low[1], high[1], terms, factor, padding, up, spreading)
    return Tables.of(
        pairs=len(pairs),
        most_terms=max(1, int(counts.max())),
        most_taps=max(1, int(np.diff(ptr).max(initial=0))),
        row_pairs=np.searchsorted(pairs // factor, np.arange(high[0] + 1)),
        pair_row=pairs // factor,
        pair_phase=pair_phase,
        pair_lines=pair_lines,
        phase_terms=np.concatenate([[0], np.cumsum(counts)]),
        output_taps=ptr,
        tap_source=source,
        tap_weight=weight,
        segments=len(along.segments),
        segment=np.array(along.segments, SEGMENT),
        along_taps=len(along.taps),
        along_offset=along.offsets * LANES,
        along_weight=np.array([h[along.taps] for terms_of in terms.classes for _, h in terms_of]),
        pads=len(along.pads),
        pad=np.array(along.pads, PAD),
        folds=len(along.folds),
        fold=np.array(along.folds, FOLD),
        left=along.margins[0],
        right=along.margins[1],
        extra_left=along.extra[0],
        extra_right=along.extra[1],
        high_width=high[1],
        low_width=low[1],
    )


def _vertical(
    low: int, high: int, spec: FilterSpec, factor: int, padding: Padding, up: bool
) -> tuple[Ints, Ints, Ints, Ints]:
    """Every (high row, its class, low row, tap) that the step connects, padding resolved."""
    source, tap = axis_taps(low if up else high, spec, factor, up=up)
    index, inside = outside(source, low if up else high, padding)
    out = np.broadcast_to(np.arange(len(source))[:, None], source.shape)
    highs, lows = (out, index) if up else (index, out)
    good = inside & (tap < spec.taps)
    return highs[good], tap[good] % factor, lows[good], tap[good]


def _sparse(row: Ints, column: Ints, value: Array, rows: int) -> tuple[Ints, Ints, Array]:
    """(pointer, column, value) of a sparse matrix; entries at the same place are added."""
    from scipy.sparse import coo_array

    width = int(column.max()) + 1 if len(column) else 1
    matrix = coo_array((value, (row, column)), shape=(rows, width)).tocsr()
    matrix.sort_indices()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data


@dataclass(frozen=True)
class _Line:
    """Horizontal step; segments are those of `layout.SEGMENT`."""

    segments: list[tuple[int, ...]]
    offsets: Ints  # of the inputs of each tap
    taps: Ints  # column of the kernel that weighs it
    margins: tuple[int, int]  # inputs read left and right of the row
    pads: list[tuple[int, int]]  # (outside input, the input it repeats, or -1 for zero)
    extra: tuple[int, int]  # outputs computed left and right of the row, to be folded
    folds: list[tuple[int, int]]  # (outside output, where it is added)


def _horizontal(low: int, high: int, terms: _Terms, factor: int, padding: Padding, up: bool, spreading: bool) -> _Line:
    taps, offset = terms.taps, terms.offset
    forward = up == spreading
    out, source = (high, low) if spreading else (low, high)
    # how far the forward step reads beyond its input: what an adjoint has to compute beyond its output
    if up:
        reach = (max(0, offset // factor), max(0, (high - 1 - offset + taps - 1) // factor - (low - 1)))
    else:
        reach = (max(0, offset), max(0, factor * (low - 1) - offset + taps - 1 - (high - 1)))
    extra = (0, 0) if forward or padding == "zeros" else reach
    segments: list[tuple[int, ...]] = []
    offsets: list[int] = []
    columns: list[int] = []
    step = factor if spreading else 1
    start = -extra[0]
    least, most = 0, source - 1
    for phase in range(step):
        first = start + phase
        count = len(range(first, out + extra[1], step))
        if count <= 0:
            continue
        # input i and kernel column k of output o
        if up and spreading:  # k = factor i - o + offset
            inputs = np.arange(-(-(first - offset) // factor), (first - offset + taps - 1) // factor + 1)
            kernel = factor * inputs - first + offset
        elif up:  # adjoint: o is a low index, k = factor o - i + offset
            inputs = np.arange(factor * first + offset - taps + 1, factor * first + offset + 1)
            kernel = factor * first - inputs + offset
        elif not spreading:  # k = i - factor o + offset
            inputs = np.arange(factor * first - offset, factor * first - offset + taps)
            kernel = inputs - factor * first + offset
        else:  # adjoint: o is a high index, k = o - factor i + offset
            inputs = np.arange(-(-(first + offset - taps + 1) // factor), (first + offset) // factor + 1)
            kernel = first - factor * inputs + offset
        stride = 1 if spreading else factor
        base = int(inputs[0]) if len(inputs) else 0
        shape = len(inputs), stride
        unrolled = UNROLLED.index(shape) if shape in UNROLLED else -1
        segments.append((first, step, count, len(columns), len(inputs), base, stride, unrolled))
        offsets += list(inputs - base)
        columns += list(kernel)
        if len(inputs):
            least = min(least, base)
            most = max(most, int(inputs[-1]) + stride * (count - 1))
    margins = (-least, most - (source - 1))
    beyond = np.concatenate([np.arange(least, 0), np.arange(source, most + 1)])
    index, inside = outside(beyond, source, padding if forward else "zeros")
    pads = [(int(b), int(i) if ok else -1) for b, i, ok in zip(beyond, index, inside, strict=True)]
    over = np.concatenate([np.arange(-extra[0], 0), np.arange(out, out + extra[1])])
    index, _ = outside(over, out, padding)
    folds = [(int(b), int(i)) for b, i in zip(over, index, strict=True)]
    return _Line(segments, np.array(offsets, np.int64), np.array(columns, np.int64), margins, pads, extra, folds)
