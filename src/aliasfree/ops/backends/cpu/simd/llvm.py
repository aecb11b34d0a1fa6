"""LLVM instructions that several intrinsics are made of; `b` is llvmlite's IRBuilder, all other values are LLVM's.

Arrays are pointers to float32, to uint16 that hold bfloat16, or to int32 that hold two bfloat16 each. Indices count
elements of the array.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils

from aliasfree.ops.backends.cpu.simd.layout import LANES

F32, I16, I32, I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
FLOATS, SHORTS, INTS = (ir.VectorType(t, LANES) for t in (F32, I16, I32))
_STORED = {types.float32: FLOATS, types.int32: INTS, types.uint16: SHORTS}


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """A vector of one number."""
    return ir.Constant(vector, [value] * LANES)


def indices(lanes: Any) -> ir.Constant:
    """What a shuffle takes: the number of the lane that each lane comes from."""
    return ir.Constant(ir.VectorType(I32, len(lanes)), [int(v) for v in lanes])


def splat(b: Any, scalar: Any) -> Any:
    """A vector with `scalar` in all lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(first, undefined, constant(INTS, 0))


def plus(b: Any, index: Any, i: int) -> Any:
    """index + i, for an i known when the code is made."""
    return b.add(index, ir.Constant(index.type, i))


def load(b: Any, array_type: Any, array: Any, index: Any) -> Any:
    """LANES elements from array[index]: words as they are, numbers as float32."""
    pointer = _vector_at(b, array_type, array, index)
    if array_type.dtype != types.uint16:
        return b.load(pointer, align=4)
    wide = b.zext(b.load(pointer, align=2), INTS)  # bfloat16 is the upper half of a float32
    return b.bitcast(b.shl(wide, constant(INTS, 16)), FLOATS)


def store(b: Any, vector: Any, array_type: Any, array: Any, index: Any) -> None:
    """The inverse of `load`; float32 is rounded to bfloat16 where the array holds that."""
    pointer = _vector_at(b, array_type, array, index)
    if array_type.dtype != types.uint16:
        b.store(vector, pointer, align=4)
    else:
        b.store(rounded(b, vector), pointer, align=2)


def _vector_at(b: Any, array_type: Any, array: Any, index: Any) -> Any:
    return b.bitcast(b.gep(array, [index]), _STORED[array_type.dtype].as_pointer())


def rounded(b: Any, number: Any) -> Any:
    """The bits of the bfloat16 nearest to a float32, ties to even; of each in a vector."""
    many = number.type == FLOATS
    wide, narrow = (INTS, SHORTS) if many else (I32, I16)

    def like(value: int) -> ir.Constant:
        return constant(INTS, value) if many else ir.Constant(I32, value)

    bits = b.bitcast(number, wide)
    odd = b.and_(b.lshr(bits, like(16)), like(1))
    nearest = b.add(b.add(bits, like(0x7FFF)), odd)
    nan = b.fcmp_unordered("uno", number, number)
    return b.trunc(b.lshr(b.select(nan, like(0x7FC00000), nearest), like(16)), narrow)


def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z of vectors, rounded once."""
    signature = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, signature, f"llvm.fma.v{LANES}f32"), (x, y, z))


def transposed(b: Any, rows: list[Any]) -> list[Any]:
    """A square matrix, given as its rows, mirrored at its diagonal by swapping ever larger blocks."""
    rows = list(rows)
    n = len(rows)
    step = 1
    lanes = np.arange(n)
    while step < n:
        low = (lanes & step) == 0
        # in a shuffle of (a, c) lanes of c count from n
        upper = indices(np.where(low, lanes, lanes - step + n))
        lower = indices(np.where(low, lanes + step, lanes + n))
        for i in range(n):
            if not i & step:
                a, c = rows[i], rows[i + step]
                rows[i], rows[i + step] = b.shuffle_vector(a, c, upper), b.shuffle_vector(a, c, lower)
        step *= 2
    return rows
