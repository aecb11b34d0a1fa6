"""The CPU kernels for dense matrices: 16 planes side by side in vector lanes, both axes folded (`tables`).

    ACTIVATION           x --columns--> T --per column of T: rows, activation, rows back--> T --columns back--> y
    ACTIVATION_BACKWARD  the same with act'(.) dy, dy raised beside x
    SPREAD, GATHER       one half alone
T has as many rows as the lower rate and as many columns as the higher; the higher rate exists one column at a time.
Rows stay folded all the way: only where the activation is, an orbit is unfolded, bent and folded again, in registers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aliasfree.ops.backends.cpu.compiling import inlined, jit, keep_apart, kernel, sources_version, unliteral
from aliasfree.ops.backends.cpu.simd.expressions import Expression, pointwise
from aliasfree.ops.backends.cpu.simd.functions import gelu, gelu_slope, relu, relu_slope, silu, silu_slope
from aliasfree.ops.backends.cpu.simd.layout import (
    ACTIVATION_BACKWARD,
    BLOCK,
    DENSE_PLAN,
    GATHER,
    GELU,
    IDENTITY,
    JOB,
    LANES,
    RELU,
    SILU,
    SPREAD,
)
from aliasfree.ops.backends.cpu.simd.memory import floats, pointer, record, take_number
from aliasfree.ops.backends.cpu.simd.planes import group_of, load_plane, store_plane
from aliasfree.ops.backends.cpu.simd.vectors import accumulate_outer, load, mul, product, store, zeros

__all__ = ["compiled"]


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


@inlined
def _groups(x: Any, grad: Any, y: Any, s: Any, plan: Any, begin: int, end: int) -> None:
    """Groups begin .. end - 1 of planes, x (and grad) to y; T is at plan.mixed. For each group:

    1. Load x (h, w) and fold both axes. GATHER: x is (H, W); multiply along rows and columns, unfold, store.
    2. T (h, W) = x times the matrix of the columns. SPREAD: multiply T's columns, unfold, store.
    3. Unfold the rows of T, which need not stay folded; make another T of grad for ACTIVATION_BACKWARD.
    4. For each column of T: raise it to H samples, apply the activation (or multiply grad's column by its slope), and
       bring it back to h samples.
    5. Fold the rows of T, bring them back to w samples, unfold both axes, store.
    """
    low_h, low_w, high_h, high_w = plan.low_height, plan.low_width, plan.high_height, plan.high_width
    tall, wide = low_h % 2 == 0, low_w % 2 == 0  # whether an axis folds fourfold
    up, lift, down = floats(plan.up), floats(plan.lift), floats(plan.down)
    low, low_row, high, high_row = plan.low.at, plan.low.stride, plan.high.at, plan.high.stride
    mixed, row, lifted, line, other = plan.mixed.at, plan.mixed.stride, plan.lifted.at, plan.line, plan.other
    mode, code = plan.mode, plan.activation
    one, first = unliteral(LANES), unliteral(0)
    for g in range(begin, end):
        group = group_of(g, plan.planes, plan.channels)
        if mode == GATHER:
            load_plane(x, s, high, high_row, group, high_h, high_w)
            _fold_plane(s, high, high_row, high_h, high_w, tall, wide)
            _rows(s, high, high_row, high_h, high_w, mixed, row, low_w, wide, down, plan.down_columns)
            for j in range(0, low_w * LANES, LANES):
                _multiply(s, mixed + j, row, high_h, low + j, low_row, low_h, tall, down, first)
            _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
            store_plane(s, low, low_row, y, group, low_h, low_w)
            continue
        load_plane(x, s, low, low_row, group, low_h, low_w)
        _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
        _rows(s, low, low_row, low_h, low_w, mixed, row, high_w, wide, up, plan.up_columns)
        if mode == SPREAD:
            for j in range(0, high_w * LANES, LANES):
                _multiply(s, mixed + j, row, low_h, high + j, high_row, high_h, tall, up, first)
            _fold_plane(s, high, high_row, high_h, high_w, tall, wide)
            store_plane(s, high, high_row, y, group, high_h, high_w)
            continue
        for i in range(low_h):
            _fold(s, mixed + i * row, one, high_w, wide)
        if mode == ACTIVATION_BACKWARD:
            at = plan.grad.at
            load_plane(grad, s, at, low_row, group, low_h, low_w)
            _fold_plane(s, at, low_row, low_h, low_w, tall, wide)
            _rows(s, at, low_row, low_h, low_w, lifted, row, high_w, wide, lift, plan.lift_columns)
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
        _rows(s, mixed, row, low_h, high_w, low, low_row, low_w, wide, down, plan.down_columns)
        _fold_plane(s, low, low_row, low_h, low_w, tall, wide)
        store_plane(s, low, low_row, y, group, low_h, low_w)


def compiled(storage: Any) -> Any:
    """The kernel for numbers like `storage` (float32; uint16 for bfloat16), a C function of a JOB's address.

    Any number of threads may be called with the same job; they share its work by chunks.
    """
    version = sources_version(Path(__file__))

    @kernel
    def work(address: int) -> None:
        job = record(address, JOB)
        plan = record(job.plan, DENSE_PLAN)
        thread = take_number(job, "next_thread")
        if thread >= plan.threads + 0 * version:
            return
        x, grad, y = pointer(job.x, storage), pointer(job.grad, storage), pointer(job.y, storage)
        s = floats(job.floats + 4 * thread * job.floats_each)
        while True:
            chunk = take_number(job, "next_chunk")
            if chunk >= plan.chunks:
                return
            begin, end = plan.groups * chunk // plan.chunks, plan.groups * (chunk + 1) // plan.chunks
            _groups(x, grad, y, s, plan, begin, end)

    return work
