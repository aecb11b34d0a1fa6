"""Functions of single numbers: activations and their slopes as rational functions, powers of 2 as polynomials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aliasfree.ops.backends.cpu.compiling import inlined, jit
from aliasfree.ops.backends.cpu.simd import llvm
from aliasfree.ops.backends.cpu.simd.expressions import Expression, pointwise
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATIONS

Formula = Callable[[Expression], Expression]


def _odd_rational(numerator: tuple[float, ...], denominator: tuple[float, ...], bound: float) -> Any:
    """v P(v^2) / Q(v^2), where v is u within [-bound, bound]."""

    def formula(u: Expression) -> Expression:
        v = u.clamped(bound)
        t = v * v
        return v * t.polynomial(numerator) / t.polynomial(denominator)

    return formula


# fitted here (weighted least squares, Lawson iteration); largest error: Phi 9e-8, GELU' 1.1e-7, sigmoid 7e-9; in
# float32 arithmetic 3e-7 at most
_PHI_END, _SIGMOID_END = 5.4, 17.5
_phi = _odd_rational(
    (0.398941717, 0.0548828604, 0.00590510539, 0.0003728971, 6.75875684e-06),
    (1.0, 0.304228571, 0.040523043, 0.00304552799, 0.000133800688, 5.63077927e-07),
    _PHI_END,
)
_slope = _odd_rational(
    (0.797885357, -0.0309902283, 0.0142293798, 1.93545129e-05, 3.59445963e-05, 1.92774746e-07),
    (1.0, 0.294501053, 0.0409814722, 0.00352301658, 0.000192048604, 8.94747291e-06),
    5.7,
)
_logistic = _odd_rational(
    (0.249999982, 0.00836863706, 5.47858987e-05, 8.12348502e-08, 1.33158512e-11),
    (1.0, 0.116807811, 0.00161981503, 5.16189042e-06, 3.08078731e-09),
    _SIGMOID_END,
)


def _sigmoid(u: Expression) -> Expression:
    return u.pick(-_SIGMOID_END, 0.0, _logistic(u) + 0.5)


def _silu_slope(u: Expression) -> Expression:
    g = _sigmoid(u)
    return g * (1.0 - g).times_plus(u, 1.0)


# u 0 stays NaN where u is not finite; Phi is cut to 0 far out, because its rounding error would be multiplied by u
FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "gelu": (
        lambda u: u * u.pick(-_PHI_END, 0.0, _phi(u) + 0.5),
        lambda u: u.times_plus(u.constant(0.0), _slope(u) + 0.5),
    ),
    "silu": (lambda u: u * _sigmoid(u), _silu_slope),
    "relu": (lambda u: u.where_less(0.0, 0.0), lambda u: u.pick(1e-45, u * 0.0, u.constant(1.0))),
}
"""Activation -> its formula and that of its slope."""
if FORMULAS.keys() | {"identity"} != ACTIVATIONS.keys():
    raise TypeError("layout.ACTIVATIONS and functions.FORMULAS must name the same activations")


def _chosen_by_code(formulas: dict[int, Formula]) -> Any:
    """A compiled function (vectors, code) that applies the formula of the code, and none for another code."""
    if not formulas:
        return jit(_unchanged)
    (code, formula), *rest = formulas.items()
    function, otherwise = pointwise(formula), _chosen_by_code(dict(rest))

    @inlined
    def apply(v: Any, chosen: int) -> Any:
        if chosen == code:
            return function(v)
        return otherwise(v, chosen)

    return apply


def _unchanged(v: Any, chosen: int) -> Any:
    return v


activation = _chosen_by_code({ACTIVATIONS[name]: formulas[0] for name, formulas in FORMULAS.items()})
slope = _chosen_by_code({ACTIVATIONS[name]: formulas[1] for name, formulas in FORMULAS.items()})

_ROUND = 1.5 * 2.0**23
"""Added to a small float32, it leaves the nearest integer in the lowest bits."""


def power_of_2(u: Expression, coefficients: tuple[float, ...]) -> Expression:
    """2^u for u up to a little above 0, and 2^-126 for u below -126; NaN stays.

    A polynomial on [-1/2, 1/2], fitted here.
    """
    b = u.b
    u = u.where_less(-126.0, -126.0)
    shifted = u + _ROUND
    power = (u - (shifted - _ROUND)).polynomial(coefficients)

    def scaled_by(power: Any, shifted: Any) -> Any:
        exponent = b.shl(b.bitcast(shifted, llvm.INTS), llvm.constant(llvm.INTS, 23))
        return b.bitcast(b.add(b.bitcast(power, llvm.INTS), exponent), llvm.FLOATS)

    return power.each(scaled_by, shifted)


# least largest relative error (Lawson iteration): 1.4e-7 in float32, and 7.5e-5, which bfloat16 does not see
EXP2 = (1.0000001192, 0.693146944, 0.2402212024, 0.0555071309, 0.0096755419, 0.0013276471)
EXP2_COARSE = (0.99992807, 0.69326099, 0.24261112, 0.05517167)
exp2 = pointwise(lambda u: power_of_2(u, EXP2))
inverse = pointwise(lambda u: u.constant(1.0) / u)
