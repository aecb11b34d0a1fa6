"""Vectors of 16 floats as a Numba type, because Numba's own loops over short, strided rows do not vectorise reliably.

LLVM splits the vector into whatever registers the machine has (1 with AVX-512, 2 with AVX2, 4 with NEON or SSE).
Arrays are pointers to float32, to uint16 holding bfloat16, or to int32 holding pairs of those: Numba's own arrays are
structures of seven fields that every call would copy. Indices count elements; nothing is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from aliasfree.ops.backends.cpu.tables import BLOCK, LANES

F32, I16, I32 = ir.FloatType(), ir.IntType(16), ir.IntType(32)
FLOATS, SHORTS, INTS = (ir.VectorType(t, LANES) for t in (F32, I16, I32))


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
        super().__init__(manager, fe_type, FLOATS)


@register_model(_PairsType)
class _PairsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, INTS)


def _constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _splat(b: Any, scalar: Any) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, _constant(INTS, 0))


def _address(b: Any, array_type: Any, array: Any, index: Any) -> Any:
    return b.bitcast(b.gep(array, [index]), _STORED[array_type.dtype].as_pointer())


def _plus(b: Any, index: Any, i: int) -> Any:
    return b.add(index, ir.Constant(index.type, i))


_STORED = {types.float32: FLOATS, types.int32: INTS, types.uint16: SHORTS}


def _load(b: Any, pointer: Any, element: Any) -> Any:
    """Floats and words as they are; bfloat16 is the upper half of a float."""
    if element != types.uint16:
        return b.load(pointer, align=4)
    wide = b.zext(b.load(pointer, align=2), INTS)
    return b.bitcast(b.shl(wide, _constant(INTS, 16)), FLOATS)


def _store(b: Any, vector: Any, pointer: Any, element: Any) -> None:
    if element != types.uint16:
        b.store(vector, pointer, align=4)
        return
    b.store(_rounded(b, vector), pointer, align=2)


def _rounded(b: Any, number: Any) -> Any:
    """The bits of the bfloat16 nearest to a float32, ties to even; of each in a vector."""
    many = number.type == FLOATS
    wide, narrow = (INTS, SHORTS) if many else (I32, I16)

    def constant(value: int) -> ir.Constant:
        return _constant(INTS, value) if many else ir.Constant(I32, value)

    bits = b.bitcast(number, wide)
    odd = b.and_(b.lshr(bits, constant(16)), constant(1))
    nearest = b.add(b.add(bits, constant(0x7FFF)), odd)
    nan = b.fcmp_unordered("uno", number, number)
    return b.trunc(b.lshr(b.select(nan, constant(0x7FC00000), nearest), constant(16)), narrow)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """16 elements from array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _load(b, _address(b, sig.args[0], *args), sig.args[0].dtype)

    return VECTOR(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """16 elements to array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _store(b, args[2], _address(b, sig.args[0], *args[:2]), sig.args[0].dtype)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), build


@intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """16 times the same number."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _splat(b, args[0])

    return VECTOR(types.float32), build


@intrinsic
def next_number(typing: Any, counter: Any) -> Any:
    """counter[0], which grows by one for all threads at once; `counter` is the address of an int64."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        pointer = b.inttoptr(args[0], ir.IntType(64).as_pointer())
        return b.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(types.int64), build


@intrinsic
def pointer(typing: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers of the type of `like` at an address."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(like)(types.int64, like), build


@intrinsic
def unliteral(typing: Any, x: Any) -> Any:
    """x; Numba compiles a function anew for every constant it is called with, but not for unliteral(constant)."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return args[0]

    return types.unliteral(x)(x), build


@intrinsic
def keep_apart(typing: Any) -> Any:
    """Forbids LLVM to inline the function that calls this: copies of long ones cost seconds of compiling."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def zeros(typing: Any) -> Any:
    """BLOCK vectors of zeros, to accumulate in."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return context.make_tuple(b, sig.return_type, [_constant(FLOATS, 0.0)] * BLOCK)

    return ACCUMULATORS(), build


@intrinsic
def accumulate(typing: Any, sums: Any, weight: Any, array: Any, index: Any, stride: Any) -> Any:
    """sums[j] + weight array[index + j stride], a float32 array."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        sums, weight, array, index, stride = args
        factor, out = _splat(b, weight), []
        for j in range(BLOCK):
            x = _load(b, _address(b, sig.args[2], array, index), types.float32)
            out.append(_fma(b, factor, x, b.extract_value(sums, j)))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, types.float32, array, types.intp, types.intp), build


@intrinsic
def accumulate_outer(typing: Any, sums: Any, weights: Any, w: Any, array: Any, index: Any) -> Any:
    """sums[j] + weights[w + j] array[index], a float32 array: BLOCK outputs of a matrix product."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        sums, weights, w, array, index = args
        x = _load(b, _address(b, sig.args[3], array, index), types.float32)
        factors = [_splat(b, b.load(b.gep(weights, [_plus(b, w, j)]))) for j in range(BLOCK)]
        out = [_fma(b, factor, x, b.extract_value(sums, j)) for j, factor in enumerate(factors)]
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, weights, types.intp, array, types.intp), build


def consecutive(taps: int, every: int) -> Any:
    """An intrinsic: sums[j] + sum_k weights[w + k] array[index + LANES (every j + k)], k < taps.

    The taps of a filter along a row lie side by side, so that neighbouring outputs share what they load.
    """

    def typed(typing: Any, sums: Any, weights: Any, w: Any, array: Any, index: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            sums, weights, w, array, index = args
            out = [b.extract_value(sums, j) for j in range(BLOCK)]
            factors = [_splat(b, b.load(b.gep(weights, [_plus(b, w, k)]))) for k in range(taps)]
            for i in range(every * (BLOCK - 1) + taps):
                x = _load(b, _address(b, sig.args[3], array, _plus(b, index, LANES * i)), types.float32)
                for j in range(BLOCK):
                    if 0 <= i - every * j < taps:
                        out[j] = _fma(b, factors[i - every * j], x, out[j])
            return context.make_tuple(b, sig.return_type, out)

        return ACCUMULATORS(ACCUMULATORS, weights, types.intp, array, types.intp), build

    return intrinsic(typed)


@intrinsic
def put(typing: Any, array: Any, index: Any, stride: Any, vectors: Any) -> Any:
    """array[index + j stride] = vectors[j]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride, vectors = args
        for j in range(sig.args[3].count):
            _store(b, b.extract_value(vectors, j), _address(b, sig.args[0], array, index), sig.args[0].dtype)
            index = b.add(index, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), build


@intrinsic
def get(typing: Any, array: Any, index: Any, stride: Any) -> Any:
    """The vectors array[index + j stride], to accumulate onto."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride = args
        out = []
        for _ in range(BLOCK):
            out.append(_load(b, _address(b, sig.args[0], array, index), types.float32))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(array, types.intp, types.intp), build


@intrinsic
def product(typing: Any, x: Any, y: Any) -> Any:
    """x[j] y[j]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        out = [b.fmul(b.extract_value(args[0], j), b.extract_value(args[1], j)) for j in range(BLOCK)]
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, ACCUMULATORS), build


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    signature = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, signature, f"llvm.fma.v{LANES}f32"), (x, y, z))


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


class Expression:
    """Vectors in a formula, all treated alike and in step; `pointwise` turns the formula into instructions.

    In step, because one vector's instructions wait for each other, and a processor does not look far enough ahead to
    fill the waiting with those of the next.
    """

    def __init__(self, b: Any, values: list[Any]) -> None:
        self.b, self.values = b, values

    def constant(self, value: float) -> Expression:
        return Expression(self.b, [_constant(FLOATS, value)] * len(self.values))

    def each(self, make: Callable[..., Any], *others: Expression | float) -> Expression:
        """make(value, others' value ...) of each vector; numbers stand for vectors of them."""
        more = [(y if isinstance(y, Expression) else self.constant(y)).values for y in others]
        return Expression(self.b, [make(*v) for v in zip(self.values, *more, strict=True)])

    def __add__(self, y: Expression | float) -> Expression:
        return self.each(self.b.fadd, y)

    def __sub__(self, y: Expression | float) -> Expression:
        return self.each(self.b.fsub, y)

    def __rsub__(self, y: float) -> Expression:
        return self.constant(y) - self

    def __neg__(self) -> Expression:
        return self.each(self.b.fneg)

    def __mul__(self, y: Expression | float) -> Expression:
        return self.each(self.b.fmul, y)

    def __truediv__(self, y: Expression) -> Expression:
        return self.each(self.b.fdiv, y)

    def times_plus(self, y: Expression | float, z: Expression | float) -> Expression:
        """self y + z, rounded once."""
        return self.each(lambda u, v, w: _fma(self.b, u, v, w), y, z)

    def where_less(self, bound: float, a: Expression | float) -> Expression:
        """a where self < bound, else self; NaN is not less than anything."""
        return self.pick(bound, a, self)

    def pick(self, bound: float, a: Expression | float, otherwise: Expression) -> Expression:
        """a where self < bound, else `otherwise`."""
        b = self.b
        return self.each(lambda u, v, w, x: b.select(b.fcmp_ordered("<", u, v), w, x), bound, a, otherwise)

    def clamped(self, bound: float) -> Expression:
        """Within [-bound, bound]; NaN stays."""
        b = self.b
        low = self.where_less(-bound, -bound)
        return low.each(lambda u, v: b.select(b.fcmp_ordered(">", u, v), v, u), bound)

    def polynomial(self, coefficients: tuple[float, ...]) -> Expression:
        """Coefficients from the lowest."""
        value = self.constant(coefficients[-1])
        for c in coefficients[-2::-1]:
            value = value.times_plus(self, c)
        return value


def pointwise(formula: Callable[[Expression], Expression]) -> Any:
    """A formula as an intrinsic: vector -> vector, or a tuple of vectors -> such a tuple."""

    def typed(typing: Any, u: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            if sig.args[0] == VECTOR:
                return formula(Expression(b, [args[0]])).values[0]
            values = [b.extract_value(args[0], i) for i in range(sig.args[0].count)]
            return context.make_tuple(b, sig.return_type, formula(Expression(b, values)).values)

        return u(u), build

    return intrinsic(typed)


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
            pointer = _address(b, sig.args[0], array, b.add(base, b.mul(p, stride)))
            rows.append(_load(b, pointer, sig.args[0].dtype))
        for pixel, row in enumerate(_transposed(b, rows)):
            index = b.add(at, ir.Constant(word, LANES * pixel))
            _store(b, row, _address(b, sig.args[4], buffer, index), types.float32)
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
            rows.append(_load(b, _address(b, sig.args[0], buffer, index), types.float32))
        for plane, row in enumerate(_transposed(b, rows)):
            p = ir.Constant(word, plane)
            with b.if_then(b.icmp_signed("<=", p, last), likely=True):
                pointer = _address(b, sig.args[2], array, b.add(base, b.mul(p, stride)))
                _store(b, row, pointer, sig.args[2].dtype)
        return context.get_dummy_value()

    return types.void(buffer, types.intp, y, types.intp, types.intp, types.intp), build


def _transposed(b: Any, rows: list[Any]) -> list[Any]:
    """A square of vectors mirrored at its diagonal, by swapping ever larger blocks."""
    rows = list(rows)
    n = len(rows)
    step = 1
    lanes = np.arange(n)
    while step < n:
        low = (lanes & step) == 0
        # in a shuffle of (a, c) lanes of c count from n
        upper = _indices(np.where(low, lanes, lanes - step + n))
        lower = _indices(np.where(low, lanes + step, lanes + n))
        for i in range(n):
            if not i & step:
                a, c = rows[i], rows[i + step]
                rows[i], rows[i + step] = b.shuffle_vector(a, c, upper), b.shuffle_vector(a, c, lower)
        step *= 2
    return rows


def _indices(lanes: Any) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(lanes)), [int(v) for v in lanes])
