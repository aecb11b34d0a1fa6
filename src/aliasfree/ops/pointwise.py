"""The table of nonlinearities."""

from __future__ import annotations

from collections.abc import Callable
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
    backward: Callable[[Tensor, Tensor], Tensor]  # (gradient, input) -> gradient of the input


ACTIVATIONS: dict[str, Pointwise] = {
    "gelu": Pointwise(F.gelu, lambda g, x: aten.gelu_backward(g, x)),
    "silu": Pointwise(F.silu, lambda g, x: aten.silu_backward(g, x)),
    "relu": Pointwise(F.relu, lambda g, x: aten.threshold_backward(g, x, 0)),
    "identity": Pointwise(lambda x: x, lambda g, x: g),  # noqa: ARG005
}
"""name -> nonlinearity; GELU is the exact (erf) one. One entry adds another; kernels without a formula refuse it."""


def activation_function(activation: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function behind a name; a callable is returned as it is. Raises ConfigError."""
    if callable(activation):
        return activation
    try:
        return ACTIVATIONS[activation].function
    except KeyError:
        raise ConfigError(f"unknown activation {activation!r}{did_you_mean(activation, ACTIVATIONS)}") from None


def activation_name(activation: str | Callable[[Tensor], Tensor]) -> str | None:
    """The name of a function of the table, None for any other."""
    if isinstance(activation, str):
        return activation
    return next((name for name, entry in ACTIVATIONS.items() if entry.function is activation), None)
