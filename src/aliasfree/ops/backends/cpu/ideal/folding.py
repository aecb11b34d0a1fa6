"""Steps of the ideal filter on folded lines of 16 planes (`tables` says how an axis folds): fold, multiply, activate.

Arguments that recur:
    s         scratch of this thread, float32
    fourfold  whether an axis folds into four blocks, or two
    weights   packed blocks of a matrix, one behind the other
"""

from __future__ import annotations

from typing import Any

from aliasfree.ops.backends.cpu.compiling import jit, keep_apart
from aliasfree.ops.backends.cpu.simd.expressions import Expression, pointwise
from aliasfree.ops.backends.cpu.simd.functions import activation, slope
from aliasfree.ops.backends.cpu.simd.layout import BLOCK, LANES
from aliasfree.ops.backends.cpu.simd.memory import Line
from aliasfree.ops.backends.cpu.simd.vectors import accumulate_outer, load, mul, product, store, zeros


def _sums_and_differences(u: Expression) -> Expression:
    """An orbit folded, or unfolded: the matrix of signs is its own transpose."""
    b, v = u.b, u.values
    if len(v) == 2:
        return Expression(b, [b.fadd(*v), b.fsub(*v)])
    s, t, d, e = b.fadd(v[0], v[2]), b.fadd(v[1], v[3]), b.fsub(v[0], v[2]), b.fsub(v[1], v[3])
    return Expression(b, [b.fadd(s, t), b.fsub(s, t), b.fadd(d, e), b.fsub(d, e)])


butterfly = pointwise(_sums_and_differences)


@jit
def _load_four(s: Any, a: int, b: int, far: int) -> Any:
    """An orbit of four: vectors at a, b, a + far and b + far."""
    return load(s, a), load(s, b), load(s, a + far), load(s, b + far)


@jit
def _store_four(s: Any, a: int, b: int, far: int, v: Any) -> None:
    store(s, a, v[0])
    store(s, b, v[1])
    store(s, a + far, v[2])
    store(s, b + far, v[3])


@jit
def _store_two(s: Any, a: int, b: int, v: Any) -> None:
    store(s, a, v[0])
    store(s, b, v[1])


@jit
def fold(s: Any, line: Any, fourfold: bool) -> None:
    """Fold, or unfold, a line in place."""
    keep_apart()
    at, step, n = line
    half = n // 2
    if not fourfold:
        for i in range(half):
            a, b = at + i * step, at + (n - 1 - i) * step
            _store_two(s, a, b, butterfly((load(s, a), load(s, b))))
        return
    far = half * step
    for i in range(half // 2):
        a, b = at + i * step, at + (half - 1 - i) * step
        _store_four(s, a, b, far, butterfly(_load_four(s, a, b, far)))
    if half % 2:
        a = at + half // 2 * step
        _store_two(s, a, a + far, butterfly((load(s, a), load(s, a + far))))


@jit
def multiply(s: Any, line: Any, to: Any, fourfold: bool, weights: Any) -> None:
    """The folded line `to` = matrix times the folded `line`; they must not overlap.

    Block by block (`tables`): a line of sums ascends, one of differences descends.
    """
    keep_apart()
    start, step, n = line
    out, out_step, n_out = to
    count, count_out = n, n_out
    if fourfold:
        count, count_out = n // 2, n_out // 2
    w = 0
    for _ in range(2 if fourfold else 1):
        sums, sums_out = Line(start, step, (count + 1) // 2), Line(out, out_step, (count_out + 1) // 2)
        w = _multiply_block(s, sums, sums_out, weights, w)
        last, last_out = start + (count - 1) * step, out + (count_out - 1) * out_step
        w = _multiply_block(s, Line(last, -step, count // 2), Line(last_out, -out_step, count_out // 2), weights, w)
        start += count * step
        out += count_out * out_step


@jit
def _multiply_block(s: Any, line: Any, to: Any, weights: Any, w: int) -> int:
    """One block, whose weights begin at `w`; where the next one's begin."""
    start, step, n = line
    out, out_step, n_out = to
    for i in range(0, n_out, BLOCK):
        sums = zeros()
        at = start
        for _ in range(n):
            sums = accumulate_outer(sums, weights, w, s, at)
            at += step
            w += BLOCK
        here = out + i * out_step
        store(s, here, sums[0])
        if i + 1 < n_out:
            store(s, here + out_step, sums[1])
        if i + 2 < n_out:
            store(s, here + 2 * out_step, sums[2])
        if i + 3 < n_out:
            store(s, here + 3 * out_step, sums[3])
    return w


@jit
def activate(s: Any, at: int, n: int, fourfold: bool, code: int) -> None:
    """The activation of a folded line, folded, in place; its vectors lie side by side."""
    keep_apart()
    half = n // 2
    if not fourfold:
        for i in range(half):
            _activate_two(s, at + i * LANES, at + (n - 1 - i) * LANES, code)
        if n % 2:
            a = at + half * LANES
            store(s, a, activation(load(s, a), code))
        return
    far = half * LANES
    for i in range(half // 2):
        a, b = at + i * LANES, at + (half - 1 - i) * LANES
        _store_four(s, a, b, far, butterfly(activation(butterfly(_load_four(s, a, b, far)), code)))
    if half % 2:
        a = at + half // 2 * LANES
        _activate_two(s, a, a + far, code)


@jit
def _activate_two(s: Any, a: int, b: int, code: int) -> None:
    _store_two(s, a, b, butterfly(activation(butterfly((load(s, a), load(s, b))), code)))


@jit
def times_slope(s: Any, grad: int, at: int, n: int, fourfold: bool, code: int) -> None:
    """The folded line at `grad` times the slopes of the activation of the one at `at`, folded, in place."""
    keep_apart()
    half, there = n // 2, grad - at
    if not fourfold:
        for i in range(half):
            _times_slope_two(s, at + i * LANES, at + (n - 1 - i) * LANES, there, code)
        if n % 2:
            a = at + half * LANES
            store(s, a + there, mul(load(s, a + there), slope(load(s, a), code)))
        return
    far = half * LANES
    for i in range(half // 2):
        a, b = at + i * LANES, at + (half - 1 - i) * LANES
        v = slope(butterfly(_load_four(s, a, b, far)), code)
        a, b = a + there, b + there
        _store_four(s, a, b, far, butterfly(product(v, butterfly(_load_four(s, a, b, far)))))
    if half % 2:
        a = at + half // 2 * LANES
        _times_slope_two(s, a, a + far, there, code)


@jit
def _times_slope_two(s: Any, a: int, b: int, there: int, code: int) -> None:
    """For an orbit of two, whose gradients lie `there` behind."""
    v = slope(butterfly((load(s, a), load(s, b))), code)
    a, b = a + there, b + there
    u = butterfly((load(s, a), load(s, b)))
    _store_two(s, a, b, butterfly((mul(u[0], v[0]), mul(u[1], v[1]))))


@jit
def fold_across(s: Any, lines: Any, n: int) -> None:
    """Fold, or unfold, the n vectors of lines that are an orbit of the other axis (`kernels.Rows`: where they lie)."""
    keep_apart()
    if lines.count == 4:
        for j in range(0, n * LANES, LANES):
            a, b = lines.a + j, lines.b + j
            _store_four(s, a, b, lines.far, butterfly(_load_four(s, a, b, lines.far)))
    elif lines.count == 2:
        for j in range(0, n * LANES, LANES):
            a, b = lines.a + j, lines.b + j
            _store_two(s, a, b, butterfly((load(s, a), load(s, b))))
