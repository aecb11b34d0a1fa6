"""How kernels reach memory: an address becomes a pointer to numbers or a record whose fields are read by name.

Numba's own arrays are structures of seven fields, which every call would copy. Nothing here is bounds-checked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.ir as ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from aliasfree.ops.backends.cpu.simd import llvm


class Line(NamedTuple):
    """A row or column of LANES planes in the scratch: `count` vectors, the i-th at s[at + i step]."""

    at: int
    step: int
    count: int  # type: ignore[assignment]


@intrinsic
def pointer(typing: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers of the type of `like`."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(like)(types.int64, like), build


def _pointer_to(element: Any) -> Any:
    def typed(typing: Any, address: Any) -> Any:
        def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(element)(types.int64), build

    return intrinsic(typed)


ints = _pointer_to(types.int64)
floats = _pointer_to(types.float32)


@intrinsic
def advance(typing: Any, pointer: Any, count: Any) -> Any:
    """The pointer to what lies `count` numbers behind: advance(p, n)[i] is p[n + i]."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), build


@intrinsic
def record_at(typing: Any, address: Any, dtype: Any) -> Any:
    """The record of a NumPy dtype that lies at `address`."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.inttoptr(args[0], context.get_value_type(sig.return_type))

    return dtype.dtype(types.int64, dtype), build


@intrinsic
def entry(typing: Any, address: Any, i: Any, dtype: Any) -> Any:
    """The i-th record of an array of them at `address`."""

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        at = b.add(args[0], b.mul(args[1], ir.Constant(llvm.I64, sig.return_type.size)))
        return b.inttoptr(at, context.get_value_type(sig.return_type))

    return dtype.dtype(types.int64, types.int64, dtype), build


@intrinsic
def take_number(typing: Any, record: Any, field: Any) -> Any:
    """What `record.field` counts; it grows by one in the same step, so that no two threads get the same number."""
    if not isinstance(field, types.StringLiteral):
        raise RequireLiteralValue("the name of the field must be a constant")
    offset = record.offset(field.literal_value)

    def build(context: Any, b: Any, sig: Any, args: Any) -> Any:
        start = b.bitcast(args[0], ir.IntType(8).as_pointer())
        counter = b.bitcast(b.gep(start, [ir.Constant(llvm.I64, offset)]), llvm.I64.as_pointer())
        return b.atomic_rmw("add", counter, ir.Constant(llvm.I64, 1), "seq_cst")

    return types.int64(record, field), build
