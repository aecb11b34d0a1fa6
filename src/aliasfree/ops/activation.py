"""Filtered activations: a nonlinearity evaluated at a higher rate, so that the frequencies it creates can be removed
before they fold.

    y = filtered_activation2d(x):   1. upsample   2. nonlinearity   3. low-pass and keep every factor-th sample
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops import custom_ops, resample
from aliasfree.ops.dispatch import choose
from aliasfree.ops.padding import Padding
from aliasfree.ops.plain import filtered_activation
from aliasfree.ops.pointwise import ACTIVATIONS, activation_function, activation_name
from aliasfree.ops.reference import downsample2d_reference, upsample2d_reference
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
    arguments = check_arguments(x, activation, up, down, factor, padding)
    if arguments[0] is not None:
        return custom_ops.run("filtered_activation2d", x, arguments, backend)
    # a function without a name: no backend has a kernel for it, so its two steps are taken one by one
    _, first, last, factor, padding = arguments
    if not is_tracing():
        backend = choose("filtered_activation2d", x, arguments, backend).name
        if backend == "torch":
            return filtered_activation(x, activation_function(activation), first, last, factor, padding)
    high = custom_ops.run("upsample2d", x, (first, factor, padding), backend)
    return custom_ops.run("downsample2d", activation_function(activation)(high), (last, factor, padding), backend)


def check_arguments(
    x: Tensor,
    activation: str | Activation,
    up: FilterSpec | str,
    down: FilterSpec | str | None,
    factor: int,
    padding: str,
) -> tuple[str | None, FilterSpec, FilterSpec, int, Any]:
    """The checked arguments, the activation by its name (None if it has none), the filters by their description.

    Raises as `filtered_activation2d`.
    """
    first = resample.check_arguments(x, up, factor, padding)[0]
    last = first if down is None else resample.check_arguments(x, down, factor, padding)[0]
    return activation_name(activation), first, last, factor, padding


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
    _, first, last, factor, padding = check_arguments(x, activation, up, down, factor, padding)
    high = activation_function(activation)(upsample2d_reference(x, first, factor, padding))
    return downsample2d_reference(high, last, factor, padding)
