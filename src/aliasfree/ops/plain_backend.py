"""The two backends that run everything: "torch" and "reference".

A call on real tensors is differentiated by autograd, which sees into them. Inside the registered ops it does not, so
the gradients are written out (`..._backward`); both have the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.dispatch import Call
from aliasfree.ops.memory_format import in_format_of
from aliasfree.ops.padding import Padding
from aliasfree.ops.plain import adjoint, filtered_activation, resample
from aliasfree.ops.pointwise import ACTIVATIONS
from aliasfree.ops.reference import (
    attention_reference,
    downsample2d_reference,
    joined_heads,
    split_heads,
    upsample2d_reference,
)
from aliasfree.ops.tracing import is_transformed, needs_formula

__all__ = ["Reference", "Torch"]

Size = tuple[int, int]


class Torch:
    """PyTorch's own operations: any dtype and device, differentiable any number of times."""

    def refusal(self, call: Call) -> str | None:
        return None

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        return resample(x, spec, factor, padding, up=True)

    def upsample2d_backward(self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size) -> Tensor:
        return in_format_of(grad, adjoint(grad, spec, factor, padding, size, up=True))

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        return resample(x, spec, factor, padding, up=False)

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size
    ) -> Tensor:
        return in_format_of(grad, adjoint(grad, spec, factor, padding, size, up=False))

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        return filtered_activation(x, ACTIVATIONS[activation].function, up, down, factor, padding)

    def filtered_activation2d_backward(
        self, grad: Tensor, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        high = self.upsample2d(x, up, factor, padding)
        lifted = adjoint(grad, down, factor, padding, (high.shape[2], high.shape[3]), up=False)
        slopes = ACTIVATIONS[activation].derivative(lifted, high)
        return in_format_of(x, adjoint(slopes, up, factor, padding, (x.shape[2], x.shape[3]), up=True))

    def attention(self, qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        traced = torch.compiler.is_compiling()
        if not traced and needs_formula(qkv):
            return attention_reference(qkv, heads), _no_statistics(qkv, heads)
        out = joined_heads(F.scaled_dot_product_attention(*split_heads(qkv, heads)))
        if not traced and qkv.requires_grad and torch.is_grad_enabled() and not is_transformed(qkv):
            out = _TwiceDifferentiable.apply(out, qkv, heads)
        return out, _no_statistics(qkv, heads)

    def attention_backward(self, grad: Tensor, qkv: Tensor, out: Tensor, statistics: Tensor, heads: int) -> Tensor:
        q, k, v = split_heads(qkv, heads)
        g = grad.unflatten(2, (heads, -1)).transpose(1, 2)
        scale = q.shape[-1] ** -0.5
        weights = (q @ k.mT * scale).softmax(-1)
        slopes = weights * (g @ v.mT - (g * (weights @ v)).sum(-1, keepdim=True)) * scale
        parts = torch.stack([slopes @ k, slopes.mT @ q, weights.mT @ g])
        return parts.permute(1, 3, 0, 2, 4).reshape(qkv.shape).contiguous()


class Reference(Torch):
    """The literal algorithms, slow; inside the registered ops their gradients are those of "torch"."""

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        return in_format_of(x, upsample2d_reference(x, spec, factor, padding))

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        return in_format_of(x, downsample2d_reference(x, spec, factor, padding))

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        high = ACTIVATIONS[activation].function(self.upsample2d(x, up, factor, padding))
        return self.downsample2d(high, down, factor, padding)

    def attention(self, qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        return attention_reference(qkv, heads), _no_statistics(qkv, heads)


def _no_statistics(qkv: Tensor, heads: int) -> Tensor:
    return qkv.new_zeros(qkv.shape[0], heads, qkv.shape[1], dtype=torch.float32)


class _TwiceDifferentiable(torch.autograd.Function):
    """PyTorch's fused attention has no second derivative: where one is asked for, the gradient is the formula's."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, out: Tensor, qkv: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(qkv)
        ctx.heads = heads  # type: ignore[attr-defined]
        return out.view_as(out)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        if not torch.is_grad_enabled():
            return grad, None, None
        (qkv,) = ctx.saved_tensors  # type: ignore[attr-defined]
        point = qkv.view_as(qkv)
        y = attention_reference(point, ctx.heads)  # type: ignore[attr-defined]
        return None, torch.autograd.grad(y, point, grad, create_graph=True)[0], None
