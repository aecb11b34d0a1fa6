"""Vectors of 16 floats as a Numba type, because Numba's own loops over short, strided rows do not vectorise reliably.

LLVM splits the vector into whatever registers the machine has (1 with AVX-512, 2 with AVX2, 4 with NEON or SSE). Arrays
are float32, or uint16 holding bfloat16. Indices count elements; nothing is bounds-checked.
"""

from __future__ import annotations

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


def _binary(instruction: str, doc: str) -> Any:
    def typed(typing: Any, x: Any, y: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return getattr(b, instruction)(*args)

        return VECTOR(VECTOR, VECTOR), build

    typed.__doc__ = doc
    return intrinsic(typed)


add = _binary("fadd", "x + y")
mul = _binary("fmul", "x y")


def _fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    signature = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, signature, f"llvm.fma.v{LANES}f32"), (x, y, z))


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return _fma(b, *args)

    return VECTOR(VECTOR, VECTOR, VECTOR), build


@intrinsic
def where_less(typing: Any, x: Any, bound: Any, a: Any, otherwise: Any) -> Any:
    """a where x < bound, else `otherwise`; NaN is not less than anything."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.select(b.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return VECTOR(VECTOR, VECTOR, VECTOR, VECTOR), build


def odd_rational(numerator: tuple[float, ...], denominator: tuple[float, ...], bound: float) -> Any:
    """An intrinsic for v P(v^2) / Q(v^2), v = u within [-bound, bound]; coefficients from the lowest. NaN stays."""

    def typed(typing: Any, u: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            v = args[0]
            for comparison, end in (("<", -bound), (">", bound)):
                v = b.select(b.fcmp_ordered(comparison, v, _constant(FLOATS, end)), _constant(FLOATS, end), v)
            t = b.fmul(v, v)
            p, q = (_polynomial(b, t, c) for c in (numerator, denominator))
            return b.fdiv(b.fmul(v, p), q)

        return VECTOR(VECTOR), build

    return intrinsic(typed)


def _polynomial(b: Any, t: Any, coefficients: tuple[float, ...]) -> Any:
    value = _constant(FLOATS, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = _fma(b, value, t, _constant(FLOATS, c))
    return value


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
