"""Vectors of 16 floats as a Numba type, because Numba's own loops over short, strided rows do not vectorise reliably.

LLVM splits the vector into whatever registers the machine has (1 with AVX-512, 2 with AVX2, 4 with NEON or SSE).
Arrays are bare pointers (`emit`). Indices count elements; nothing is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba import types
from numba.extending import intrinsic, models, register_model

from aliasfree.ops.backends.cpu.simd import llvm
from aliasfree.ops.backends.cpu.simd.layout import BLOCK, LANES


class _VectorType(types.Type):
    def __init__(self, element: str) -> None:
        super().__init__(name=f"{element}x{LANES}")


class _PairsType(_VectorType):
    pass


VECTOR = _VectorType("float32")
PAIRS = _PairsType("2bfloat16")
"""16 words of two bfloat16 each, the first in the lower half."""
ACCUMULATORS = types.UniTuple(VECTOR, BLOCK)


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, llvm.FLOATS)


@register_model(_PairsType)
class _PairsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, llvm.INTS)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """16 elements from array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return llvm.load(b, sig.args[0], *args)

    return VECTOR(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """16 elements to array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        llvm.store(b, args[2], sig.args[0], *args[:2])
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), build


@intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """16 times the same number."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return llvm.splat(b, args[0])

    return VECTOR(types.float32), build


@intrinsic
def zeros(typing: Any) -> Any:
    """BLOCK vectors of zeros, to accumulate in."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return context.make_tuple(b, sig.return_type, [llvm.constant(llvm.FLOATS, 0.0)] * BLOCK)

    return ACCUMULATORS(), build


@intrinsic
def get(typing: Any, array: Any, index: Any, stride: Any) -> Any:
    """The vectors array[index + j stride], to accumulate onto."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride = args
        out = []
        for _ in range(BLOCK):
            out.append(llvm.load(b, sig.args[0], array, index))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(array, types.intp, types.intp), build


@intrinsic
def put(typing: Any, array: Any, index: Any, stride: Any, vectors: Any) -> Any:
    """array[index + j stride] = vectors[j]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride, vectors = args
        for j in range(sig.args[3].count):
            llvm.store(b, b.extract_value(vectors, j), sig.args[0], array, index)
            index = b.add(index, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), build


@intrinsic
def accumulate(typing: Any, sums: Any, weight: Any, array: Any, index: Any, stride: Any) -> Any:
    """sums[j] + weight array[index + j stride], a float32 array."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        sums, weight, array, index, stride = args
        factor, out = llvm.splat(b, weight), []
        for j in range(BLOCK):
            x = llvm.load(b, sig.args[2], array, index)
            out.append(llvm.fma(b, factor, x, b.extract_value(sums, j)))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, types.float32, array, types.intp, types.intp), build


@intrinsic
def accumulate_outer(typing: Any, sums: Any, weights: Any, w: Any, array: Any, index: Any) -> Any:
    """sums[j] + weights[w + j] array[index], a float32 array: BLOCK outputs of a matrix product."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        sums, weights, w, array, index = args
        x = llvm.load(b, sig.args[3], array, index)
        factors = [llvm.splat(b, b.load(b.gep(weights, [llvm.plus(b, w, j)]))) for j in range(BLOCK)]
        out = [llvm.fma(b, factor, x, b.extract_value(sums, j)) for j, factor in enumerate(factors)]
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, weights, types.intp, array, types.intp), build


def consecutive(taps: int, every: int) -> Any:
    """An intrinsic: sums[j] + sum_k weights[k] array[index + LANES (every j + k)], k < taps.

    The taps of a filter along a row lie side by side, so that neighbouring outputs share what they load.
    """

    def typed(typing: Any, sums: Any, weights: Any, array: Any, index: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            sums, weights, array, index = args
            out = [b.extract_value(sums, j) for j in range(BLOCK)]
            factors = [llvm.splat(b, b.load(b.gep(weights, [ir.Constant(llvm.I64, k)]))) for k in range(taps)]
            for i in range(every * (BLOCK - 1) + taps):
                x = llvm.load(b, sig.args[2], array, llvm.plus(b, index, LANES * i))
                for j in range(BLOCK):
                    if 0 <= i - every * j < taps:
                        out[j] = llvm.fma(b, factors[i - every * j], x, out[j])
            return context.make_tuple(b, sig.return_type, out)

        return ACCUMULATORS(ACCUMULATORS, weights, array, types.intp), build

    return intrinsic(typed)


@intrinsic
def product(typing: Any, x: Any, y: Any) -> Any:
    """x[j] y[j]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        out = [b.fmul(b.extract_value(args[0], j), b.extract_value(args[1], j)) for j in range(BLOCK)]
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, ACCUMULATORS), build


def _binary(formula: Callable[..., Any]) -> Any:
    """formula(builder, x, y) as an intrinsic: two vectors -> vector."""

    def typed(typing: Any, x: Any, y: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return formula(b, *args)

        return VECTOR(VECTOR, VECTOR), build

    return intrinsic(typed)


add = _binary(lambda b, x, y: b.fadd(x, y))
sub = _binary(lambda b, x, y: b.fsub(x, y))
mul = _binary(lambda b, x, y: b.fmul(x, y))
larger = _binary(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))  # y where x is NaN


@intrinsic
def load_tile(typing: Any, x: Any, base: Any, stride: Any, last: Any, buffer: Any, at: Any) -> Any:
    """16 pixels of 16 planes, buffer[at + 16 pixel + plane] = x[base + min(plane, last) stride + pixel]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, base, stride, last, buffer, at = args
        word = base.type
        rows = []
        for plane in range(LANES):
            p = ir.Constant(word, plane)
            p = b.select(b.icmp_signed("<", p, last), p, last)
            rows.append(llvm.load(b, sig.args[0], array, b.add(base, b.mul(p, stride))))
        for pixel, row in enumerate(llvm.transposed(b, rows)):
            index = b.add(at, ir.Constant(word, LANES * pixel))
            llvm.store(b, row, sig.args[4], buffer, index)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, buffer, types.intp), build


@intrinsic
def store_tile(typing: Any, buffer: Any, at: Any, y: Any, base: Any, stride: Any, last: Any) -> Any:
    """The inverse of `load_tile`; planes beyond `last` are not written."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        buffer, at, array, base, stride, last = args
        word = base.type
        rows = []
        for pixel in range(LANES):
            index = b.add(at, ir.Constant(word, LANES * pixel))
            rows.append(llvm.load(b, sig.args[0], buffer, index))
        for plane, row in enumerate(llvm.transposed(b, rows)):
            p = ir.Constant(word, plane)
            with b.if_then(b.icmp_signed("<=", p, last), likely=True):
                llvm.store(b, row, sig.args[2], array, b.add(base, b.mul(p, stride)))
        return context.get_dummy_value()

    return types.void(buffer, types.intp, y, types.intp, types.intp, types.intp), build
