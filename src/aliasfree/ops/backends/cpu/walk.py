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
from numba import types

from aliasfree.ops.backends.cpu import tables as T
from aliasfree.ops.backends.cpu.tables import BLOCK, LANES
from aliasfree.ops.backends.cpu.vectors import (
    Expression,
    accumulate,
    add,
    consecutive,
    get,
    keep_apart,
    load,
    load_tile,
    next_number,
    pointer,
    pointwise,
    product,
    put,
    splat,
    store,
    store_tile,
    unliteral,
    zeros,
)

ACTIVATION, ACTIVATION_BACKWARD, SPREAD, GATHER = range(4)
IDENTITY, RELU, GELU, SILU = range(4)
SLOPE, TIMES = 4, 8
"""Epilogues, what a filter's sums may end in: an activation, SLOPE + that for its derivative, or a product."""
ACTIVATION_CODES = {"identity": IDENTITY, "relu": RELU, "gelu": GELU, "silu": SILU}

# where things lie in the table of integers `where`
(PLANES, CHANNELS, IN_H, IN_W, OUT_H, OUT_W, GRAD_H, GRAD_W) = range(8)
(IN_ROWS, IN_STRIDE, IN_AT, GRAD_ROWS, GRAD_STRIDE, GRAD_AT) = range(8, 14)
(LOW_AT, HIGH_AT, OTHER_AT, RING_ROWS, RING_STRIDE, RING_AT, OUT_AT, FLOATS) = range(14, 22)
(IN_KEYS, GRAD_KEYS, RING_KEYS, OFFSETS, INTS) = range(22, 27)
WHERE = 27


def _odd_rational(numerator: tuple[float, ...], denominator: tuple[float, ...], bound: float) -> Any:
    """v P(v^2) / Q(v^2), where v is u within [-bound, bound]."""

    def formula(u: Expression) -> Expression:
        v = u.clamped(bound)
        t = v * v
        return v * t.polynomial(numerator) / t.polynomial(denominator)

    return formula


# fitted here (weighted least squares, Lawson iteration); largest error: Phi 9e-8, GELU' 1.1e-7, sigmoid 7e-9; in
# float32 arithmetic 3e-7 at most
_PHI_END, _SIGMOID_END = 5.4, 17.5
_phi = _odd_rational(
    (0.398941717, 0.0548828604, 0.00590510539, 0.0003728971, 6.75875684e-06),
    (1.0, 0.304228571, 0.040523043, 0.00304552799, 0.000133800688, 5.63077927e-07),
    _PHI_END,
)
_slope = _odd_rational(
    (0.797885357, -0.0309902283, 0.0142293798, 1.93545129e-05, 3.59445963e-05, 1.92774746e-07),
    (1.0, 0.294501053, 0.0409814722, 0.00352301658, 0.000192048604, 8.94747291e-06),
    5.7,
)
_logistic = _odd_rational(
    (0.249999982, 0.00836863706, 5.47858987e-05, 8.12348502e-08, 1.33158512e-11),
    (1.0, 0.116807811, 0.00161981503, 5.16189042e-06, 3.08078731e-09),
    _SIGMOID_END,
)


def _sigmoid(u: Expression) -> Expression:
    return u.pick(-_SIGMOID_END, 0.0, _logistic(u) + 0.5)


def _silu_slope(u: Expression) -> Expression:
    g = _sigmoid(u)
    return g * (1.0 - g).times_plus(u, 1.0)


# what is not finite must stay so: u 0; and the rounding left where Phi is 0 would grow with u
gelu = pointwise(lambda u: u * u.pick(-_PHI_END, 0.0, _phi(u) + 0.5))
gelu_slope = pointwise(lambda u: u.times_plus(u.constant(0.0), _slope(u) + 0.5))
silu = pointwise(lambda u: u * _sigmoid(u))
silu_slope = pointwise(_silu_slope)
relu = pointwise(lambda u: u.where_less(0.0, 0.0))
relu_slope = pointwise(lambda u: u.pick(1e-45, u * 0.0, u.constant(1.0)))

# taps along a row that the presets have, of the paper's 3x3 kernel and of 12: how many, and every which input
ANY, SHORT_UP, SHORT_DOWN, LONG_UP, LONG_DOWN = range(5)
short_up, short_down, long_up, long_down = (
    consecutive(taps, every) for taps, every in ((2, 1), (3, 2), (6, 1), (12, 2))
)

_ZERO, _INT = np.float32(0), np.int64(0)

# called by kernels alone, so without what would let Python call them, and kept on disk only as part of those
jit = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@jit
def _fir(
    s: Any, to: int, step: int, start: int, stride: int, offsets: Any, o: int, weights: Any, w: int, taps: int, n: int,
    onto: bool, preset: int, epilogue: int, by: int,
) -> None:  # fmt: skip
    """s[to + step j] (+)= sum_k weights[w + k] s[start + stride j + offsets[o + k]], j < n, and the epilogue of that.

    By blocks: up to BLOCK - 1 more outputs are written, which have to be nobody's. `preset` says whose
    consecutive taps these are, if any; TIMES multiplies by s[by + step j].
    """
    keep_apart()
    for j in range(0, n, BLOCK):
        at = to + j * step
        sums = zeros()
        if onto:
            sums = get(s, at, step)
        if preset == SHORT_UP:
            sums = short_up(sums, weights, w, s, start + j * stride)
        elif preset == SHORT_DOWN:
            sums = short_down(sums, weights, w, s, start + j * stride)
        elif preset == LONG_UP:
            sums = long_up(sums, weights, w, s, start + j * stride)
        elif preset == LONG_DOWN:
            sums = long_down(sums, weights, w, s, start + j * stride)
        else:
            for k in range(taps):
                sums = accumulate(sums, weights[w + k], s, start + j * stride + offsets[o + k], stride)
        if epilogue == GELU:
            sums = gelu(sums)
        elif epilogue == SLOPE + GELU:
            sums = gelu_slope(sums)
        elif epilogue == TIMES:
            sums = product(sums, get(s, by + j * step, step))
        elif epilogue == SILU:
            sums = silu(sums)
        elif epilogue == SLOPE + SILU:
            sums = silu_slope(sums)
        elif epilogue == RELU:
            sums = relu(sums)
        elif epilogue == SLOPE + RELU:
            sums = relu_slope(sums)
        put(s, at, step, sums)


@jit
def _along_row(
    s: Any, to: int, start: int, ints: Any, weights: Any, term: int, onto: bool, epilogue: int, by: int
) -> None:  # fmt: skip
    """Horizontal taps of one term; `to`, `start` and `by` are where pixel 0 lies."""
    w = ints[T.H_WEIGHTS] + term * ints[T.H_TAPS]
    for i in range(ints[T.SEGMENTS]):
        at = ints[T.SEGMENT] + 7 * i
        first, step, count, k = ints[at], ints[at + 1], ints[at + 2], ints[at + 3]
        taps, every = ints[at + 4], ints[at + 6]
        preset = ANY
        if taps == 2 and every == 1:
            preset = SHORT_UP
        elif taps == 3 and every == 2:
            preset = SHORT_DOWN
        elif taps == 6 and every == 1:
            preset = LONG_UP
        elif taps == 12 and every == 2:
            preset = LONG_DOWN
        _fir(
            s, to + first * LANES, step * LANES, start + ints[at + 5] * LANES, every * LANES,
            ints, ints[T.H_OFF] + k, weights, w + k, taps, count, onto, preset, epilogue, by + first * LANES,
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
    keep_apart()
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
    keep_apart()
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
    keep_apart()
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
    for i in range(keys, keys + n + slots):
        m[i] = -1
    for i in range(keys + n + slots, keys + n + 2 * slots):
        m[i] = 0


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
    keep_apart()
    height, width, rows, stride, at, keys = ring
    if rows < height:
        _forget(m, keys, height, rows)
    elif stride == width * LANES:
        _load_pixels(x, s, at, group, height * width, unliteral(0), height * width)
    else:
        for row in range(height):
            _load_pixels(x, s, at + row * stride, group, height * width, row * width, width)


@jit
def _spread_row(
    x: Any, s: Any, m: Any, group: Any, ring: Any, ints: Any, weights: Any, row: int, low: int, to: int, offsets: int,
    epilogue: int, by: int,
) -> None:  # fmt: skip
    """High-rate row `row` made from rows of x, pixel 0 at `to`, and its epilogue; `low` is room for a low-rate row."""
    keep_apart()
    width = ring[1]
    onto = False
    first, last = ints[ints[T.PAIR_PTR] + row], ints[ints[T.PAIR_PTR] + row + 1]
    at_once = ints[T.FOLDS] == 0 and ints[ints[T.PAIR_FIRST] + last] - ints[ints[T.PAIR_FIRST] + first] == 1
    early = epilogue if at_once else IDENTITY
    for pair in range(first, last):
        phase = ints[ints[T.PAIR_CLASS] + pair]
        term = ints[ints[T.CLASS_PTR] + phase]
        for v in range(ints[ints[T.PAIR_FIRST] + pair], ints[ints[T.PAIR_FIRST] + pair + 1]):
            begin, end = ints[ints[T.V_PTR] + v], ints[ints[T.V_PTR] + v + 1]
            for k in range(begin, end):
                m[offsets + k - begin] = _low_row(x, s, m, group, ring, ints[ints[T.V_SRC] + k])
            _fir(
                s, low, unliteral(LANES), unliteral(0), unliteral(LANES), m, offsets, weights, begin, end - begin,
                width, unliteral(False), unliteral(ANY), unliteral(IDENTITY), low,
            )  # fmt: skip
            _pad(s, low, ints)
            _along_row(s, to, low, ints, weights, term, onto, early, by)
            onto = True
            term += 1
    if not onto:
        _clear(s, to - ints[T.EXTRA_LEFT] * LANES, _extended(ints, unliteral(True)))
    _fold(s, to, ints)
    if epilogue != IDENTITY and not at_once:
        _fir(
            s, to, unliteral(LANES), to, unliteral(LANES), ints, unliteral(0), weights, unliteral(0), unliteral(0),
            ints[T.WIDE], unliteral(True), unliteral(ANY), epilogue, by,
        )  # fmt: skip


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


@numba.njit(nogil=True, error_model="numpy", inline="always")
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
                _spread_row(x, s, m, group, inputs, up, up_w, i, low, to, offsets, unliteral(IDENTITY), to)
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
                            epilogue = code
                            if mode == ACTIVATION_BACKWARD:
                                epilogue = IDENTITY
                                if code != IDENTITY:
                                    _spread_row(
                                        x, s, m, group, inputs, up, up_w, row, low, other, spare, SLOPE + code, other
                                    )
                                    epilogue = TIMES
                                _spread_row(
                                    grad, s, m, group, grads, lift, lift_w, row, low, high, spare, epilogue, other
                                )
                            else:
                                _spread_row(x, s, m, group, inputs, up, up_w, row, low, high, spare, epilogue, other)
                        _pad(s, high, down)
                    phase = down[down[T.PAIR_CLASS] + pair]
                    begins = down[down[T.CLASS_PTR] + phase]
                    for term in range(begins, down[down[T.CLASS_PTR] + phase + 1]):
                        _along_row(
                            s, here + (term - begins) * ring_stride, high, down, down_w, term,
                            unliteral(False), unliteral(IDENTITY), high,
                        )  # fmt: skip
                # rows of the ring begin EXTRA_LEFT before pixel 0
                line = other if down[T.FOLDS] else to
                extra = down[T.EXTRA_LEFT] * LANES
                _fir(
                    s, line - extra, unliteral(LANES), -extra, unliteral(LANES), m, offsets, down_w, first,
                    last - first, _extended(down, unliteral(False)), unliteral(False), unliteral(ANY),
                    unliteral(IDENTITY), line,
                )  # fmt: skip
                _fold(s, line, down)
                if line != to:
                    _copy(s, to, line, width)
            if not in_pieces:
                _store_pixels(s, to, y, group, out_plane, i * width, width)
            elif mode == SPREAD and to == other:
                _copy(s, out_at + i * width * LANES, other, width)
        if in_pieces:
            _store_pixels(s, out_at, y, group, out_plane, unliteral(0), out_plane)


# what a thread is told: addresses of ten arrays, those of its scratch, how long a thread's part of each is, and numbers
PACKET = ("x", "grad", "y", "where", "up", "up_w", "lift", "lift_w", "down", "down_w")
SCRATCH = len(PACKET)
(MODE, CODE, GROUPS, CHUNKS, THREADS, NEXT_CHUNK, NEXT_THREAD) = range(SCRATCH + 4, SCRATCH + 11)
PACKET_SIZE = NEXT_THREAD + 1


def compiled(storage: Any) -> Any:
    """The kernel for tensors of numbers like `storage` (float32; uint16 for bfloat16), a C function of an address.

    The address is that of a packet; any number of threads may be called with the same and share its work by chunks.
    """
    # Numba keeps compiled code by the date of this file alone; a constant that differs with every source makes it
    # compile anew whenever one of them changes.
    sources = [Path(__file__).with_name(name) for name in ("walk.py", "vectors.py", "tables.py")]
    version = zlib.crc32(b"".join(path.read_bytes() for path in sources))

    @numba.cfunc(types.void(types.intp), nogil=True, cache=True, error_model="numpy")
    def work(address: int) -> None:
        p = pointer(address, _INT)
        thread = next_number(address + 8 * NEXT_THREAD)
        if thread >= p[THREADS] + 0 * version:
            return
        x, grad, y, where = pointer(p[0], storage), pointer(p[1], storage), pointer(p[2], storage), pointer(p[3], _INT)
        up, up_w, lift, lift_w = pointer(p[4], _INT), pointer(p[5], _ZERO), pointer(p[6], _INT), pointer(p[7], _ZERO)
        down, down_w = pointer(p[8], _INT), pointer(p[9], _ZERO)
        s = pointer(p[SCRATCH] + 4 * thread * p[SCRATCH + 1], _ZERO)
        m = pointer(p[SCRATCH + 2] + 8 * thread * p[SCRATCH + 3], _INT)
        while True:
            chunk = next_number(address + 8 * NEXT_CHUNK)
            if chunk >= p[CHUNKS]:
                return
            begin, end = p[GROUPS] * chunk // p[CHUNKS], p[GROUPS] * (chunk + 1) // p[CHUNKS]
            _walk(p[MODE], p[CODE], x, grad, y, where, up, up_w, lift, lift_w, down, down_w, s, m, begin, end)

    return work
