"""The table of nonlinearities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ConfigError, did_you_mean

__all__ = ["ACTIVATIONS", "Pointwise", "activation_function", "activation_name"]

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
