"""Attention of narrow heads on the CPU: 16 queries (or keys) side by side in vector lanes, numbers of a head unrolled.

Blocked products of matrices a few numbers wide leave a processor idle, and so does writing all weights out. Here a
query keeps its numbers in registers and meets the keys one by one, as in Milakov & Gimelshein 2018 (online softmax) and
Dao 2023 (arXiv 2307.08691); weights live in a tile of the innermost cache. Scores are in units of log 2.

Products are made of words: a float32, or two bfloat16 where the processor multiplies those at once (AVX-512 BF16),
with sums in float32 either way. Two numbers of a head share a word in products of queries and keys, two keys (or two
queries) in sums over them.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import llvmlite.binding
import llvmlite.ir as ir
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from aliasfree.ops.backends.cpu.tables import BLOCK, LANES
from aliasfree.ops.backends.cpu.vectors import (
    ACCUMULATORS,
    F32,
    FLOATS,
    I16,
    I32,
    INTS,
    PAIRS,
    VECTOR,
    Expression,
    _address,
    _constant,
    _fma,
    _indices,
    _load,
    _plus,
    _rounded,
    _splat,
    _transposed,
    get,
    larger,
    load,
    mul,
    next_number,
    pointer,
    pointwise,
    product,
    put,
    splat,
    store,
    sub,
    unliteral,
)

# what a thread is told: addresses of six arrays, and numbers
ARRAYS = ("qkv", "grad", "out", "lse", "result", "floats")
(STRIDE, TOKENS, HEADS, PARTS, PLANES, THREADS, NEXT_PLANE, NEXT_THREAD) = range(len(ARRAYS), len(ARRAYS) + 8)
PACKET_SIZE = NEXT_THREAD + 1
KEYS = 64
"""Keys whose scores are held at a time."""
_LOWEST = np.float32(-1e38)
_LN2 = np.float32(math.log(2))
_ZERO, _ONE, _INT = np.float32(0), np.float32(1), np.int64(0)
_PAIR = np.int32(0)

jit = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = numba.njit(nogil=True, error_model="numpy", inline="always")  # else LLVM would compile it twice


def multiplies_pairs() -> bool:
    """Whether compiled code may multiply pairs of bfloat16."""
    chosen = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if chosen != (None, None):  # compiled for another processor than this one
        return "+avx512bf16" in (chosen[1] or "")
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16", False))


def scratch_floats(tokens: int, width: int, backward: bool) -> int:
    """Floats of scratch that one thread needs."""
    matrix = (tokens + LANES) * width
    if backward:
        return 8 * matrix + 2 * tokens + 2 * (LANES + width) * LANES
    return 3 * matrix + (2 * KEYS + width + 2) * LANES


# `words` is an array of float32, or of int32 for pairs: its type tells what a word is. `blank` is a tuple of as many
# numbers as a part of a head has: its type alone counts


def _paired(words: Any) -> bool:
    return bool(words.dtype == types.int32)


def _vectors(words: Any, count: int) -> Any:
    return types.UniTuple(PAIRS if _paired(words) else VECTOR, count)


class _BFloat(ir.types.Type):
    """bfloat16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_BFLOATS = ir.VectorType(_BFloat(), 2 * LANES)


def _plus_product(b: Any, paired: bool, total: Any, x: Any, y: Any) -> Any:
    """total + x y, words multiplied by words."""
    if not paired:
        return _fma(b, x, y, total)
    signature = ir.FunctionType(FLOATS, [FLOATS, _BFLOATS, _BFLOATS])
    multiply = cgutils.get_or_insert_function(b.module, signature, "llvm.x86.avx512bf16.dpbf16ps.512")
    return b.call(multiply, (total, b.bitcast(x, _BFLOATS), b.bitcast(y, _BFLOATS)))


def _word_in_all_lanes(b: Any, array: Any, index: Any) -> Any:
    """array[index] in all lanes."""
    return _splat(b, b.load(b.gep(array, [index]), align=4))


@intrinsic
def per_word(typing: Any, words: Any) -> Any:
    """Numbers in a word: 1 or 2."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), 2 if _paired(sig.args[0]) else 1)

    return types.intp(words), build


def _number(b: Any, element: Any, at: Any) -> Any:
    """What is stored there, as float32."""
    number = b.load(at)
    return number if element == types.float32 else b.bitcast(b.shl(b.zext(number, I32), ir.Constant(I32, 16)), F32)


# written out number by number, because LLVM makes long detours to vectorise loops this short


@intrinsic
def row_product(typing: Any, blank: Any, x: Any, i: Any, y: Any, j: Any) -> Any:
    """sum_c x[i + c] y[j + c]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, x, i, y, j = args
        total = ir.Constant(F32, 0.0)
        for c in range(sig.args[0].count):
            one, other = b.gep(x, [_plus(b, i, c)]), b.gep(y, [_plus(b, j, c)])
            total = b.fadd(total, b.fmul(_number(b, sig.args[1].dtype, one), _number(b, sig.args[3].dtype, other)))
        return total

    return types.float32(blank, x, types.intp, y, types.intp), build


@intrinsic
def write_row(typing: Any, blank: Any, x: Any, index: Any, s: Any, at: Any, stride: Any, factor: Any) -> Any:
    """x[index + c] = factor s[at + c stride], rounded to what x holds."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, x, index, s, at, stride, factor = args
        for c in range(sig.args[0].count):
            number = b.fmul(b.load(b.gep(s, [at])), factor)
            b.store(
                number if sig.args[1].dtype == types.float32 else _rounded(b, number), b.gep(x, [_plus(b, index, c)])
            )
            at = b.add(at, stride)
        return context.get_dummy_value()

    return types.void(blank, x, types.intp, s, types.intp, types.intp, types.float32), build


@intrinsic
def set_words(typing: Any, blank: Any, words: Any, to: Any, stride: Any, x: Any, index: Any, factor: Any) -> Any:
    """words[to + i stride] = factor x[index + i]; or the pairs x[index + 2 i], x[index + 2 i + 1] as they are."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, target, to, stride, source, index, factor = args
        paired = _paired(sig.args[1])
        for i in range(0, sig.args[0].count, 2 if paired else 1):
            at = b.gep(source, [_plus(b, index, i)])
            if paired:
                word = b.load(b.bitcast(at, I32.as_pointer()), align=2)
            else:
                word = b.fmul(_number(b, sig.args[4].dtype, at), factor)
            b.store(word, b.gep(target, [to]))
            to = b.add(to, stride)
        return context.get_dummy_value()

    return types.void(blank, words, types.intp, types.intp, x, types.intp, types.float32), build


@intrinsic
def set_steps(typing: Any, blank: Any, words: Any, to: Any, x: Any, index: Any, row: Any) -> Any:
    """words[to + i] = x[index + i]; or the pairs x[index + i], x[index + row + i]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, target, to, source, index, row = args
        for i in range(sig.args[0].count):
            at = b.gep(source, [_plus(b, index, i)])
            if _paired(sig.args[1]):
                above = b.gep(source, [b.add(_plus(b, index, i), row)])
                word = b.or_(b.shl(b.zext(b.load(above), I32), ir.Constant(I32, 16)), b.zext(b.load(at), I32))
            else:
                word = _number(b, sig.args[3].dtype, at)
            b.store(word, b.gep(target, [_plus(b, to, i)]))
        return context.get_dummy_value()

    return types.void(blank, words, types.intp, x, types.intp, types.intp), build


@intrinsic
def columns(typing: Any, blank: Any, array: Any, index: Any, stride: Any) -> Any:
    """The vectors array[index + i stride], i over `blank`; of words over as many as hold its numbers."""
    count = -(-blank.count // 2) if _paired(array) else blank.count

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, array, index, stride = args
        out = []
        for _ in range(count):
            out.append(_load(b, _address(b, sig.args[1], array, index), sig.args[1].dtype))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return _vectors(array, count)(blank, array, types.intp, types.intp), build


@intrinsic
def tile(typing: Any, array: Any, index: Any) -> Any:
    """The vectors of BLOCK weights from array[index], packed into words."""
    count = BLOCK // 2 if _paired(array) else BLOCK

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        out = [
            _load(b, _address(b, sig.args[0], array, _plus(b, index, LANES * i)), sig.args[0].dtype)
            for i in range(count)
        ]
        return context.make_tuple(b, sig.return_type, out)

    return _vectors(array, count)(array, types.intp), build


@intrinsic
def splats(typing: Any, array: Any, index: Any) -> Any:
    """BLOCK vectors, array[index + g] in all lanes of the g-th."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        out = [_word_in_all_lanes(b, array, _plus(b, index, g)) for g in range(BLOCK)]
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(array, types.intp), build


@intrinsic
def dot(typing: Any, start: Any, vectors: Any, array: Any, index: Any, stride: Any) -> Any:
    """start[g] + sum_i vectors[i] array[index + g stride + i]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start, vectors, array, index, stride = args
        totals = [b.extract_value(start, g) for g in range(BLOCK)]
        rows = [index]
        for _ in range(BLOCK - 1):
            rows.append(b.add(rows[-1], stride))
        for i in range(sig.args[1].count):
            x = b.extract_value(vectors, i)
            for g in range(BLOCK):
                word = _word_in_all_lanes(b, array, _plus(b, rows[g], i))
                totals[g] = _plus_product(b, _paired(sig.args[2]), totals[g], x, word)
        return context.make_tuple(b, sig.return_type, totals)

    return ACCUMULATORS(ACCUMULATORS, vectors, array, types.intp, types.intp), build


@intrinsic
def onto(typing: Any, vectors: Any, weights: Any, array: Any, index: Any, stride: Any) -> Any:
    """vectors[i] + sum_k weights[k] array[index + k stride + i]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vectors, weights, array, index, stride = args
        out = [b.extract_value(vectors, i) for i in range(sig.args[0].count)]
        for k in range(sig.args[1].count):
            weight = b.extract_value(weights, k)
            for i in range(len(out)):
                word = _word_in_all_lanes(b, array, _plus(b, index, i))
                out[i] = _plus_product(b, _paired(sig.args[2]), out[i], weight, word)
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return vectors(vectors, weights, array, types.intp, types.intp), build


@intrinsic
def scaled(typing: Any, vectors: Any, factor: Any) -> Any:
    """vectors[i] factor"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vectors, factor = args
        out = [b.fmul(b.extract_value(vectors, i), factor) for i in range(sig.args[0].count)]
        return context.make_tuple(b, sig.return_type, out)

    return vectors(vectors, VECTOR), build


@intrinsic
def largest(typing: Any, vectors: Any) -> Any:
    """The largest of BLOCK vectors, lane by lane; what is NaN is passed over."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        values = [b.extract_value(args[0], g) for g in range(BLOCK)]
        while len(values) > 1:
            values = [b.select(b.fcmp_ordered(">", x, y), x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    return VECTOR(ACCUMULATORS), build


@intrinsic
def weights(typing: Any, scores: Any, shifts: Any, factor: Any, words: Any) -> Any:
    """2^(factor score - shift); of words that are floats, whose factor is in them already, 2^(score - shift)."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        scores, shifts = (Expression(b, [b.extract_value(x, g) for g in range(BLOCK)]) for x in args[:2])
        if _paired(sig.args[3]):
            power = _exp2(scores.times_plus(Expression(b, [args[2]] * BLOCK), -shifts), _EXP2_COARSE)
        else:
            power = _exp2(scores - shifts, _EXP2)
        return context.make_tuple(b, sig.return_type, power.values)

    return ACCUMULATORS(ACCUMULATORS, ACCUMULATORS, VECTOR, words), build


@intrinsic
def packed(typing: Any, vectors: Any, words: Any) -> Any:
    """BLOCK vectors as words: as they are, or rounded and two of them side by side."""
    paired = _paired(words)

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if not paired:
            return args[0]
        half, upper = _constant(INTS, 0x8000), _constant(INTS, -0x10000)
        bits = [b.add(b.bitcast(b.extract_value(args[0], g), INTS), half) for g in range(BLOCK)]
        out = [
            b.or_(b.lshr(x, _constant(INTS, 16)), b.and_(y, upper)) for x, y in zip(bits[::2], bits[1::2], strict=True)
        ]
        return context.make_tuple(b, sig.return_type, out)

    return _vectors(words, BLOCK // 2 if paired else BLOCK)(vectors, words), build


@intrinsic
def with_sum(typing: Any, total: Any, weights: Any) -> Any:
    """total + the numbers of all words"""
    paired = weights.dtype == PAIRS

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        values = [b.extract_value(args[1], k) for k in range(sig.args[1].count)]
        total = args[0]
        if paired:
            for x in values:
                total = _plus_product(b, True, total, x, _constant(INTS, 0x3F803F80))  # two ones
            return total
        while len(values) > 1:
            values = [b.fadd(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
        return b.fadd(total, values[0])

    return VECTOR(VECTOR, weights), build


@intrinsic
def mirrored(typing: Any, array: Any, index: Any) -> Any:
    """The tile of words from array[index], of LANES x LANES numbers, transposed.

    Of pairs, word (i, j) in vector i and lane j holds numbers (2i, j) and (2i + 1, j) of the tile; of the result
    (j, 2i) and (j, 2i + 1).
    """
    paired = _paired(array)
    count = LANES // 2 if paired else LANES

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        rows = [
            _load(b, _address(b, sig.args[0], array, _plus(b, index, LANES * i)), sig.args[0].dtype)
            for i in range(count)
        ]
        if paired:
            shorts, longs = ir.VectorType(I16, 2 * LANES), ir.VectorType(ir.IntType(64), LANES // 2)
            swap = np.arange(2 * LANES).reshape(-1, 2, 2).swapaxes(1, 2).ravel()  # within two words
            nothing = ir.Constant(shorts, ir.Undefined)
            rows = [b.shuffle_vector(b.bitcast(row, shorts), nothing, _indices(swap)) for row in rows]
            rows = [b.bitcast(row, INTS) for row in _transposed(b, [b.bitcast(row, longs) for row in rows])]
        else:
            rows = _transposed(b, rows)
        return context.make_tuple(b, sig.return_type, rows)

    return _vectors(array, count)(array, types.intp), build


_ROUND = 1.5 * 2.0**23
"""Added to a small float32, it leaves the nearest integer in the lowest bits."""


def _exp2(u: Expression, coefficients: tuple[float, ...]) -> Expression:
    """2^u for u at most a little above 0; 2^-126 for all below that; NaN stays.

    A polynomial on [-1/2, 1/2], fitted here.
    """
    b = u.b
    u = u.where_less(-126.0, -126.0)
    shifted = u + _ROUND
    power = (u - (shifted - _ROUND)).polynomial(coefficients)

    def scaled_by(power: Any, shifted: Any) -> Any:
        exponent = b.shl(b.bitcast(shifted, INTS), _constant(INTS, 23))
        return b.bitcast(b.add(b.bitcast(power, INTS), exponent), FLOATS)

    return power.each(scaled_by, shifted)


# least largest relative error (Lawson iteration): 1.4e-7 in float32, and 7.5e-5, which bfloat16 does not see
_EXP2 = (1.0000001192, 0.693146944, 0.2402212024, 0.0555071309, 0.0096755419, 0.0013276471)
_EXP2_COARSE = (0.99992807, 0.69326099, 0.24261112, 0.05517167)
exp2 = pointwise(lambda u: _exp2(u, _EXP2))
inverse = pointwise(lambda u: u.constant(1.0) / u)


@jit
def _rows(
    blank: Any, parts: int, x: Any, base: int, row: int, tokens: int, w: Any, at: int, stride: int, step: int,
    factor: float,
) -> None:  # fmt: skip
    """Words of numbers of one token: w[at + step l + stride i] = factor x[base + row l + i], or of pairs of i."""
    part, some = len(blank), len(blank) // per_word(w)
    for token in range(tokens):
        for p in range(parts):
            to = at + token * step + p * some * stride
            set_words(blank, w, to, stride, x, base + token * row + p * part, factor)


@jit
def _steps(blank: Any, parts: int, x: Any, base: int, row: int, tokens: int, w: Any, at: int) -> None:
    """Words of tokens one after the other: w[at + width l + i] = x[base + row l + i], or of pairs of l."""
    part, per = len(blank), per_word(w)
    for step in range(tokens // per):
        for p in range(parts):
            set_steps(blank, w, at + (step * parts + p) * part, x, base + per * step * row + p * part, row)


@inlined
def _forward(
    blank: Any, parts: int, qkv: Any, out: Any, lse: Any, plane: int, tokens: int, heads: int, s: Any, w: Any
) -> None:  # fmt: skip
    """One head of one image: out (N, L, H d) and lse (N, H, L) = log2 sum 2^scores."""
    per, part = per_word(w), len(blank)
    width = part * parts
    count, channels, pitch = width // per, heads * width, tokens + LANES
    image, head = plane // heads, plane % heads
    base = image * tokens * 3 * channels + head * width
    factor = np.float32(1.0 / (math.sqrt(width) * _LN2))
    queries, keys, values, scores = 0, pitch * width, 2 * pitch * width, 3 * pitch * width
    tiles, sums, rest = scores + KEYS * LANES, scores + 2 * KEYS * LANES, scores + (2 * KEYS + width) * LANES
    row, one = 3 * channels, unliteral(1)
    # one below the other `pitch` apart, because powers of 2 would put all into one set of the cache
    _rows(blank, parts, qkv, base, row, tokens, w, queries, pitch, one, factor)
    _rows(blank, parts, qkv, base + channels, row, tokens, w, keys, one, count, _ONE)
    _steps(blank, parts, qkv, base + 2 * channels, row, tokens, w, values)
    if per == 1:
        factor = _ONE  # the queries have it
    zero, factors = splat(_ZERO), splat(factor)
    for i in range(0, tokens, LANES):
        top, total = splat(_LOWEST), zero
        for c in range(width):
            store(s, sums + c * LANES, zero)
        for first in range(0, tokens, KEYS):
            n = min(KEYS, tokens - first)
            before = top
            for j in range(0, n, BLOCK):
                v = (zero, zero, zero, zero)
                for p in range(parts):
                    at = p * (part // per)
                    q = columns(blank, w, queries + i + at * pitch, pitch)
                    v = dot(v, q, w, keys + (first + j) * count + at, count)
                put(s, scores + j * LANES, LANES, v)
                top = larger(largest(v), top)
            shift = mul(top, factors)
            shrink = exp2(sub(mul(before, factors), shift))
            total = mul(total, shrink)
            for j in range(0, n, BLOCK):
                v = get(s, scores + j * LANES, LANES)
                words = packed(weights(v, (shift, shift, shift, shift), factors, w), w)
                total = with_sum(total, words)
                put(w, tiles + j // per * LANES, LANES, words)
            for p in range(parts):
                here = sums + p * part * LANES
                sum_ = scaled(columns(blank, s, here, LANES), shrink)
                for j in range(0, n, BLOCK):
                    words = tile(w, tiles + j // per * LANES)
                    sum_ = onto(sum_, words, w, values + (first + j) // per * width + p * part, width)
                put(s, here, LANES, sum_)
        divisor = inverse(total)
        for c in range(width):
            store(s, sums + c * LANES, mul(load(s, sums + c * LANES), divisor))
        for lane in range(LANES):
            to = (image * tokens + i + lane) * channels + head * width
            for p in range(parts):
                write_row(blank, out, to + p * part, s, sums + p * part * LANES + lane, LANES, _ONE)
        store(s, rest, mul(top, factors))
        store(s, rest + LANES, total)
        for lane in range(LANES):
            lse[plane * tokens + i + lane] = s[rest + lane] + np.float32(math.log2(s[rest + LANES + lane]))


@inlined
def _backward(
    blank: Any, parts: int, qkv: Any, grad: Any, out: Any, lse: Any, result: Any, plane: int, tokens: int, heads: int,
    s: Any, w: Any,
) -> None:  # fmt: skip
    """One head of one image: result (N, L, 3, H, d), the gradient of qkv, from grad (N, L, H d)."""
    per, part = per_word(w), len(blank)
    width = part * parts
    count, channels, pitch = width // per, heads * width, tokens + LANES
    image, head = plane // heads, plane % heads
    base = image * tokens * 3 * channels + head * width
    base_out = image * tokens * channels + head * width
    scale = np.float32(1.0 / math.sqrt(width))
    factor, size = scale / _LN2, pitch * width
    queries, grads, keys, values, key_steps, to_queries = 0, size, 2 * size, 3 * size, 4 * size, 5 * size
    query_steps, grad_steps = 6 * size, 7 * size
    norms, deltas = 8 * size, 8 * size + tokens
    tiles = 8 * size + 2 * tokens
    slopes = tiles + LANES * LANES
    to_keys = slopes + LANES * LANES
    to_values = to_keys + width * LANES
    zero, row, one = splat(_ZERO), 3 * channels, unliteral(1)
    _rows(blank, parts, qkv, base, row, tokens, w, queries, one, count, factor)
    _rows(blank, parts, grad, base_out, channels, tokens, w, grads, one, count, _ONE)
    _rows(blank, parts, qkv, base + channels, row, tokens, w, keys, pitch, one, _ONE)
    _rows(blank, parts, qkv, base + 2 * channels, row, tokens, w, values, pitch, one, _ONE)
    _steps(blank, parts, qkv, base + channels, row, tokens, w, key_steps)
    if per == 1:
        query_steps, grad_steps = queries, grads
    else:
        _steps(blank, parts, qkv, base, row, tokens, w, query_steps)
        _steps(blank, parts, grad, base_out, channels, tokens, w, grad_steps)
    for token in range(tokens):
        total, at = _ZERO, base_out + token * channels
        for p in range(parts):
            total += row_product(blank, grad, at + p * part, out, at + p * part)
        s[deltas + token] = -total
        s[norms + token] = lse[plane * tokens + token]
    for at in range(to_queries, to_queries + size, LANES):
        store(s, at, zero)
    factors = splat(factor)
    to_key_factor = _LN2 if per == 1 else scale
    for j in range(0, tokens, LANES):
        for c in range(width):
            store(s, to_keys + c * LANES, zero)
            store(s, to_values + c * LANES, zero)
        for i in range(0, tokens, LANES):
            for r in range(0, LANES, BLOCK):
                v, slope = (zero, zero, zero, zero), splats(s, deltas + i + r)
                for p in range(parts):
                    at = p * (part // per)
                    down, across = j + at * pitch, (i + r) * count + at
                    v = dot(v, columns(blank, w, keys + down, pitch), w, queries + across, count)
                    slope = dot(slope, columns(blank, w, values + down, pitch), w, grads + across, count)
                v = weights(v, splats(s, norms + i + r), factors, w)
                put(w, tiles + r // per * LANES, LANES, packed(v, w))
                put(w, slopes + r // per * LANES, LANES, packed(product(v, slope), w))
            turned = mirrored(w, slopes)
            for p in range(parts):
                to, here = p * part * LANES, i // per * width + p * part
                sums = columns(blank, s, to_values + to, LANES)
                for r in range(0, LANES, BLOCK):
                    rows = grad_steps + here + r // per * width
                    sums = onto(sums, tile(w, tiles + r // per * LANES), w, rows, width)
                put(s, to_values + to, LANES, sums)
                sums = columns(blank, s, to_keys + to, LANES)
                for r in range(0, LANES, BLOCK):
                    rows = query_steps + here + r // per * width
                    sums = onto(sums, tile(w, slopes + r // per * LANES), w, rows, width)
                put(s, to_keys + to, LANES, sums)
                to = to_queries + i + p * part * pitch
                sums = columns(blank, s, to, pitch)
                sums = onto(sums, turned, w, key_steps + j // per * width + p * part, width)
                put(s, to, pitch, sums)
        for lane in range(LANES):
            for p in range(parts):
                to, here = base + (j + lane) * row + p * part, p * part * LANES + lane
                write_row(blank, result, to + channels, s, to_keys + here, LANES, to_key_factor)
                write_row(blank, result, to + 2 * channels, s, to_values + here, LANES, _ONE)
    for token in range(tokens):
        for p in range(parts):
            here = to_queries + p * part * pitch + token
            write_row(blank, result, base + token * row + p * part, s, here, pitch, scale)


def compiled(part: int, storage: Any, paired: bool, backward: bool) -> Any:
    """The kernel for heads of multiples of `part` numbers, a C function of a packet's address (`walk.compiled`).

    storage  float32 or uint16 (for bfloat16), of qkv, grad, out and result
    paired   multiply pairs of bfloat16; `part` must be even
    """
    sources = [Path(__file__).with_name(name) for name in ("attention_kernels.py", "vectors.py", "tables.py")]
    version = zlib.crc32(b"".join(path.read_bytes() for path in sources))
    blank = (np.float32(0),) * part
    word = _PAIR if paired else _ZERO

    @numba.cfunc(types.void(types.intp), nogil=True, cache=True, error_model="numpy")
    def work(address: int) -> None:
        p = pointer(address, _INT)
        thread = next_number(address + 8 * NEXT_THREAD)
        if thread >= p[THREADS] + 0 * version:
            return
        qkv, grad, out = pointer(p[0], storage), pointer(p[1], storage), pointer(p[2], storage)
        lse, result = pointer(p[3], _ZERO), pointer(p[4], storage)
        scratch = p[5] + 4 * thread * p[STRIDE]
        s, w = pointer(scratch, _ZERO), pointer(scratch, word)
        while True:
            plane = next_number(address + 8 * NEXT_PLANE)
            if plane >= p[PLANES]:
                return
            if backward:
                _backward(blank, p[PARTS], qkv, grad, out, lse, result, plane, p[TOKENS], p[HEADS], s, w)
            else:
                _forward(blank, p[PARTS], qkv, out, lse, plane, p[TOKENS], p[HEADS], s, w)

    return work
