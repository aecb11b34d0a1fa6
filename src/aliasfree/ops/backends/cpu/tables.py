"""Resampling as tables for kernels that walk a plane row by row.

The kernel is split by the phase of its rows, k[p::factor, :] = sum_r v_r (x) h_r, because every row of the high-rate
plane meets one phase only: one term for a separable filter and for the paper's 3x3, a few for a radial one.

A `Spread` carries a low-rate plane to the high rate (upsampling, and the adjoint of downsampling):
    per high-rate row: vertical taps over low-rate rows, then horizontal taps along the row.
A `Gather` carries back (downsampling, and the adjoint of upsampling):
    per high-rate row: horizontal taps along the row, then vertical taps over the rows so made.

Vertical taps are sparse rows with padding resolved. Horizontal taps are shift-invariant: what they read outside the row
is written there first (`pads`), and what an adjoint leaves outside the row is added back (`folds`). Both kinds of table
are packed into one int64 and one float32 array, whose layout the constants below name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
from aliasfree.ops.padding import Padding, outside
from aliasfree.ops.taps import axis_taps

__all__ = ["BLOCK", "LANES", "Tables", "gather", "macs", "spaced", "spread"]

LANES = 16
"""Planes that a kernel works on side by side; offsets in the tables count floats, LANES a pixel."""
BLOCK = 4
"""Vectors of LANES that a kernel takes in step, so that one need not wait for another."""
SMALLEST = 1e-7
"""Terms below this share of the largest singular value are dropped: float32 does not see them."""

# layout of the int64 table: sizes, then where each array begins
(HIGH, LOW, PAIRS, TERMS, MOST_TERMS, MOST_TAPS) = range(6)
(PAIR_PTR, PAIR_ROW, PAIR_CLASS, PAIR_FIRST, CLASS_PTR, V_PTR, V_SRC) = range(6, 13)
(SEGMENTS, SEGMENT, H_OFF, H_TAPS) = range(13, 17)
(LEFT, RIGHT, EXTRA_LEFT, EXTRA_RIGHT) = range(17, 21)
(PADS, PAD, FOLDS, FOLD, H_WEIGHTS, WIDE, NARROW) = range(21, 28)
HEADER = 28

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tables:
    """Packed tables; `rows` and `columns` are (high, low) lengths of the axes."""

    ints: Ints
    weights: NDArray[np.float32]
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class _Terms:
    """Terms of one kernel: `classes[p]` lists (v, h) for the kernel's rows p, p + factor, ..."""

    classes: list[list[tuple[Array, Array]]]
    taps: int
    offset: int

    def phase(self, i: int, factor: int, up: bool) -> int:
        """Class of high-rate row i (not wrapped)."""
        return (self.offset - i) % factor if up else (self.offset + i) % factor


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


def macs(spec: FilterSpec, factor: int, *, up: bool) -> float:
    """Multiply-adds of one such step per low-rate pixel, in the interior of the plane."""
    terms = _terms(spec, factor, up)
    vertical = sum(len(v) for terms_of in terms.classes for v, _ in terms_of)
    horizontal = sum(spec.taps * len(terms_of) for terms_of in terms.classes)
    return float(vertical + horizontal)


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
    ints: list[Ints] = [np.zeros(HEADER, np.int64)]
    weights: list[NDArray[np.float32]] = []
    head = ints[0]

    def put(name: int, values: object) -> None:
        head[name] = sum(len(a) for a in ints)
        ints.append(np.asarray(values, np.int64).ravel())

    # vertical: triples (high row, class, low row, term weights)
    high_row, phase, low_row, tap = _vertical(low[0], high[0], spec, factor, padding, up)
    key = high_row * factor + phase
    pairs, pair = np.unique(key, return_inverse=True)
    counts = np.array([len(c) for c in terms.classes])
    pair_class = pairs % factor
    first = np.concatenate([[0], np.cumsum(counts[pair_class])])
    rows: list[Ints] = []
    columns: list[Ints] = []
    values: list[Array] = []
    for p, terms_of in enumerate(terms.classes):
        mine = phase == p
        for r, (v, _) in enumerate(terms_of):
            rows.append(first[pair[mine]] + r)
            columns.append(low_row[mine])
            values.append(v[(tap[mine] - p) // factor])
    row, column = np.concatenate([*rows, []]).astype(np.int64), np.concatenate([*columns, []]).astype(np.int64)
    value = np.concatenate([*values, []])
    if spreading:
        ptr, source, weight = _sparse(row, column, value, int(first[-1]))
    else:
        ptr, source, weight = _sparse(column, row, value, low[0])
    if not spreading:  # of a gathered row: its pair and which of its terms
        owner = np.repeat(np.arange(len(pairs)), counts[pair_class])
        most = max(1, int(counts.max()))
        source = owner[source] * most + source - first[owner[source]]
    pair_ptr = np.searchsorted(pairs // factor, np.arange(high[0] + 1))
    weights.append(weight.astype(np.float32))

    put(PAIR_PTR, pair_ptr)
    put(PAIR_ROW, pairs // factor)
    put(PAIR_CLASS, pair_class)
    put(PAIR_FIRST, first)
    put(CLASS_PTR, np.concatenate([[0], np.cumsum(counts)]))
    put(V_PTR, ptr)
    put(V_SRC, source)
    head[[HIGH, LOW, WIDE, NARROW]] = high[0], low[0], high[1], low[1]
    head[[PAIRS, TERMS, MOST_TERMS]] = len(pairs), counts.sum(), max(1, counts.max())
    head[MOST_TAPS] = max(1, int(np.diff(ptr).max(initial=0)))

    # horizontal: every term has the same geometry
    line = _horizontal(low[1], high[1], terms, factor, padding, up, spreading)
    put(SEGMENT, line.segments)
    put(H_OFF, line.offsets * LANES)
    put(PAD, line.pads)
    put(FOLD, line.folds)
    head[[SEGMENTS, PADS, FOLDS, H_TAPS]] = len(line.segments), len(line.pads), len(line.folds), len(line.taps)
    head[[LEFT, RIGHT, EXTRA_LEFT, EXTRA_RIGHT]] = *line.margins, *line.extra
    head[H_WEIGHTS] = sum(len(w) for w in weights)
    weights += [h[line.taps].astype(np.float32) for terms_of in terms.classes for _, h in terms_of]
    return Tables(np.concatenate(ints), np.concatenate(weights), rows=(high[0], low[0]), columns=(high[1], low[1]))


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
    """Horizontal step. Segments: (first output, step of outputs, outputs, first tap, taps, first input, its step)."""

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
        segments.append((first, step, count, len(columns), len(inputs), base, stride))
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


def spaced(width: int) -> int:
    """Row length in vectors, off the multiples that would put a column of rows into one set of the cache."""
    return width + 2 if width % 32 == 0 else width
