"""Ops against each other, made ready to be called again and again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aliasfree.filters import FilterSpec
from aliasfree.ops import downsample2d, filtered_activation2d, upsample2d
from benchmarks.floors import Operation
from benchmarks.literal import LiteralDownsample2d, LiteralFilteredGELU2d, LiteralUpsample2d
from benchmarks.timing import Function

__all__ = ["Module", "literal_op", "op_call", "our_op"]

Module = Callable[[Tensor], Tensor]


def our_op(operation: Operation, spec: FilterSpec, backend: str) -> Module:
    """The library's op as a function of the input."""
    if operation == "upsampling":
        return lambda x: upsample2d(x, spec, backend=backend)
    if operation == "downsampling":
        return lambda x: downsample2d(x, spec, backend=backend)
    return lambda x: filtered_activation2d(x, "gelu", spec, backend=backend)


def literal_op(operation: Operation, spec: FilterSpec) -> nn.Module:
    """The literal algorithm of the same op."""
    if operation == "upsampling":
        return LiteralUpsample2d(spec)
    return LiteralDownsample2d(spec) if operation == "downsampling" else LiteralFilteredGELU2d(spec, spec)


def op_call(module: Module, x: Tensor, backward: bool) -> Function:
    """A call without gradients, or one that also takes those of the input and of the module's parameters."""
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return module(x)

        return forward

    x = x.detach().requires_grad_()
    wanted = [x, *(module.parameters() if isinstance(module, nn.Module) else ())]
    with torch.no_grad():
        gradient = torch.randn_like(module(x))
    return lambda: torch.autograd.grad(module(x), wanted, gradient)
