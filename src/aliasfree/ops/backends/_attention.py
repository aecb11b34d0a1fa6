"""Attention of narrow heads on the CPU: 16 queries (or keys) side by side in vector lanes, numbers of a head unrolled.

Blocked products of matrices a few numbers wide leave a processor idle, and so does writing all weights out. Here a
query keeps its numbers in registers and meets the keys one by one, as in Milakov & Gimelshein 2018 (online softmax) and
Dao 2023 (arXiv 2307.08691); weights live in a tile of the innermost cache. Scores are in units of log 2.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import llvmlite.ir as ir
import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from aliasfree.ops.backends._vectors import (
    FLOATS,
    INTS,
    VECTOR,
    Expression,
    _address,
    _constant,
    _fma,
    _load,
    _splat,
    _store,
    _transposed,
    add,
    larger,
    load,
    mul,
    next_number,
    pointer,
    pointwise,
    splat,
    store,
    sub,
)
from aliasfree.ops.backends.tables import LANES

# what a thread is told: addresses and lengths of six arrays, and numbers
ARRAYS = ("qkv", "grad", "out", "lse", "result", "floats")
(TOKENS, HEADS, SCALE, BACKWARD, PLANES, THREADS, NEXT_PLANE, NEXT_THREAD) = range(2 * len(ARRAYS), 2 * len(ARRAYS) + 8)
PACKET_SIZE = NEXT_THREAD + 1
KEYS = 64
"""Keys whose scores are held at a time."""
_LOWEST = np.float32(-1e38)
_LN2 = np.float32(math.log(2))
_ZERO, _ONE, _INT = np.float32(0), np.float32(1), np.int64(0)

jit = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def scratch_floats(tokens: int, width: int, backward: bool) -> int:
    """Floats of scratch that one thread needs."""
    return (
        6 * tokens * width + 2 * tokens + 2 * LANES * LANES if backward else 3 * tokens * width + (KEYS + width) * LANES
    )


# `blank` is a tuple of as many numbers as a head has: its type alone counts


def _columns_type(blank: Any) -> Any:
    return types.UniTuple(VECTOR, blank.count)


@intrinsic
def columns(typing: Any, blank: Any, array: Any, index: Any, stride: Any) -> Any:
    """The vectors array[index + i stride], i over the numbers of a head."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, array, index, stride = args
        out = []
        for _ in range(sig.args[0].count):
            out.append(_load(b, _address(context, b, sig.args[1], array, index), types.float32))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return _columns_type(blank)(blank, array, types.intp, types.intp), build


@intrinsic
def zeros(typing: Any, blank: Any) -> Any:
    """Vectors of zeros."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return context.make_tuple(b, sig.return_type, [_constant(FLOATS, 0.0)] * sig.args[0].count)

    return _columns_type(blank)(blank), build


@intrinsic
def put(typing: Any, array: Any, index: Any, stride: Any, vectors: Any) -> Any:
    """array[index + i stride] = vectors[i]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride, vectors = args
        for i in range(sig.args[3].count):
            _store(b, b.extract_value(vectors, i), _address(context, b, sig.args[0], array, index), types.float32)
            index = b.add(index, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), build


def _number(context: Any, b: Any, array_type: Any, array: Any, index: Any, i: int) -> Any:
    """array[index + i] in all lanes."""
    data = context.make_array(array_type)(context, b, array).data
    at = b.gep(data, [b.add(index, ir.Constant(index.type, i))])
    return _splat(b, b.load(at, align=4))


@intrinsic
def dot(typing: Any, vectors: Any, array: Any, index: Any) -> Any:
    """sum_i vectors[i] array[index + i]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vectors, array, index = args
        total = b.fmul(b.extract_value(vectors, 0), _number(context, b, sig.args[1], array, index, 0))
        for i in range(1, sig.args[0].count):
            total = _fma(b, b.extract_value(vectors, i), _number(context, b, sig.args[1], array, index, i), total)
        return total

    return VECTOR(vectors, array, types.intp), build


@intrinsic
def onto(typing: Any, vectors: Any, weight: Any, array: Any, index: Any) -> Any:
    """vectors[i] + weight array[index + i]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vectors, weight, array, index = args
        out = [
            _fma(b, weight, _number(context, b, sig.args[2], array, index, i), b.extract_value(vectors, i))
            for i in range(sig.args[0].count)
        ]
        return context.make_tuple(b, sig.return_type, out)

    return vectors(vectors, VECTOR, array, types.intp), build


@intrinsic
def scaled(typing: Any, vectors: Any, factor: Any) -> Any:
    """vectors[i] factor"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vectors, factor = args
        out = [b.fmul(b.extract_value(vectors, i), factor) for i in range(sig.args[0].count)]
        return context.make_tuple(b, sig.return_type, out)

    return vectors(vectors, VECTOR), build


@intrinsic
def mirror(typing: Any, array: Any, index: Any) -> Any:
    """Transpose the 16 x 16 numbers from array[index], in place."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        places = [
            _address(context, b, sig.args[0], array, b.add(index, ir.Constant(index.type, LANES * i)))
            for i in range(LANES)
        ]
        for row, place in zip(_transposed(b, [_load(b, p, types.float32) for p in places]), places, strict=True):
            _store(b, row, place, types.float32)
        return context.get_dummy_value()

    return types.void(array, types.intp), build


_ROUND = 1.5 * 2.0**23
"""Added to a small float32, it leaves the nearest integer in the lowest bits."""


def _exp2(u: Expression) -> Expression:
    """2^u for u at most a little above 0; 2^-126 for all below that; NaN stays.

    A polynomial of degree 5 on [-1/2, 1/2], fitted here; 2e-7 relative at most.
    """
    b = u.b
    u = u.where_less(-126.0, -126.0)
    shifted = u + _ROUND
    part = Expression(b, b.fsub(u.value, (shifted + -_ROUND).value))
    value = part.polynomial(_EXP2)
    exponent = b.shl(b.bitcast(shifted.value, INTS), _constant(INTS, 23))
    return Expression(b, b.bitcast(b.add(b.bitcast(value.value, INTS), exponent), FLOATS))


# least largest relative error (Lawson iteration): 1.4e-7
_EXP2 = (1.0000001192, 0.693146944, 0.2402212024, 0.0555071309, 0.0096755419, 0.0013276471)
exp2 = pointwise(_exp2)
inverse = pointwise(lambda u: u.constant(1.0) / u)


@jit
def _rows(x: Any, base: int, row: int, tokens: int, width: int, s: Any, at: int, factor: float) -> None:
    """s[at + width l + i] = factor x[base + row l + i]"""
    for token in range(tokens):
        for i in range(width):
            s[at + token * width + i] = factor * x[base + token * row + i]


@jit
def _turned(x: Any, base: int, row: int, tokens: int, width: int, s: Any, at: int, factor: float) -> None:
    """s[at + tokens i + l] = factor x[base + row l + i]"""
    for token in range(tokens):
        for i in range(width):
            s[at + tokens * i + token] = factor * x[base + token * row + i]


@jit
def _forward(
    blank: Any, qkv: Any, out: Any, lse: Any, plane: int, tokens: int, heads: int, scale: float, s: Any
) -> None:
    """One head of one image: out (N, L, H d) and lse (N, H, L) = log2 sum 2^scores."""
    width = len(blank)
    channels = heads * width
    image, head = plane // heads, plane % heads
    base = image * tokens * 3 * channels + head * width
    keys, values, queries, scores = 0, tokens * width, 2 * tokens * width, 3 * tokens * width
    spill = scores + KEYS * LANES
    _turned(qkv, base, 3 * channels, tokens, width, s, queries, scale / _LN2)
    _rows(qkv, base + channels, 3 * channels, tokens, width, s, keys, _ONE)
    _rows(qkv, base + 2 * channels, 3 * channels, tokens, width, s, values, _ONE)
    for i in range(0, tokens, LANES):
        q = columns(blank, s, queries + i, tokens)
        top, total, sums = splat(_LOWEST), splat(_ZERO), zeros(blank)
        for first in range(0, tokens, KEYS):
            last = min(first + KEYS, tokens)
            before = top
            at = scores
            for j in range(first, last):
                v = dot(q, s, keys + j * width)
                store(s, at, v)
                top = larger(v, top)
                at += LANES
            shrink = exp2(sub(before, top))
            total, sums = mul(total, shrink), scaled(sums, shrink)
            at = scores
            for j in range(first, last):
                p = exp2(sub(load(s, at), top))
                total = add(total, p)
                sums = onto(sums, p, s, values + j * width)
                at += LANES
        put(s, spill, LANES, scaled(sums, inverse(total)))
        for lane in range(LANES):
            to = (image * tokens + i + lane) * channels + head * width
            for c in range(width):
                out[to + c] = s[spill + c * LANES + lane]
        store(s, spill, top)
        store(s, scores, total)
        for lane in range(LANES):
            lse[plane * tokens + i + lane] = s[spill + lane] + np.float32(math.log2(s[scores + lane]))


@jit
def _backward(
    blank: Any, qkv: Any, grad: Any, out: Any, lse: Any, result: Any, plane: int, tokens: int, heads: int,
    scale: float, s: Any,
) -> None:  # fmt: skip
    """One head of one image: result (N, L, 3, H, d), the gradient of qkv, from grad (N, L, H d)."""
    width = len(blank)
    channels = heads * width
    image, head = plane // heads, plane % heads
    base = image * tokens * 3 * channels + head * width
    base_out = image * tokens * channels + head * width
    size = tokens * width
    queries, grads, keys, keys_turned, values_turned, to_queries = 0, size, 2 * size, 3 * size, 4 * size, 5 * size
    norms, deltas, weights = 6 * size, 6 * size + tokens, 6 * size + 2 * tokens
    slopes = weights + LANES * LANES
    _rows(qkv, base, 3 * channels, tokens, width, s, queries, scale / _LN2)
    _rows(grad, base_out, channels, tokens, width, s, grads, _ONE)
    _rows(qkv, base + channels, 3 * channels, tokens, width, s, keys, _ONE)
    _turned(qkv, base + channels, 3 * channels, tokens, width, s, keys_turned, _ONE)
    _turned(qkv, base + 2 * channels, 3 * channels, tokens, width, s, values_turned, _ONE)
    for token in range(tokens):
        total = _ZERO
        for c in range(width):
            total += s[grads + token * width + c] * out[base_out + token * channels + c]
            s[to_queries + token * width + c] = _ZERO
        s[deltas + token] = total
        s[norms + token] = lse[plane * tokens + token]
    for j in range(0, tokens, LANES):
        to_keys, to_values = zeros(blank), zeros(blank)
        for i in range(0, tokens, LANES):
            k = columns(blank, s, keys_turned + j, tokens)
            for r in range(LANES):
                score = dot(k, s, queries + (i + r) * width)
                store(s, weights + r * LANES, exp2(sub(score, splat(s[norms + i + r]))))
            v = columns(blank, s, values_turned + j, tokens)
            for r in range(LANES):
                slope = sub(dot(v, s, grads + (i + r) * width), splat(s[deltas + i + r]))
                store(s, slopes + r * LANES, mul(load(s, weights + r * LANES), slope))
            for r in range(LANES):
                to_values = onto(to_values, load(s, weights + r * LANES), s, grads + (i + r) * width)
            for r in range(LANES):
                to_keys = onto(to_keys, load(s, slopes + r * LANES), s, queries + (i + r) * width)
            mirror(s, slopes)
            to_query = columns(blank, s, to_queries + i, tokens)
            for r in range(LANES):
                to_query = onto(to_query, load(s, slopes + r * LANES), s, keys + (j + r) * width)
            put(s, to_queries + i, tokens, to_query)
        put(s, keys_turned + j, tokens, scaled(to_keys, splat(_LN2)))  # no longer needed themselves
        put(s, values_turned + j, tokens, to_values)
    for token in range(tokens):
        to = base + token * 3 * channels
        for c in range(width):
            result[to + c] = scale * s[to_queries + c * tokens + token]
            result[to + channels + c] = s[keys_turned + c * tokens + token]
            result[to + 2 * channels + c] = s[values_turned + c * tokens + token]


def compiled(width: int) -> Any:
    """The kernel for heads of `width` numbers, a C function of the address of a packet (see `_kernels.compiled`)."""
    sources = [Path(__file__).with_name(name) for name in ("_attention.py", "_vectors.py")]
    version = zlib.crc32(b"".join(path.read_bytes() for path in sources))
    blank = (np.float32(0),) * width

    @numba.cfunc(types.void(types.intp), nogil=True, cache=True, error_model="numpy")
    def work(address: int) -> None:
        p = numba.carray(pointer(address, _INT), PACKET_SIZE + 0 * version)
        thread = next_number(address + 8 * NEXT_THREAD)
        if thread >= p[THREADS]:
            return
        qkv, grad = numba.carray(pointer(p[0], _ZERO), p[1]), numba.carray(pointer(p[2], _ZERO), p[3])
        out, lse = numba.carray(pointer(p[4], _ZERO), p[5]), numba.carray(pointer(p[6], _ZERO), p[7])
        result = numba.carray(pointer(p[8], _ZERO), p[9])
        s = numba.carray(pointer(p[10] + 4 * thread * p[11], _ZERO), p[11])
        scale = np.float32(1.0 / math.sqrt(len(blank)))
        while True:
            plane = next_number(address + 8 * NEXT_PLANE)
            if plane >= p[PLANES]:
                return
            if p[BACKWARD]:
                _backward(blank, qkv, grad, out, lse, result, plane, p[TOKENS], p[HEADS], scale, s)
            else:
                _forward(blank, qkv, out, lse, plane, p[TOKENS], p[HEADS], scale, s)

    return work
