"""The CPU kernels: 16 planes side by side in vector lanes, walked row by row, so that no full-size temporary exists.

One routine, `_walk`, serves every op and its backward:
    ACTIVATION           rows of x --spread--> high-rate row --activation--> gather --> rows of y
    ACTIVATION_BACKWARD  the high-rate rows of x and of dy, multiplied as act'(.) dy, gathered
    SPREAD, GATHER       one half alone
A high-rate row lives only until its low-passed rows are made; those, and the rows of x in use, lie in small rings.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba
import numpy as np

from aliasfree.ops.backends import tables as T
from aliasfree.ops.backends._vectors import (
    add,
    fma,
    load,
    load_tile,
    mul,
    odd_rational,
    splat,
    store,
    store_tile,
    where_less,
)
from aliasfree.ops.backends.tables import LANES

ACTIVATION, ACTIVATION_BACKWARD, SPREAD, GATHER = range(4)
ACTIVATION_CODES = {"identity": 0, "relu": 1, "gelu": 2, "silu": 3}

# where things lie in the table of integers `where`
(PLANES, CHANNELS, IN_H, IN_W, OUT_H, OUT_W, GRAD_H, GRAD_W) = range(8)
(IN_ROWS, IN_STRIDE, IN_AT, GRAD_ROWS, GRAD_STRIDE, GRAD_AT) = range(8, 14)
(LOW_AT, HIGH_AT, OTHER_AT, RING_ROWS, RING_STRIDE, RING_AT, OUT_AT, FLOATS) = range(14, 22)
(IN_KEYS, GRAD_KEYS, RING_KEYS, OFFSETS, INTS) = range(22, 27)
WHERE = 27

# Odd rationals in u, fitted here (weighted least squares, Lawson iteration), constant beyond their bound. Largest
# error: Phi 9e-8, GELU' 1.1e-7, sigmoid 7e-9; evaluated in float32 3e-7 at most.
_PHI_END, _SIGMOID_END = 5.4, 17.5
_phi = odd_rational(
    (0.398941717, 0.0548828604, 0.00590510539, 0.0003728971, 6.75875684e-06),
    (1.0, 0.304228571, 0.040523043, 0.00304552799, 0.000133800688, 5.63077927e-07),
    _PHI_END,
)
_slope = odd_rational(
    (0.797885357, -0.0309902283, 0.0142293798, 1.93545129e-05, 3.59445963e-05, 1.92774746e-07),
    (1.0, 0.294501053, 0.0409814722, 0.00352301658, 0.000192048604, 8.94747291e-06),
    5.7,
)
_logistic = odd_rational(
    (0.249999982, 0.00836863706, 5.47858987e-05, 8.12348502e-08, 1.33158512e-11),
    (1.0, 0.116807811, 0.00161981503, 5.16189042e-06, 3.08078731e-09),
    _SIGMOID_END,
)
_PHI_LEFT, _SIGMOID_LEFT = np.float32(-_PHI_END), np.float32(-_SIGMOID_END)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)

# called by kernels alone, so without what would let Python call them, and kept on disk only as part of those
jit = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@jit
def _gelu(u: Any) -> Any:
    # the rounding left where Phi is 0 would grow with u
    return mul(u, where_less(u, splat(_PHI_LEFT), splat(_ZERO), add(_phi(u), splat(_HALF))))


@jit
def _gelu_slope(u: Any) -> Any:
    return fma(u, splat(_ZERO), add(_slope(u), splat(_HALF)))  # u 0 keeps what is not finite


@jit
def _sigmoid(u: Any) -> Any:
    return where_less(u, splat(_SIGMOID_LEFT), splat(_ZERO), add(_logistic(u), splat(_HALF)))


@jit
def _activate(s: Any, at: int, n: int, code: int) -> None:
    """Row of n vectors through the activation, in place."""
    if code == 1:
        zero = splat(_ZERO)
        for i in range(at, at + n * LANES, LANES):
            u = load(s, i)
            store(s, i, where_less(u, zero, zero, u))
    elif code == 2:
        for i in range(at, at + n * LANES, LANES):
            store(s, i, _gelu(load(s, i)))
    elif code == 3:
        for i in range(at, at + n * LANES, LANES):
            u = load(s, i)
            store(s, i, mul(u, _sigmoid(u)))


@jit
def _times_slope(s: Any, at: int, inner: int, n: int, code: int) -> None:
    """Row at `at` times the activation's derivative at the row `inner`, in place."""
    shift = inner - at
    if code == 1:
        zero = splat(_ZERO)
        for i in range(at, at + n * LANES, LANES):
            u = load(s, i + shift)
            store(s, i, where_less(zero, u, load(s, i), mul(u, zero)))
    elif code == 2:
        for i in range(at, at + n * LANES, LANES):
            store(s, i, mul(load(s, i), _gelu_slope(load(s, i + shift))))
    elif code == 3:
        one, minus = splat(_ONE), splat(-_ONE)
        for i in range(at, at + n * LANES, LANES):
            u = load(s, i + shift)
            g = _sigmoid(u)
            rest = fma(g, minus, one)
            store(s, i, mul(load(s, i), mul(g, fma(u, rest, one))))


@jit
def _fir(
    s: Any, to: int, step: int, start: int, stride: int, offsets: Any, o: int, weights: Any, w: int, taps: int, n: int,
    onto: bool,
) -> None:  # fmt: skip
    """s[to + step j] (+)= sum_k weights[w + k] s[start + stride j + offsets[o + k]], j < n, eight outputs at a time."""
    j = 0
    zero = splat(_ZERO)
    while j + 8 <= n:
        d, b = to + j * step, start + j * stride
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        for k in range(taps):
            c, i = splat(weights[w + k]), b + offsets[o + k]
            a0 = fma(c, load(s, i), a0)
            a1 = fma(c, load(s, i + stride), a1)
            a2 = fma(c, load(s, i + 2 * stride), a2)
            a3 = fma(c, load(s, i + 3 * stride), a3)
            a4 = fma(c, load(s, i + 4 * stride), a4)
            a5 = fma(c, load(s, i + 5 * stride), a5)
            a6 = fma(c, load(s, i + 6 * stride), a6)
            a7 = fma(c, load(s, i + 7 * stride), a7)
        if onto:
            a0, a1 = add(a0, load(s, d)), add(a1, load(s, d + step))
            a2, a3 = add(a2, load(s, d + 2 * step)), add(a3, load(s, d + 3 * step))
            a4, a5 = add(a4, load(s, d + 4 * step)), add(a5, load(s, d + 5 * step))
            a6, a7 = add(a6, load(s, d + 6 * step)), add(a7, load(s, d + 7 * step))
        store(s, d, a0)
        store(s, d + step, a1)
        store(s, d + 2 * step, a2)
        store(s, d + 3 * step, a3)
        store(s, d + 4 * step, a4)
        store(s, d + 5 * step, a5)
        store(s, d + 6 * step, a6)
        store(s, d + 7 * step, a7)
        j += 8
        if j < n < j + 8 and not onto:
            j = n - 8  # the last eight overlap the ones before
    while j < n:
        a = load(s, to + j * step) if onto else zero
        for k in range(taps):
            a = fma(splat(weights[w + k]), load(s, start + j * stride + offsets[o + k]), a)
        store(s, to + j * step, a)
        j += 1


@jit
def _along_row(s: Any, to: int, start: int, ints: Any, weights: Any, term: int, onto: bool) -> None:
    """Horizontal taps of one term; `to` and `start` are where pixel 0 lies."""
    w = ints[T.H_WEIGHTS] + term * ints[T.H_TAPS]
    for i in range(ints[T.SEGMENTS]):
        at = ints[T.SEGMENT] + 7 * i
        first, step, count, k = ints[at], ints[at + 1], ints[at + 2], ints[at + 3]
        _fir(
            s, to + first * LANES, step * LANES, start + ints[at + 5] * LANES, ints[at + 6] * LANES,
            ints, ints[T.H_OFF] + k, weights, w + k, ints[at + 4], count, onto,
        )  # fmt: skip


@jit
def _pad(s: Any, row: int, ints: Any) -> None:
    """What the horizontal taps read outside the row that begins at `row`."""
    for i in range(ints[T.PADS]):
        at = ints[T.PAD] + 2 * i
        source = ints[at + 1]
        v = splat(_ZERO)
        if source >= 0:
            v = load(s, row + source * LANES)
        store(s, row + ints[at] * LANES, v)


@jit
def _fold(s: Any, row: int, ints: Any) -> None:
    """Add what an adjoint left outside the row to where it belongs."""
    for i in range(ints[T.FOLDS]):
        at = ints[T.FOLD] + 2 * i
        to = row + ints[at + 1] * LANES
        store(s, to, add(load(s, to), load(s, row + ints[at] * LANES)))


@jit
def _load_pixels(x: Any, s: Any, at: int, group: Any, plane: int, first: int, n: int) -> None:
    """Pixels first .. first + n - 1 of a group of planes of `plane` pixels; n >= 16 unless channels are last."""
    image, channel, channels, last = group
    base = (image * plane + first) * channels + channel
    j = 0
    if last < 0:
        while j < n:
            store(s, at + j * LANES, load(x, base + j * channels))
            j += 1
        return
    while j < n:
        j = min(j, n - LANES)  # the last tile overlaps the one before
        load_tile(x, base + j, plane, last, s, at + j * LANES)
        j += LANES


@jit
def _store_pixels(s: Any, at: int, y: Any, group: Any, plane: int, first: int, n: int) -> None:
    """The inverse of `_load_pixels`."""
    image, channel, channels, last = group
    base = (image * plane + first) * channels + channel
    j = 0
    if last < 0:
        while j < n:
            store(y, base + j * channels, load(s, at + j * LANES))
            j += 1
        return
    while j < n:
        j = min(j, n - LANES)
        store_tile(s, at + j * LANES, y, base + j, plane, last)
        j += LANES


@jit
def _slot(m: Any, keys: int, n: int, slots: int, key: int) -> tuple[int, bool]:
    """Slot of a ring that holds `key` of 0 .. n - 1, and whether it was there; else the least recently used one."""
    m[0] += 1
    slot = m[keys + key]
    if slot >= 0:
        m[keys + n + slots + slot] = m[0]
        return slot, True
    slot = 0
    for i in range(1, slots):
        if m[keys + n + slots + i] < m[keys + n + slots + slot]:
            slot = i
    if m[keys + n + slot] >= 0:
        m[keys + m[keys + n + slot]] = -1
    m[keys + key], m[keys + n + slot], m[keys + n + slots + slot] = slot, key, m[0]
    return slot, False


@jit
def _forget(m: Any, keys: int, n: int, slots: int) -> None:
    m[keys : keys + n + slots] = -1
    m[keys + n + slots : keys + n + 2 * slots] = 0


@jit
def _low_row(x: Any, s: Any, m: Any, group: Any, ring: Any, row: int) -> int:
    """Where row `row` of the input lies in the scratch, loaded if need be."""
    height, width, rows, stride, at, keys = ring
    if rows == height:  # all were loaded at the start
        return at + row * stride
    slot, there = _slot(m, keys, height, rows, row)
    here = at + slot * stride
    if not there:
        _load_pixels(x, s, here, group, height * width, row * width, width)
    return here


@jit
def _load_all(x: Any, s: Any, m: Any, group: Any, ring: Any) -> None:
    """All rows at once when the ring has room for them: in one piece when they are narrow."""
    height, width, rows, stride, at, keys = ring
    if rows < height:
        _forget(m, keys, height, rows)
    elif stride == width * LANES:
        _load_pixels(x, s, at, group, height * width, 0, height * width)
    else:
        for row in range(height):
            _load_pixels(x, s, at + row * stride, group, height * width, row * width, width)


@jit
def _spread_row(
    x: Any, s: Any, m: Any, group: Any, ring: Any, ints: Any, weights: Any, row: int, low: int, to: int, offsets: int
) -> None:
    """High-rate row `row` made from rows of x, pixel 0 at `to`; `low` is room for one low-rate row."""
    width = ring[1]
    onto = False
    for pair in range(ints[ints[T.PAIR_PTR] + row], ints[ints[T.PAIR_PTR] + row + 1]):
        phase = ints[ints[T.PAIR_CLASS] + pair]
        term = ints[ints[T.CLASS_PTR] + phase]
        for v in range(ints[ints[T.PAIR_FIRST] + pair], ints[ints[T.PAIR_FIRST] + pair + 1]):
            begin, end = ints[ints[T.V_PTR] + v], ints[ints[T.V_PTR] + v + 1]
            for k in range(begin, end):
                m[offsets + k - begin] = _low_row(x, s, m, group, ring, ints[ints[T.V_SRC] + k])
            _fir(s, low, LANES, 0, LANES, m, offsets, weights, begin, end - begin, width, False)
            _pad(s, low, ints)
            _along_row(s, to, low, ints, weights, term, onto)
            onto = True
            term += 1
    if not onto:
        _clear(s, to - ints[T.EXTRA_LEFT] * LANES, _extended(ints, True))
    _fold(s, to, ints)


@jit
def _extended(ints: Any, high: bool) -> int:
    return ints[T.EXTRA_LEFT] + (ints[T.WIDE] if high else ints[T.NARROW]) + ints[T.EXTRA_RIGHT]


@jit
def _clear(s: Any, at: int, n: int) -> None:
    for i in range(at, at + n * LANES, LANES):
        store(s, i, splat(_ZERO))


@jit
def _copy(s: Any, to: int, start: int, n: int) -> None:
    for i in range(0, n * LANES, LANES):
        store(s, to + i, load(s, start + i))


@jit
def _walk(
    mode: int, code: int, x: Any, grad: Any, y: Any, where: Any, up: Any, up_w: Any, lift: Any, lift_w: Any, down: Any,
    down_w: Any, s: Any, m: Any, begin: int, end: int,
) -> None:  # fmt: skip
    """Groups begin .. end - 1 of 16 planes.

    x, grad, y     flat arrays; grad is read by ACTIVATION_BACKWARD alone
    up, lift, down tables of the spread of x, the spread of grad, and the gather (packed, with their weights)
    s, m           scratch of this thread, as large as `where` says
    """
    channels = where[CHANNELS]
    blocks = (channels + LANES - 1) // LANES
    inputs = (where[IN_H], where[IN_W], where[IN_ROWS], where[IN_STRIDE], where[IN_AT], where[IN_KEYS])
    grads = (where[GRAD_H], where[GRAD_W], where[GRAD_ROWS], where[GRAD_STRIDE], where[GRAD_AT], where[GRAD_KEYS])
    low, high, other, offsets = where[LOW_AT], where[HIGH_AT], where[OTHER_AT], where[OFFSETS]
    height, width, out_at = where[OUT_H], where[OUT_W], where[OUT_AT]
    in_plane, out_plane = inputs[0] * inputs[1], height * width
    ring_rows, ring_stride, ring_at, ring_keys = where[RING_ROWS], where[RING_STRIDE], where[RING_AT], where[RING_KEYS]
    terms, pairs = down[T.MOST_TERMS], down[T.PAIRS]
    for g in range(begin, end):
        group = (g * LANES, 0, 1, min(LANES, where[PLANES] - g * LANES) - 1)
        if channels:  # channels last; the last block overlaps the one before
            group = (g // blocks, min(g % blocks * LANES, channels - LANES), channels, -1)
        in_pieces = out_at >= 0  # narrow rows are stored together at the end
        if mode != GATHER or inputs[2] == inputs[0]:
            _load_all(x, s, m, group, inputs)
        if mode == ACTIVATION_BACKWARD:
            _load_all(grad, s, m, group, grads)
        if mode != SPREAD:
            _forget(m, ring_keys, pairs, ring_rows)
        computed = -1
        for i in range(height):
            to = out_at + i * width * LANES if in_pieces else other
            if mode == SPREAD:
                if in_pieces and up[T.FOLDS]:
                    to = other
                _spread_row(x, s, m, group, inputs, up, up_w, i, low, to, offsets)
            else:
                first, last = down[down[T.V_PTR] + i], down[down[T.V_PTR] + i + 1]
                for k in range(first, last):
                    source = down[down[T.V_SRC] + k]
                    pair = source // terms
                    slot, there = _slot(m, ring_keys, pairs, ring_rows, pair)
                    here = ring_at + slot * terms * ring_stride
                    m[offsets + k - first] = here + source % terms * ring_stride
                    if there:
                        continue
                    row = down[down[T.PAIR_ROW] + pair]
                    if row != computed:
                        computed = row
                        if mode == GATHER:
                            if inputs[2] == inputs[0]:
                                _copy(s, high, inputs[4] + row * inputs[3], inputs[1])
                            else:
                                _load_pixels(x, s, high, group, in_plane, row * inputs[1], inputs[1])
                        else:
                            spare = offsets + (last - first)
                            _spread_row(x, s, m, group, inputs, up, up_w, row, low, high, spare)
                            n = down[T.WIDE]
                            if mode == ACTIVATION:
                                _activate(s, high, n, code)
                            else:
                                inner = other
                                _copy(s, inner, high, n)
                                _spread_row(grad, s, m, group, grads, lift, lift_w, row, low, high, spare)
                                _times_slope(s, high, inner, n, code)
                        _pad(s, high, down)
                    phase = down[down[T.PAIR_CLASS] + pair]
                    begins = down[down[T.CLASS_PTR] + phase]
                    for term in range(begins, down[down[T.CLASS_PTR] + phase + 1]):
                        _along_row(s, here + (term - begins) * ring_stride, high, down, down_w, term, False)
                # rows of the ring begin EXTRA_LEFT before pixel 0
                line = other if down[T.FOLDS] else to
                extra = down[T.EXTRA_LEFT] * LANES
                _fir(
                    s, line - extra, LANES, -extra, LANES, m, offsets, down_w, first, last - first,
                    _extended(down, False), False,
                )  # fmt: skip
                _fold(s, line, down)
                if line != to:
                    _copy(s, to, line, width)
            if not in_pieces:
                _store_pixels(s, to, y, group, out_plane, i * width, width)
            elif mode == SPREAD and to == other:
                _copy(s, out_at + i * width * LANES, other, width)
        if in_pieces:
            _store_pixels(s, out_at, y, group, out_plane, 0, out_plane)


def _compiled() -> tuple[Any, Any]:
    # Numba keeps compiled code by the date of this file alone; a constant that differs with every source makes it
    # compile anew whenever one of them changes.
    sources = [Path(__file__).with_name(name) for name in ("_kernels.py", "_vectors.py", "tables.py")]
    version = zlib.crc32(b"".join(path.read_bytes() for path in sources))

    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def serial(
        mode: int, code: int, x: Any, grad: Any, y: Any, where: Any, up: Any, up_w: Any, lift: Any, lift_w: Any,
        down: Any, down_w: Any, s: Any, m: Any, groups: int,
    ) -> int:  # fmt: skip
        _walk(mode, code, x, grad, y, where, up, up_w, lift, lift_w, down, down_w, s[0], m[0], 0, groups)
        return version

    @numba.njit(nogil=True, cache=True, error_model="numpy", parallel=True)
    def parallel(
        mode: int, code: int, x: Any, grad: Any, y: Any, where: Any, up: Any, up_w: Any, lift: Any, lift_w: Any,
        down: Any, down_w: Any, s: Any, m: Any, groups: int,
    ) -> int:  # fmt: skip
        threads = len(s)
        for t in numba.prange(threads):
            begin, end = groups * t // threads, groups * (t + 1) // threads
            _walk(mode, code, x, grad, y, where, up, up_w, lift, lift_w, down, down_w, s[t], m[t], begin, end)
        return version

    return serial, parallel


serial, parallel = _compiled()
"""The whole walk over `groups` groups of planes, in the calling thread or on len(s) threads."""
