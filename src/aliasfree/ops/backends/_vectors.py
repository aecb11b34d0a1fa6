"""Vectors of 16 floats as a Numba type, because Numba's own loops over short, strided rows do not vectorise reliably.

LLVM splits the vector into whatever registers the machine has (1 with AVX-512, 2 with AVX2, 4 with NEON or SSE). Arrays
are float32, or uint16 holding bfloat16. Indices count elements; nothing is bounds-checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from aliasfree.ops.backends.tables import LANES

F32, I16, I32 = ir.FloatType(), ir.IntType(16), ir.IntType(32)
FLOATS, SHORTS, INTS = (ir.VectorType(t, LANES) for t in (F32, I16, I32))


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


VECTOR = _VectorType()
BLOCK = 4
"""Vectors that a filter sums side by side, so that one sum need not wait for another."""
ACCUMULATORS = types.UniTuple(VECTOR, BLOCK)


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, FLOATS)


def _constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _splat(b: Any, scalar: Any) -> Any:
    undefined = ir.Constant(FLOATS, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, _constant(INTS, 0))


def _address(context: Any, b: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, b, array).data
    vector = FLOATS if array_type.dtype == types.float32 else SHORTS
    return b.bitcast(b.gep(data, [index]), vector.as_pointer())


def _load(b: Any, pointer: Any, element: Any) -> Any:
    """Floats as they are; bfloat16 is the upper half of a float."""
    if element == types.float32:
        return b.load(pointer, align=4)
    wide = b.zext(b.load(pointer, align=2), INTS)
    return b.bitcast(b.shl(wide, _constant(INTS, 16)), FLOATS)


def _store(b: Any, vector: Any, pointer: Any, element: Any) -> None:
    if element == types.float32:
        b.store(vector, pointer, align=4)
        return
    bits = b.bitcast(vector, INTS)
    odd = b.and_(b.lshr(bits, _constant(INTS, 16)), _constant(INTS, 1))
    rounded = b.add(b.add(bits, _constant(INTS, 0x7FFF)), odd)  # to nearest, ties to even
    nan = b.fcmp_unordered("uno", vector, vector)
    upper = b.lshr(b.select(nan, _constant(INTS, 0x7FC00000), rounded), _constant(INTS, 16))
    b.store(b.trunc(upper, SHORTS), pointer, align=2)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """16 elements from array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _load(b, _address(context, b, sig.args[0], *args), sig.args[0].dtype)

    return VECTOR(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """16 elements to array[index]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _store(b, args[2], _address(context, b, sig.args[0], *args[:2]), sig.args[0].dtype)
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
            x = _load(b, _address(context, b, sig.args[2], array, index), types.float32)
            out.append(_fma(b, factor, x, b.extract_value(sums, j)))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(ACCUMULATORS, types.float32, array, types.intp, types.intp), build


@intrinsic
def put(typing: Any, array: Any, index: Any, stride: Any, sums: Any) -> Any:
    """array[index + j stride] = sums[j]"""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride, sums = args
        for j in range(BLOCK):
            _store(b, b.extract_value(sums, j), _address(context, b, sig.args[0], array, index), types.float32)
            index = b.add(index, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, ACCUMULATORS), build


@intrinsic
def get(typing: Any, array: Any, index: Any, stride: Any) -> Any:
    """The vectors array[index + j stride], to accumulate onto."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        array, index, stride = args
        out = []
        for _ in range(BLOCK):
            out.append(_load(b, _address(context, b, sig.args[0], array, index), types.float32))
            index = b.add(index, stride)
        return context.make_tuple(b, sig.return_type, out)

    return ACCUMULATORS(array, types.intp, types.intp), build


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    signature = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, signature, f"llvm.fma.v{LANES}f32"), (x, y, z))


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _fma(b, *args)

    return VECTOR(VECTOR, VECTOR, VECTOR), build


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
    """A vector in a formula; `pointwise` turns the formula into instructions."""

    def __init__(self, b: Any, value: Any) -> None:
        self.b, self.value = b, value

    def constant(self, value: float) -> Expression:
        return Expression(self.b, _constant(FLOATS, value))

    def _other(self, y: Expression | float) -> Any:
        return y.value if isinstance(y, Expression) else _constant(FLOATS, y)

    def __add__(self, y: Expression | float) -> Expression:
        return Expression(self.b, self.b.fadd(self.value, self._other(y)))

    def __rsub__(self, y: float) -> Expression:
        return Expression(self.b, self.b.fsub(self._other(y), self.value))

    def __mul__(self, y: Expression | float) -> Expression:
        return Expression(self.b, self.b.fmul(self.value, self._other(y)))

    def __truediv__(self, y: Expression) -> Expression:
        return Expression(self.b, self.b.fdiv(self.value, y.value))

    def times_plus(self, y: Expression, z: Expression | float) -> Expression:
        """self y + z, rounded once."""
        return Expression(self.b, _fma(self.b, self.value, y.value, self._other(z)))

    def where_less(self, bound: float, a: Expression | float) -> Expression:
        """a where self < bound, else self; NaN is not less than anything."""
        return self.pick(bound, a, self)

    def pick(self, bound: float, a: Expression | float, otherwise: Expression) -> Expression:
        """a where self < bound, else `otherwise`."""
        less = self.b.fcmp_ordered("<", self.value, self._other(bound))
        return Expression(self.b, self.b.select(less, self._other(a), otherwise.value))

    def clamped(self, bound: float) -> Expression:
        """Within [-bound, bound]; NaN stays."""
        low = self.where_less(-bound, -bound)
        more = self.b.fcmp_ordered(">", low.value, self._other(bound))
        return Expression(self.b, self.b.select(more, self._other(bound), low.value))

    def polynomial(self, coefficients: tuple[float, ...]) -> Expression:
        """Coefficients from the lowest."""
        value = self.constant(coefficients[-1])
        for c in coefficients[-2::-1]:
            value = value.times_plus(self, c)
        return value


def pointwise(formula: Callable[[Expression], Expression]) -> Any:
    """A formula as an intrinsic: vector -> vector."""

    def typed(typing: Any, u: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return formula(Expression(b, args[0])).value

        return VECTOR(VECTOR), build

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
            pointer = _address(context, b, sig.args[0], array, b.add(base, b.mul(p, stride)))
            rows.append(_load(b, pointer, sig.args[0].dtype))
        for pixel, row in enumerate(_transposed(b, rows)):
            index = b.add(at, ir.Constant(word, LANES * pixel))
            _store(b, row, _address(context, b, sig.args[4], buffer, index), types.float32)
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
            rows.append(_load(b, _address(context, b, sig.args[0], buffer, index), types.float32))
        for plane, row in enumerate(_transposed(b, rows)):
            p = ir.Constant(word, plane)
            with b.if_then(b.icmp_signed("<=", p, last), likely=True):
                pointer = _address(context, b, sig.args[2], array, b.add(base, b.mul(p, stride)))
                _store(b, row, pointer, sig.args[2].dtype)
        return context.get_dummy_value()

    return types.void(buffer, types.intp, y, types.intp, types.intp, types.intp), build


def _transposed(b: Any, rows: list[Any]) -> list[Any]:
    """A square of vectors mirrored at its diagonal, by swapping ever larger blocks."""
    rows = list(rows)
    step = 1
    lanes = np.arange(LANES)
    while step < LANES:
        low = (lanes & step) == 0
        # in a shuffle of (a, c) lanes of c count from LANES
        upper = ir.Constant(INTS, [int(v) for v in np.where(low, lanes, lanes - step + LANES)])
        lower = ir.Constant(INTS, [int(v) for v in np.where(low, lanes + step, lanes + LANES)])
        for i in range(LANES):
            if not i & step:
                a, c = rows[i], rows[i + step]
                rows[i], rows[i + step] = b.shuffle_vector(a, c, upper), b.shuffle_vector(a, c, lower)
        step *= 2
    return rows
