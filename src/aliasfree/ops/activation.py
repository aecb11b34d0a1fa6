"""Filtered activations: a nonlinearity evaluated at a higher rate, so that the frequencies it creates can be removed
before they fold.

    y = filtered_activation2d(x):   1. upsample   2. nonlinearity   3. low-pass and keep every factor-th sample
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ConfigError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.ops.resample import Padding, downsample2d, upsample2d

__all__ = ["ACTIVATIONS", "filtered_activation2d", "filtered_activation2d_reference"]

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {"gelu": F.gelu, "silu": F.silu, "relu": F.relu, "identity": lambda x: x}
"""name -> pointwise function; GELU is the exact (erf) one."""


def activation_function(activation: str | Activation) -> Activation:
    """The function behind a name; a callable is returned as it is. Raises ConfigError."""
    if callable(activation):
        return activation
    try:
        return ACTIVATIONS[activation]
    except KeyError:
        raise ConfigError(f"unknown activation {activation!r}{did_you_mean(activation, ACTIVATIONS)}") from None


def filtered_activation2d(
    x: Tensor,
    activation: str | Activation,
    up: FilterSpec | str,
    down: FilterSpec | str | None = None,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> Tensor:
    """Apply a pointwise nonlinearity to (N, C, H, W) without aliasing (as far as the filters go); same shape out.

    activation   "gelu" (exact), "silu", "relu", "identity", or a pointwise callable
    up, down     filters of the two steps, at the higher rate; down None = up
    factor       oversampling, integer >= 2; a filter for factor 2 is carried to another by `FilterSpec.at_rate`
    padding      "zeros", "circular" or "reflect", for both steps

    Raises as `upsample2d`. Source: arXiv 2411.09174, configs C and D, after StyleGAN3 (Karras et al. 2021, sec. 3.2).
    """
    y = upsample2d(x, up, factor, padding, backend)
    return downsample2d(activation_function(activation)(y), up if down is None else down, factor, padding, backend)


def filtered_activation2d_reference(
    x: Tensor,
    activation: str | Activation,
    up: FilterSpec | str,
    down: FilterSpec | str | None = None,
    factor: int = 2,
    padding: Padding = "zeros",
) -> Tensor:
    """The literal algorithm: zero insertion, full-rate filters, every factor-th sample."""
    return filtered_activation2d(x, activation, up, down, factor, padding, backend="reference")
