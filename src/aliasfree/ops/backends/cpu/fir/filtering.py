"""A FIR filter along a row or a column of 16 planes, and what goes on at the ends of a row.

A place `at` in s, the scratch of this thread, is a pixel: LANES floats, one of each plane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aliasfree.ops.backends.cpu.compiling import inlined, jit, keep_apart, unliteral
from aliasfree.ops.backends.cpu.fir.layout import FOLD, PAD, SEGMENT
from aliasfree.ops.backends.cpu.fir.tables import UNROLLED
from aliasfree.ops.backends.cpu.simd.functions import activation, slope
from aliasfree.ops.backends.cpu.simd.layout import BLOCK, IDENTITY, LANES, SLOPE, TIMES
from aliasfree.ops.backends.cpu.simd.memory import Line, advance, entry, floats, ints
from aliasfree.ops.backends.cpu.simd.vectors import (
    accumulate,
    add,
    consecutive,
    get,
    load,
    product,
    put,
    splat,
    store,
    zeros,
)

_ZERO = np.float32(0)


class Taps(NamedTuple):
    """A filter: output j is the sum over k < count of weights[k] s[start + stride j + offsets[k]]."""

    start: int
    stride: int
    offsets: Any
    weights: Any
    count: int  # type: ignore[assignment]
    unrolled: int
    """Which entry of `tables.UNROLLED` these taps are, whose offsets are not read, or -1."""


class Epilogue(NamedTuple):
    """What is done with a filter's sums: an activation, its slope, or a product with what lies from `by` on."""

    code: int
    by: int


@inlined
def no_epilogue() -> Epilogue:
    return Epilogue(unliteral(IDENTITY), unliteral(0))


def _unrolled_by_number(shapes: Any, number: int = 0) -> Any:
    """A compiled function: `accumulate` for all taps of UNROLLED[chosen] at once; for another number, nothing."""
    if not shapes:
        return jit(_nothing_added)
    add_taps, otherwise = consecutive(*shapes[0]), _unrolled_by_number(shapes[1:], number + 1)

    @inlined
    def added(sums: Any, weights: Any, s: Any, at: int, chosen: int) -> Any:
        if chosen == number:
            return add_taps(sums, weights, s, at)
        return otherwise(sums, weights, s, at, chosen)

    return added


def _nothing_added(sums: Any, weights: Any, s: Any, at: int, chosen: int) -> Any:
    return sums


_add_unrolled = _unrolled_by_number(UNROLLED)


@jit
def fir(s: Any, to: Any, taps: Any, onto: bool, epilogue: Any) -> None:
    """A filter, for the outputs of the line `to`.

    1. Begin with zeros; if `onto`, with what is there.
    2. Add the taps.
    3. Apply the epilogue.

    By blocks of BLOCK outputs: up to BLOCK - 1 more are written, so what lies behind the last is overwritten.
    """
    keep_apart()
    for j in range(0, to.count, BLOCK):
        at, start = to.at + j * to.step, taps.start + j * taps.stride
        sums = zeros()
        if onto:
            sums = get(s, at, to.step)
        if taps.unrolled >= 0:
            sums = _add_unrolled(sums, taps.weights, s, start, taps.unrolled)
        else:
            for k in range(taps.count):
                sums = accumulate(sums, taps.weights[k], s, start + taps.offsets[k], taps.stride)
        if epilogue.code == TIMES:
            sums = product(sums, get(s, epilogue.by + j * to.step, to.step))
        elif epilogue.code >= SLOPE:
            sums = slope(sums, epilogue.code - SLOPE)
        else:
            sums = activation(sums, epilogue.code)
        put(s, at, to.step, sums)


@jit
def fir_columns(work: Any, to: Any, start: int, offsets: Any, weights: Any, count: int) -> None:
    """Vertical taps: pixel j of `to` = sum_k weights[k] s[start + offsets[k] + pixel j], k < count."""
    taps = Taps(start, unliteral(LANES), offsets, weights, count, unliteral(-1))
    fir(work.s, to, taps, unliteral(False), no_epilogue())


@jit
def fir_row(s: Any, to: int, start: int, table: Any, term: int, onto: bool, epilogue: Any) -> None:
    """Horizontal taps of one term; `to`, `start` and `epilogue.by` are where pixel 0 of a row lies."""
    weights = advance(floats(table.along_weight), term * table.along_taps)
    offsets = ints(table.along_offset)
    for i in range(table.segments):
        part = entry(table.segment, i, SEGMENT)
        begin = part.first * LANES
        taps = Taps(
            start + part.input * LANES, part.input_step * LANES, advance(offsets, part.tap), advance(weights, part.tap),
            part.taps, part.unrolled,
        )  # fmt: skip
        line = Line(to + begin, part.step * LANES, part.count)
        fir(s, line, taps, onto, Epilogue(epilogue.code, epilogue.by + begin))


@jit
def pad_row(s: Any, row: int, table: Any) -> None:
    """Write what the horizontal taps read outside the row that begins at `row`."""
    for i in range(table.pads):
        pad = entry(table.pad, i, PAD)
        v = splat(_ZERO)
        if pad.source >= 0:
            v = load(s, row + pad.source * LANES)
        store(s, row + pad.outside * LANES, v)


@jit
def fold_row(s: Any, row: int, table: Any) -> None:
    """Add what an adjoint left outside the row that begins at `row` to where it belongs."""
    for i in range(table.folds):
        fold = entry(table.fold, i, FOLD)
        to = row + fold.inside * LANES
        store(s, to, add(load(s, to), load(s, row + fold.outside * LANES)))


@jit
def clear(s: Any, at: int, n: int) -> None:
    """n pixels of zeros."""
    for i in range(at, at + n * LANES, LANES):
        store(s, i, splat(_ZERO))


@jit
def copy(s: Any, to: int, start: int, n: int) -> None:
    """n pixels from `start` to `to`."""
    for i in range(0, n * LANES, LANES):
        store(s, to + i, load(s, start + i))
