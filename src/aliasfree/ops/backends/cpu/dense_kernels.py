"""The CPU kernels for dense matrices: 16 planes side by side in vector lanes, both axes folded (`dense_tables`).

    ACTIVATION           x --columns--> T --per column of T: rows, activation, rows back--> T --columns back--> y
    ACTIVATION_BACKWARD  the same with act'(.) dy, dy raised beside x
    SPREAD, GATHER       one half alone
T has as many rows as the lower rate and as many columns as the higher; the higher rate exists one column at a time.
Rows stay folded all the way: only where the activation is, an orbit is unfolded, bent and folded again, in registers.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types

from aliasfree.ops.backends.cpu.tables import BLOCK, LANES
from aliasfree.ops.backends.cpu.vectors import (
    Expression,
    accumulate_outer,
    keep_apart,
    load,
    mul,
    next_number,
    pointer,
    pointwise,
    product,
    store,
    unliteral,
    zeros,
)
from aliasfree.ops.backends.cpu.walk import (
    ACTIVATION,
    ACTIVATION_BACKWARD,
    ACTIVATION_CODES,
    GATHER,
    GELU,
    IDENTITY,
    RELU,
    SILU,
    SPREAD,
    _load_all,
    _store_pixels,
    gelu,
    gelu_slope,
    jit,
    relu,
    relu_slope,
    silu,
    silu_slope,
)

__all__ = ["ACTIVATION", "ACTIVATION_BACKWARD", "ACTIVATION_CODES", "GATHER", "SPREAD", "compiled"]

# where things lie in the table of integers `where`; sizes and strides of a plane are those of `_Plane`
(PLANES, CHANNELS, LOW_H, LOW_W, HIGH_H, HIGH_W) = range(6)
(LOW_AT, LOW_STRIDE, GRAD_AT, HIGH_AT, HIGH_STRIDE, MIXED_AT, MIXED_STRIDE, LIFTED_AT) = range(6, 14)
(LINE_AT, OTHER_AT, UP_COLUMNS, LIFT_COLUMNS, DOWN_COLUMNS, FLOATS) = range(14, 20)
WHERE = 20

_ZERO, _INT = np.float32(0), np.int64(0)


def _sums_and_differences(u: Expression) -> Expression:
    """An orbit folded, or unfolded: the matrix of signs is its own transpose."""
    b, v = u.b, u.values
    if len(v) == 2:
        return Expression(b, [b.fadd(*v), b.fsub(*v)])
    s, t, d, e = b.fadd(v[0], v[2]), b.fadd(v[1], v[3]), b.fsub(v[0], v[2]), b.fsub(v[1], v[3])
    return Expression(b, [b.fadd(s, t), b.fsub(s, t), b.fadd(d, e), b.fsub(d, e)])


butterfly = pointwise(_sums_and_differences)


@jit
def _fold(s: Any, at: int, step: int, n: int, fourfold: bool) -> None:
    """Fold, or unfold, the line of n vectors at s[at + i step]."""
    keep_apart()
    half = n // 2
    if not fourfold:
        for i in range(half):
            _two(s, at + i * step, at + (n - 1 - i) * step)
        return
    far = half * step
    for i in range(half // 2):
        a, b = at + i * step, at + (half - 1 - i) * step
        v = butterfly((load(s, a), load(s, b), load(s, a + far), load(s, b + far)))
        store(s, a, v[0])
        store(s, b, v[1])
        store(s, a + far, v[2])
        store(s, b + far, v[3])
    if half % 2:
        a = at + half // 2 * step
        _two(s, a, a + far)


@jit
def _two(s: Any, a: int, b: int) -> None:
    v = butterfly((load(s, a), load(s, b)))
    store(s, a, v[0])
    store(s, b, v[1])


@jit
def _multiply(
    s: Any, start: int, step: int, n: int, to: int, to_step: int, n_out: int, fourfold: bool, weights: Any, w: int
) -> None:
    """The folded line of n_out vectors at s[to + i to_step] = matrix times that of n at s[start + i step]."""
    keep_apart()
    if not fourfold:
        w = _block(s, start, step, (n + 1) // 2, to, to_step, (n_out + 1) // 2, weights, w)
        _block(s, start + (n - 1) * step, -step, n // 2, to + (n_out - 1) * to_step, -to_step, n_out // 2, weights, w)
        return
    half, half_out = n // 2, n_out // 2
    for _ in range(2):
        w = _block(s, start, step, (half + 1) // 2, to, to_step, (half_out + 1) // 2, weights, w)
        w = _block(
            s, start + (half - 1) * step, -step, half // 2, to + (half_out - 1) * to_step, -to_step, half_out // 2,
            weights, w,
        )  # fmt: skip
        start += half * step
        to += half_out * to_step


@jit
def _block(s: Any, start: int, step: int, n: int, to: int, to_step: int, n_out: int, weights: Any, w: int) -> int:
    """One block of a matrix; where the next one's weights begin."""
    for i in range(0, n_out, BLOCK):
        sums = zeros()
        at = start
        for _ in range(n):
            sums = accumulate_outer(sums, weights, w, s, at)
            at += step
            w += BLOCK
        here = to + i * to_step
        store(s, here, sums[0])
        if i + 1 < n_out:
            store(s, here + to_step, sums[1])
        if i + 2 < n_out:
            store(s, here + 2 * to_step, sums[2])
        if i + 3 < n_out:
            store(s, here + 3 * to_step, sums[3])
    return w


@jit
def _bent(v: Any, code: int) -> Any:
    if code == GELU:
        return gelu(v)
    if code == SILU:
        return silu(v)
    if code == RELU:
        return relu(v)
    return v


@jit
def _slopes(v: Any, code: int) -> Any:
    if code == GELU:
        return gelu_slope(v)
    if code == SILU:
        return silu_slope(v)
    return relu_slope(v)


@jit
def _bend(s: Any, at: int, n: int, fourfold: bool, code: int) -> None:
    """The activation of a folded line, folded; its vectors lie side by side."""
    keep_apart()
    half = n // 2
    if not fourfold:
        for i in range(half):
            _bend_two(s, at + i * LANES, at + (n - 1 - i) * LANES, code)
        if n % 2:
            a = at + half * LANES
            store(s, a, _bent(load(s, a), code))
        return
    far = half * LANES
    for i in range(half // 2):
        a, b = at + i * LANES, at + (half - 1 - i) * LANES
        v = butterfly((load(s, a), load(s, b), load(s, a + far), load(s, b + far)))
        v = butterfly(_bent(v, code))
        store(s, a, v[0])
        store(s, b, v[1])
        store(s, a + far, v[2])
        store(s, b + far, v[3])
    if half % 2:
        a = at + half // 2 * LANES
        _bend_two(s, a, a + far, code)


@jit
def _bend_two(s: Any, a: int, b: int, code: int) -> None:
    v = butterfly(_bent(butterfly((load(s, a), load(s, b))), code))
    store(s, a, v[0])
    store(s, b, v[1])


@jit
def _bend_back(s: Any, at: int, grad: int, n: int, fourfold: bool, code: int) -> None:
    """The folded line at `grad` times the slopes of the activation of the one at `at`, folded, at `grad`."""
    keep_apart()
    half = n // 2
    if not fourfold:
        for i in range(half):
            a, b = i * LANES, (n - 1 - i) * LANES
            _bend_two_back(s, at + a, at + b, grad + a, grad + b, code)
        if n % 2:
            a = half * LANES
            store(s, grad + a, mul(load(s, grad + a), _slopes(load(s, at + a), code)))
        return
    far, there = half * LANES, grad - at
    for i in range(half // 2):
        a, b = at + i * LANES, at + (half - 1 - i) * LANES
        v = _slopes(butterfly((load(s, a), load(s, b), load(s, a + far), load(s, b + far))), code)
        a, b = a + there, b + there
        v = butterfly(product(v, butterfly((load(s, a), load(s, b), load(s, a + far), load(s, b + far)))))
        store(s, a, v[0])
        store(s, b, v[1])
        store(s, a + far, v[2])
        store(s, b + far, v[3])
    if half % 2:
        a = at + half // 2 * LANES
        _bend_two_back(s, a, a + far, a + there, a + far + there, code)


@jit
def _bend_two_back(s: Any, a: int, b: int, grad_a: int, grad_b: int, code: int) -> None:
    v = _slopes(butterfly((load(s, a), load(s, b))), code)
    u = butterfly((load(s, grad_a), load(s, grad_b)))
    w = butterfly((mul(u[0], v[0]), mul(u[1], v[1])))
    store(s, grad_a, w[0])
    store(s, grad_b, w[1])


@jit
def _fold_plane(s: Any, at: int, stride: int, height: int, width: int, rows: bool, columns: bool) -> None:
    """Fold, or unfold, both axes of a plane; rows, columns: whether four- or twofold."""
    for j in range(width):
        _fold(s, at + j * LANES, stride, height, rows)
    for i in range(height):
        _fold(s, at + i * stride, unliteral(LANES), width, columns)


@jit
def _rows(
    s: Any, plane: int, stride: int, height: int, width: int, to: int, to_stride: int, width_out: int, fourfold: bool,
    weights: Any, w: int,
) -> None:  # fmt: skip
    """Multiply along each row of a plane."""
    for i in range(height):
        _multiply(
            s, plane + i * stride, unliteral(LANES), width, to + i * to_stride, unliteral(LANES), width_out, fourfold,
            weights, w,
        )  # fmt: skip


@jit
def _store_plane(s: Any, y: Any, group: Any, height: int, width: int, at: int, stride: int) -> None:
    if stride == width * LANES:
        _store_pixels(s, at, y, group, height * width, unliteral(0), height * width)
        return
    for i in range(height):
        _store_pixels(s, at + i * stride, y, group, height * width, i * width, width)


@numba.njit(nogil=True, error_model="numpy", inline="always")
def _groups(
    mode: int, code: int, x: Any, grad: Any, y: Any, where: Any, up: Any, lift: Any, down: Any, s: Any, begin: int,
    end: int,
) -> None:  # fmt: skip
    """Groups begin .. end - 1 of 16 planes.

    x, grad, y       flat arrays; grad is read by ACTIVATION_BACKWARD alone
    up, lift, down   packed blocks: x to the higher rate, grad to the higher rate, and back
    s                scratch of this thread, as large as `where` says
    """
    channels = where[CHANNELS]
    per_image = (channels + LANES - 1) // LANES
    low_h, low_w, high_h, high_w = where[LOW_H], where[LOW_W], where[HIGH_H], where[HIGH_W]
    tall, wide = low_h % 2 == 0, low_w % 2 == 0  # whether an axis folds fourfold
    low, low_row, high, high_row = where[LOW_AT], where[LOW_STRIDE], where[HIGH_AT], where[HIGH_STRIDE]
    mixed, row, lifted, line, other = (
        where[MIXED_AT], where[MIXED_STRIDE], where[LIFTED_AT], where[LINE_AT], where[OTHER_AT],
    )  # fmt: skip
    columns_up, columns_lift, columns_down = where[UP_COLUMNS], where[LIFT_COLUMNS], where[DOWN_COLUMNS]
    one, first = unliteral(LANES), unliteral(0)
    for g in range(begin, end):
        group = (g * LANES, 0, 1, min(LANES, where[PLANES] - g * LANES) - 1)
        if channels:  # channels last; the last block overlaps the one before
            group = (g // per_image, min(g % per_image * LANES, channels - LANES), channels, -1)
        if mode == GATHER:
            _load_all(x, s, where, group, (high_h, high_w, high_h, high_row, high, first))
            _fold_plane(s, high, high_row, high_h, high_w, tall, wide)
            _rows(s, high, high_row, high_h, high_w, mixed, row, low_w, wide, down, columns_down)
            for j in range(0, low_w * LANES, LANES):
                _multiply(s, mixed + j, row, high_h, low + j, low_row, low_h, tall, down, first)
            _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
            _store_plane(s, y, group, low_h, low_w, low, low_row)
            continue
        _load_all(x, s, where, group, (low_h, low_w, low_h, low_row, low, first))
        _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
        _rows(s, low, low_row, low_h, low_w, mixed, row, high_w, wide, up, columns_up)
        if mode == SPREAD:
            for j in range(0, high_w * LANES, LANES):
                _multiply(s, mixed + j, row, low_h, high + j, high_row, high_h, tall, up, first)
            _fold_plane(s, high, high_row, high_h, high_w, tall, wide)
            _store_plane(s, y, group, high_h, high_w, high, high_row)
            continue
        for i in range(low_h):
            _fold(s, mixed + i * row, one, high_w, wide)
        if mode == ACTIVATION_BACKWARD:
            at = where[GRAD_AT]
            _load_all(grad, s, where, group, (low_h, low_w, low_h, low_row, at, first))
            _fold_plane(s, at, low_row, low_h, low_w, tall, wide)
            _rows(s, at, low_row, low_h, low_w, lifted, row, high_w, wide, lift, columns_lift)
            for i in range(low_h):
                _fold(s, lifted + i * row, one, high_w, wide)
        for j in range(0, high_w * LANES, LANES):
            _multiply(s, mixed + j, row, low_h, line, one, high_h, tall, up, first)
            bent = line
            if mode == ACTIVATION_BACKWARD:
                bent = other
                _multiply(s, lifted + j, row, low_h, other, one, high_h, tall, lift, first)
            if mode == ACTIVATION_BACKWARD and code != IDENTITY:
                _bend_back(s, line, other, high_h, tall, code)
            else:
                _bend(s, bent, high_h, tall, code)
            _multiply(s, bent, one, high_h, mixed + j, row, low_h, tall, down, first)
        for i in range(low_h):
            _fold(s, mixed + i * row, one, high_w, wide)
        _rows(s, mixed, row, low_h, high_w, low, low_row, low_w, wide, down, columns_down)
        _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
        _store_plane(s, y, group, low_h, low_w, low, low_row)


# what a thread is told: addresses of seven arrays, those of its scratch, how long a thread's part of it is, and numbers
PACKET = ("x", "grad", "y", "where", "up", "lift", "down")
SCRATCH = len(PACKET)
(MODE, CODE, GROUPS, CHUNKS, THREADS, NEXT_CHUNK, NEXT_THREAD) = range(SCRATCH + 2, SCRATCH + 9)
PACKET_SIZE = NEXT_THREAD + 1


def compiled(storage: Any) -> Any:
    """The kernel for tensors of numbers like `storage` (float32; uint16 for bfloat16), a C function of an address.

    The address is that of a packet; any number of threads may be called with the same and share its work by chunks.
    """
    # Numba keeps compiled code by the date of this file alone; a constant that differs with every source makes it
    # compile anew whenever one of them changes.
    names = ("dense_kernels.py", "dense_tables.py", "walk.py", "vectors.py", "tables.py")
    version = zlib.crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in names))

    @numba.cfunc(types.void(types.intp), nogil=True, cache=True, error_model="numpy")
    def work(address: int) -> None:
        p = pointer(address, _INT)
        thread = next_number(address + 8 * NEXT_THREAD)
        if thread >= p[THREADS] + 0 * version:
            return
        x, grad, y, where = pointer(p[0], storage), pointer(p[1], storage), pointer(p[2], storage), pointer(p[3], _INT)
        up, lift, down = pointer(p[4], _ZERO), pointer(p[5], _ZERO), pointer(p[6], _ZERO)
        s = pointer(p[SCRATCH] + 4 * thread * p[SCRATCH + 1], _ZERO)
        while True:
            chunk = next_number(address + 8 * NEXT_CHUNK)
            if chunk >= p[CHUNKS]:
                return
            begin, end = p[GROUPS] * chunk // p[CHUNKS], p[GROUPS] * (chunk + 1) // p[CHUNKS]
            _groups(p[MODE], p[CODE], x, grad, y, where, up, lift, down, s, begin, end)

    return work
