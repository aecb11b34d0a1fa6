"""The table of nonlinearities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ConfigError, did_you_mean

__all__ = ["ACTIVATIONS", "Pointwise", "activation_function", "activation_name", "register_activation"]

aten = torch.ops.aten


class Pointwise(NamedTuple):
    """A pointwise nonlinearity; a kernel backend has its own expression for those it serves."""

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]  # (gradient g, input x) -> g f'(x)


def _silu_derivative(g: Tensor, x: Tensor) -> Tensor:
    s = x.sigmoid()  # PyTorch's own silu_backward has no derivative
    return g * (s * (1 + x * (1 - s)))


_ACTIVATIONS: dict[str, Pointwise] = {
    "gelu": Pointwise(F.gelu, lambda g, x: aten.gelu_backward(g, x)),
    "silu": Pointwise(F.silu, _silu_derivative),
    "relu": Pointwise(F.relu, lambda g, x: aten.threshold_backward(g, x, 0)),
    "identity": Pointwise(lambda x: x, lambda g, x: g),  # noqa: ARG005
}
ACTIVATIONS: Mapping[str, Pointwise] = MappingProxyType(_ACTIVATIONS)
"""name -> nonlinearity; GELU is the exact (erf) one. `register_activation` adds another."""


def register_activation(
    name: str, function: Callable[[Tensor], Tensor], derivative: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Add an activation, so that `filtered_activation2d(x, name, ...)` knows it.

    function     pointwise, same shape and dtype out
    derivative   (gradient g, input x) -> g f'(x), of PyTorch's operations, so that it can be differentiated again

    Kernels that have no formula for it refuse it: it takes PyTorch's operations, and `explain` says so. Raises
    ConfigError if the name is taken, or `derivative` is not that of `function`.
    """
    if name in _ACTIVATIONS:
        raise ConfigError(f"there is an activation {name!r} already; give yours another name")
    x, step = torch.linspace(-3.03, 3.01, 32, dtype=torch.float64), 1e-6
    try:
        slopes, y = derivative(torch.full_like(x, 2.0), x), function(x)
        expected = (function(x + step) - function(x - step)) / step
    except Exception as error:
        raise ConfigError(f"activation {name!r} cannot be computed on a float64 tensor: {error}") from error
    if y.shape != x.shape or slopes.shape != x.shape or not torch.allclose(slopes, expected, atol=1e-4):
        raise ConfigError(f"derivative(g, x) of activation {name!r} is not g times the slope of its function")
    _ACTIVATIONS[name] = Pointwise(function, derivative)


def activation_function(activation: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function behind a name; a callable is returned as it is. Raises ConfigError."""
    if callable(activation):
        return activation
    try:
        return ACTIVATIONS[activation].function
    except KeyError:
        raise ConfigError(f"unknown activation {activation!r}{did_you_mean(activation, ACTIVATIONS)}") from None


def activation_name(activation: str | Callable[[Tensor], Tensor]) -> str | None:
    """The name of an activation of the table, None for any other function. Raises ConfigError for an unknown name."""
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return activation
    function = activation_function(activation)
    return next((name for name, entry in ACTIVATIONS.items() if entry.function is function), None)
