"""Formulas over vectors, written as such and turned into instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import intrinsic

from aliasfree.ops.backends.cpu.simd import llvm
from aliasfree.ops.backends.cpu.simd.vectors import VECTOR


class Expression:
    """Several vectors in a formula, all treated alike; `pointwise` turns the formula into instructions.

    Their instructions are interleaved: those of one vector wait for each other, and a processor does not look far
    enough ahead to fill the wait with those of the next vector.
    """

    def __init__(self, b: Any, values: list[Any]) -> None:
        self.b, self.values = b, values

    def constant(self, value: float) -> Expression:
        return Expression(self.b, [llvm.constant(llvm.FLOATS, value)] * len(self.values))

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
        return self.each(lambda u, v, w: llvm.fma(self.b, u, v, w), y, z)

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
