"""The kernels of the ideal filter: 16 planes side by side in vector lanes, both axes folded (`tables`).

    ACTIVATION           x --rows up--> T --per column of T: up, activation, down--> T --rows down--> y
    ACTIVATION_BACKWARD  the same with act'(.) grad, grad brought up beside x
    SPREAD, GATHER       one half alone
T has as many rows as the lower rate and as many columns as the higher; the higher rate exists one column at a time.
Columns stay folded all the way: only where the activation is, an orbit is unfolded and folded again, in registers.

Arguments that recur:
    s         scratch of this thread, float32
    fourfold  whether an axis folds into four blocks, or two
    weights   packed blocks of a matrix, one behind the other
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from aliasfree.ops.backends.cpu.compiling import (
    depends_on,
    inlined,
    jit,
    keep_apart,
    kernel,
    sources_version,
    unliteral,
)
from aliasfree.ops.backends.cpu.ideal.folding import activate, fold, fold_across, multiply, times_slope
from aliasfree.ops.backends.cpu.ideal.layout import PLAN
from aliasfree.ops.backends.cpu.simd.layout import (
    ACTIVATION_BACKWARD,
    GATHER,
    IDENTITY,
    JOB,
    LANES,
    SPREAD,
)
from aliasfree.ops.backends.cpu.simd.memory import Line, advance, floats, pointer, record_at, take_number
from aliasfree.ops.backends.cpu.simd.planes import group_of, load_pixels, store_pixels
from aliasfree.ops.backends.cpu.simd.vectors import load, store

__all__ = ["compiled"]


class Image(NamedTuple):
    """A tensor of planes. Those of a group may lie in the scratch at `whole`, row after row, to be read or written in
    one piece: narrow ones, because a row must be as wide as a tile, and small ones, because that is faster."""

    numbers: Any
    height: int
    width: int
    whole: int  # -1 where they do not


class Rows(NamedTuple):
    """Rows of an image that are an orbit of its columns: numbers a, b, a + far, b + far."""

    count: int  # type: ignore[assignment]  # 4; 2, which are a and b; or 1, which is a
    a: int
    b: int
    far: int


@jit
def _orbit(n: int, fourfold: bool, i: int) -> Rows:
    """The i-th orbit of n rows, of which there are `_orbits(n, fourfold)`."""
    half = n // 2
    if not fourfold:
        return Rows(2 if i < half else 1, i, n - 1 - i, 0)
    if i < half // 2:
        return Rows(4, i, half - 1 - i, half)
    return Rows(2, i, half + i, 0)


@jit
def _orbits(n: int, fourfold: bool) -> int:
    return (n // 2 + 1) // 2 if fourfold else (n + 1) // 2


@jit
def _places(image: Any, rows: Any, spare: Any) -> Rows:
    """Where the rows lie in the scratch: in the whole image, or in four spare ones."""
    if image.whole >= 0:
        row = image.width * LANES
        return Rows(rows.count, image.whole + rows.a * row, image.whole + rows.b * row, rows.far * row)
    return Rows(rows.count, spare.at, spare.at + spare.stride, 2 * spare.stride)


@jit
def _kth(rows: Any, k: int) -> int:
    """The k-th of the rows, or where it lies."""
    return (rows.b if k % 2 else rows.a) + (rows.far if k >= 2 else 0)


@jit
def _load_whole(image: Any, s: Any, group: Any) -> None:
    if image.whole >= 0:
        pixels = image.height * image.width
        load_pixels(image.numbers, s, image.whole, group, pixels, unliteral(0), pixels)


@jit
def _store_whole(s: Any, image: Any, group: Any) -> None:
    if image.whole >= 0:
        pixels = image.height * image.width
        store_pixels(s, image.whole, image.numbers, group, pixels, unliteral(0), pixels)


@jit
def _multiply_rows(image: Any, s: Any, group: Any, spare: Any, wide: Any, folds: Any, weights: Any) -> None:
    """An image whose rows are multiplied by a matrix; its columns are folded then. An orbit of rows at a time.

    spare  room for four rows (a PLANE)
    wide   (place of row 0, floats to the next, its vectors)
    folds  whether columns fold fourfold, and whether rows do
    """
    keep_apart()
    height, width, one = image.height, image.width, unliteral(LANES)
    tall, broad = folds
    _load_whole(image, s, group)
    for i in range(_orbits(height, tall)):
        rows = _orbit(height, tall, i)
        at = _places(image, rows, spare)
        if image.whole < 0:
            for k in range(rows.count):
                load_pixels(image.numbers, s, _kth(at, k), group, height * width, _kth(rows, k) * width, width)
        fold_across(s, at, width)
        for k in range(rows.count):
            row, to = Line(_kth(at, k), one, width), Line(wide.at + _kth(rows, k) * wide.step, one, wide.count)
            fold(s, row, broad)
            multiply(s, row, to, broad, weights)
            fold(s, to, broad)


@jit
def _store_rows(s: Any, wide: Any, image: Any, group: Any, spare: Any, folds: Any, weights: Any) -> None:
    """The way back: an image from rows, with folded columns, that are multiplied by a matrix."""
    keep_apart()
    height, width, one = image.height, image.width, unliteral(LANES)
    tall, broad = folds
    for i in range(_orbits(height, tall)):
        rows = _orbit(height, tall, i)
        at = _places(image, rows, spare)
        for k in range(rows.count):
            row, to = Line(wide.at + _kth(rows, k) * wide.step, one, wide.count), Line(_kth(at, k), one, width)
            fold(s, row, broad)
            multiply(s, row, to, broad, weights)
            fold(s, to, broad)
        fold_across(s, at, width)
        if image.whole < 0:
            for k in range(rows.count):
                store_pixels(s, _kth(at, k), image.numbers, group, height * width, _kth(rows, k) * width, width)
    _store_whole(s, image, group)


@jit
def _store_columns(s: Any, wide: Any, image: Any, group: Any, plan: Any, fourfold: bool, weights: Any) -> None:
    """Columns of `wide` times a matrix are the columns of the image, of which some wait in plan.panel."""
    keep_apart()
    panel, columns, pixels = plan.panel, plan.panel_columns, image.height * image.width
    for first in range(0, image.width, columns):
        begin = min(first, image.width - columns)  # the last panel overlaps the one before
        for j in range(begin, begin + columns):
            to = Line(panel.at + (j - begin) * LANES, panel.stride, image.height)
            multiply(s, Line(wide.at + j * LANES, wide.step, wide.count), to, fourfold, weights)
            fold(s, to, fourfold)
        for i in range(image.height):
            at = panel.at + i * panel.stride
            if image.whole < 0:
                store_pixels(s, at, image.numbers, group, pixels, i * image.width + begin, columns)
            else:
                for j in range(columns):
                    store(s, image.whole + (i * columns + j) * LANES, load(s, at + j * LANES))
    _store_whole(s, image, group)


@inlined
def _groups(x: Any, grad: Any, y: Any, s: Any, plan: Any, begin: int, end: int) -> None:
    """Groups begin .. end - 1 of planes, x (and grad) to y; T is at plan.wide. For each group:

    1. T = the rows of x at the higher rate (GATHER: at the lower one), its columns folded. Another T of grad for
       ACTIVATION_BACKWARD.
    2. SPREAD: the columns of T at the higher rate are the result.
       GATHER: those at the lower rate are.
       Else: bring each column to the higher rate, apply the activation (or multiply that of grad by the slope), and
       bring it back; then the rows, brought back, are the result.
    """
    low_h, low_w, high_h, high_w = plan.low_height, plan.low_width, plan.high_height, plan.high_width
    tall = low_h % 2 == 0
    folds = tall, low_w % 2 == 0  # whether columns fold fourfold, and whether rows do
    up, lift, down = floats(plan.up), floats(plan.lift), floats(plan.down)
    mode, code, line, other, one = plan.mode, plan.activation, plan.line, plan.other, unliteral(LANES)
    source, result = Image(x, low_h, low_w, plan.whole_in), Image(y, low_h, low_w, plan.whole_out)
    wide, along = Line(plan.wide.at, plan.wide.stride, high_w), advance(up, plan.up_columns)
    if mode == GATHER:
        source = Image(x, high_h, high_w, plan.whole_in)
        wide, along = Line(plan.wide.at, plan.wide.stride, low_w), advance(down, plan.down_columns)
    elif mode == SPREAD:
        result = Image(y, high_h, high_w, plan.whole_out)
    to_grad = plan.wide_grad.at - wide.at
    for g in range(begin, end):
        group = group_of(g, plan.planes, plan.channels)
        _multiply_rows(source, s, group, plan.spare, wide, folds, along)
        if mode == SPREAD:
            _store_columns(s, Line(wide.at, wide.step, low_h), result, group, plan, tall, up)
            continue
        if mode == GATHER:
            _store_columns(s, Line(wide.at, wide.step, high_h), result, group, plan, tall, down)
            continue
        if mode == ACTIVATION_BACKWARD:
            gradient = Image(grad, low_h, low_w, plan.whole_grad)
            lifted = Line(plan.wide_grad.at, plan.wide_grad.stride, high_w)
            _multiply_rows(gradient, s, group, plan.spare, lifted, folds, advance(lift, plan.lift_columns))
        for j in range(high_w):
            column, high = Line(wide.at + j * LANES, wide.step, low_h), Line(line, one, high_h)
            multiply(s, column, high, tall, up)
            if mode == ACTIVATION_BACKWARD:
                high = Line(other, one, high_h)
                multiply(s, Line(column.at + to_grad, column.step, low_h), high, tall, lift)
            if mode == ACTIVATION_BACKWARD and code != IDENTITY:
                times_slope(s, other, line, high_h, tall, code)
            else:  # the identity too, because the blocks count on an orbit being unfolded and folded
                activate(s, high.at, high_h, tall, code)
            multiply(s, high, column, tall, down)
        _store_rows(s, wide, result, group, plan.spare, folds, advance(down, plan.down_columns))


def compiled(storage: Any) -> Any:
    """The kernel for numbers like `storage` (float32; uint16 for bfloat16), a C function of a JOB's address.

    Any number of threads may be called with the same job; they share its work by chunks.
    """
    version = sources_version(Path(__file__))

    @kernel
    def run(address: int) -> None:
        depends_on(version)
        job = record_at(address, JOB)
        plan = record_at(job.plan, PLAN)
        thread = take_number(job, "next_thread")
        if thread >= plan.threads:
            return
        x, grad, y = pointer(job.x, storage), pointer(job.grad, storage), pointer(job.y, storage)
        s = floats(job.floats + 4 * thread * job.floats_each)
        while True:
            chunk = take_number(job, "next_chunk")
            if chunk >= plan.chunks:
                return
            begin, end = plan.groups * chunk // plan.chunks, plan.groups * (chunk + 1) // plan.chunks
            _groups(x, grad, y, s, plan, begin, end)

    return run
