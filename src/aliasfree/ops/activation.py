"""Filtered activations: a nonlinearity evaluated at a higher rate, so that the frequencies it creates can be removed
before they fold.

    y = filtered_activation2d(x):   1. upsample   2. nonlinearity   3. low-pass and keep every factor-th sample
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops import custom_ops
from aliasfree.ops.dispatch import backend_for
from aliasfree.ops.padding import Padding
from aliasfree.ops.plain import filtered_activation
from aliasfree.ops.pointwise import ACTIVATIONS, activation_function, activation_name
from aliasfree.ops.reference import downsample2d_reference, upsample2d_reference
from aliasfree.ops.resample import check, downsample2d, upsample2d
from aliasfree.ops.tracing import is_tracing

__all__ = ["ACTIVATIONS", "filtered_activation2d", "filtered_activation2d_reference"]

Activation = Callable[[Tensor], Tensor]


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

    >>> import torch
    >>> from aliasfree import FilterSpec, filtered_activation2d
    >>> x = torch.randn(2, 4, 16, 16)
    >>> tuple(filtered_activation2d(x, "gelu", "hq").shape)
    (2, 4, 16, 16)
    >>> at_4x = FilterSpec.named("hq").at_rate(4)
    >>> tuple(filtered_activation2d(x, torch.tanh, at_4x, factor=4).shape)
    (2, 4, 16, 16)
    """
    name, up_spec, down_spec = check_activation(x, activation, up, down, factor, padding)
    arguments = (name, up_spec.key, down_spec.key, factor, padding)
    chosen = backend_for("filtered_activation2d", x, arguments, backend)
    if chosen == "reference":
        return filtered_activation2d_reference(x, activation, up_spec, down_spec, factor, padding)
    if name is None and is_tracing():  # the tables of the plain path are made where no compiler looks
        high = upsample2d(x, up_spec, factor, padding, backend)
        return downsample2d(activation_function(activation)(high), down_spec, factor, padding, backend)
    if name is None or (chosen == "torch" and not is_tracing()):
        return filtered_activation(x, activation_function(activation), up_spec, down_spec, factor, padding)
    return custom_ops.filtered_activation2d(x, name, up_spec.key, down_spec.key, factor, padding, chosen)


def check_activation(
    x: Tensor,
    activation: str | Activation,
    up: FilterSpec | str,
    down: FilterSpec | str | None,
    factor: int,
    padding: str,
) -> tuple[str | None, FilterSpec, FilterSpec]:
    """(name of the activation, filter up, filter down) of checked arguments. Raises as `filtered_activation2d`."""
    first = check(x, up, factor, padding)
    last = first if down is None else check(x, down, factor, padding)
    activation_function(activation)
    return activation_name(activation), first, last


def filtered_activation2d_reference(
    x: Tensor,
    activation: str | Activation,
    up: FilterSpec | str,
    down: FilterSpec | str | None = None,
    factor: int = 2,
    padding: Padding = "zeros",
) -> Tensor:
    """The literal algorithm: zero insertion, full-rate filters, every factor-th sample.

    >>> import torch
    >>> from aliasfree.ops import filtered_activation2d, filtered_activation2d_reference
    >>> x = torch.randn(1, 2, 8, 8)
    >>> fast = filtered_activation2d(x, "gelu", "hq", backend="torch")
    >>> torch.allclose(fast, filtered_activation2d_reference(x, "gelu", "hq"), atol=1e-5)
    True
    """
    up = check(x, up, factor, padding)
    y = activation_function(activation)(upsample2d_reference(x, up, factor, padding))
    return downsample2d_reference(y, up if down is None else check(x, down, factor, padding), factor, padding)
