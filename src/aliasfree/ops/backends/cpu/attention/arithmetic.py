"""What attention computes with: words, each a float32 or two bfloat16, and their products summed in float32.

Two bfloat16 are multiplied at once where the processor can (AVX-512 BF16). Two numbers of a head share a word in
products of queries and keys; two keys (or two queries) share one in sums over them.

`words` is an array of float32, or of int32 for pairs: its type tells what a word is. `blank` is a tuple of as many
numbers as a part of a head has; only its type is used.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import llvmlite.ir as ir
import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from aliasfree.ops.backends.cpu.simd import llvm
from aliasfree.ops.backends.cpu.simd.expressions import Expression
from aliasfree.ops.backends.cpu.simd.functions import EXP2, EXP2_COARSE, power_of_2
from aliasfree.ops.backends.cpu.simd.layout import BLOCK, LANES
from aliasfree.ops.backends.cpu.simd.vectors import ACCUMULATORS, PAIRS, VECTOR


def multiplies_pairs() -> bool:
    """Whether compiled code may multiply pairs of bfloat16."""
    chosen = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if chosen != (None, None):  # compiled for another processor than this one
        return "+avx512bf16" in (chosen[1] or "")
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16", False))


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
        return llvm.fma(b, x, y, total)
    signature = ir.FunctionType(llvm.FLOATS, [llvm.FLOATS, _BFLOATS, _BFLOATS])
    multiply = cgutils.get_or_insert_function(b.module, signature, "llvm.x86.avx512bf16.dpbf16ps.512")
    return b.call(multiply, (total, b.bitcast(x, _BFLOATS), b.bitcast(y, _BFLOATS)))


def _word_in_all_lanes(b: Any, array: Any, index: Any) -> Any:
    """array[index] in all lanes."""
    return llvm.splat(b, b.load(b.gep(array, [index]), align=4))


@intrinsic
def per_word(typing: Any, words: Any) -> Any:
    """Numbers in a word: 1 or 2."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), 2 if _paired(sig.args[0]) else 1)

    return types.intp(words), build


def _number(b: Any, element: Any, at: Any) -> Any:
    """What is stored there, as float32."""
    number = b.load(at)
    if element == types.float32:
        return number
    return b.bitcast(b.shl(b.zext(number, llvm.I32), ir.Constant(llvm.I32, 16)), llvm.F32)


# written out number by number, because LLVM makes long detours to vectorise loops this short


@intrinsic
def row_product(typing: Any, blank: Any, x: Any, i: Any, y: Any, j: Any) -> Any:
    """sum_c x[i + c] y[j + c]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, x, i, y, j = args
        total = ir.Constant(llvm.F32, 0.0)
        for c in range(sig.args[0].count):
            one, other = b.gep(x, [llvm.plus(b, i, c)]), b.gep(y, [llvm.plus(b, j, c)])
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
                number if sig.args[1].dtype == types.float32 else llvm.rounded(b, number),
                b.gep(x, [llvm.plus(b, index, c)]),
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
            at = b.gep(source, [llvm.plus(b, index, i)])
            if paired:
                word = b.load(b.bitcast(at, llvm.I32.as_pointer()), align=2)
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
            at = b.gep(source, [llvm.plus(b, index, i)])
            if _paired(sig.args[1]):
                above = b.gep(source, [b.add(llvm.plus(b, index, i), row)])
                word = b.or_(
                    b.shl(b.zext(b.load(above), llvm.I32), ir.Constant(llvm.I32, 16)), b.zext(b.load(at), llvm.I32)
                )
            else:
                word = _number(b, sig.args[3].dtype, at)
            b.store(word, b.gep(target, [llvm.plus(b, to, i)]))
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
            out.append(llvm.load(b, sig.args[1], array, index))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return _vectors(array, count)(blank, array, types.intp, types.intp), build


@intrinsic
def tile(typing: Any, array: Any, index: Any) -> Any:
    """The vectors of BLOCK weights from array[index], packed into words."""
    count = BLOCK // 2 if _paired(array) else BLOCK

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        out = [llvm.load(b, sig.args[0], array, llvm.plus(b, index, LANES * i)) for i in range(count)]
        return context.make_tuple(b, sig.return_type, out)

    return _vectors(array, count)(array, types.intp), build


@intrinsic
def splats(typing: Any, array: Any, index: Any) -> Any:
    """BLOCK vectors, array[index + g] in all lanes of the g-th."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index = args
        out = [_word_in_all_lanes(b, array, llvm.plus(b, index, g)) for g in range(BLOCK)]
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
                word = _word_in_all_lanes(b, array, llvm.plus(b, rows[g], i))
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
                word = _word_in_all_lanes(b, array, llvm.plus(b, index, i))
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
            power = power_of_2(scores.times_plus(Expression(b, [args[2]] * BLOCK), -shifts), EXP2_COARSE)
        else:
            power = power_of_2(scores - shifts, EXP2)
        return context.make_tuple(b, sig.return_type, power.values)

    return ACCUMULATORS(ACCUMULATORS, ACCUMULATORS, VECTOR, words), build


@intrinsic
def packed(typing: Any, vectors: Any, words: Any) -> Any:
    """BLOCK vectors as words: as they are, or rounded and two of them side by side."""
    paired = _paired(words)

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if not paired:
            return args[0]
        half, upper = llvm.constant(llvm.INTS, 0x8000), llvm.constant(llvm.INTS, -0x10000)
        bits = [b.add(b.bitcast(b.extract_value(args[0], g), llvm.INTS), half) for g in range(BLOCK)]
        out = [
            b.or_(b.lshr(x, llvm.constant(llvm.INTS, 16)), b.and_(y, upper))
            for x, y in zip(bits[::2], bits[1::2], strict=True)
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
                total = _plus_product(b, True, total, x, llvm.constant(llvm.INTS, 0x3F803F80))  # two ones
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
        rows = [llvm.load(b, sig.args[0], array, llvm.plus(b, index, LANES * i)) for i in range(count)]
        if paired:
            shorts, longs = ir.VectorType(llvm.I16, 2 * LANES), ir.VectorType(ir.IntType(64), LANES // 2)
            swap = np.arange(2 * LANES).reshape(-1, 2, 2).swapaxes(1, 2).ravel()  # within two words
            nothing = ir.Constant(shorts, ir.Undefined)
            rows = [b.shuffle_vector(b.bitcast(row, shorts), nothing, llvm.indices(swap)) for row in rows]
            rows = [b.bitcast(row, llvm.INTS) for row in llvm.transposed(b, [b.bitcast(row, longs) for row in rows])]
        else:
            rows = llvm.transposed(b, rows)
        return context.make_tuple(b, sig.return_type, rows)

    return _vectors(array, count)(array, types.intp), build
