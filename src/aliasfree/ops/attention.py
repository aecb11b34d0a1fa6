"""Self-attention over packed tokens: PyTorch's own, and a kernel for the narrow heads of the paper's UNet on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ShapeError
from aliasfree.ops.dispatch import Choice, call_of, choose, kernels
from aliasfree.ops.tracing import is_plain, is_transformed

__all__ = ["attention", "attention_choice", "attention_reference"]

numba_attention = kernels("attention", "numba")


def attention(qkv: Tensor, heads: int, backend: str = "auto") -> Tensor:
    """softmax(q k' / sqrt(d)) v for each image and head.

    qkv      (N, L, 3 C): the queries of all heads, then their keys, then their values, d = C / heads numbers each
    backend  "auto": "numba" where it can (CPU, float32 or bfloat16, d <= 64, L a multiple of 16), else
             "torch", which is `scaled_dot_product_attention`; "reference" writes all weights out. "numba" sums in
             float32; on processors that multiply bfloat16 it rounds the weights of bfloat16 to it

    Returns (N, L, C) in qkv's dtype. Raises ShapeError, and BackendError for a backend that cannot.
    Source: Vaswani et al. 2017, eq. 1; the kernel after Dao 2023 (arXiv 2307.08691), sections 2.3 and 3.1.
    """
    if backend == "auto" and (is_plain() or is_transformed(qkv) or torch.jit.is_tracing()):
        return _torch(qkv, heads)  # the kernel is for tensors of one dtype and size
    chosen = attention_choice(qkv, heads, backend).name
    if chosen == "numba":
        out: Tensor = _attention(qkv, heads)[0]
        return out
    return (attention_reference if chosen == "reference" else _torch)(qkv, heads)


def attention_choice(qkv: Tensor, heads: int, backend: str = "auto") -> Choice:
    """Which backend runs `attention`, and why not another: what `explain("attention", qkv, heads)` gives."""
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ShapeError(f"expected tokens (N, L, 3 * {heads} heads * d), got {tuple(qkv.shape)}")
    return choose(call_of("attention", qkv, heads), backend)


def attention_reference(qkv: Tensor, heads: int) -> Tensor:
    """The formula, with all weights (N, heads, L, L) written out."""
    q, k, v = _split(qkv, heads)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return _joined(weights @ v)


def _torch(qkv: Tensor, heads: int) -> Tensor:
    return _joined(F.scaled_dot_product_attention(*_split(qkv, heads)))


def _split(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (N, heads, L, d)."""
    n, tokens, width = qkv.shape
    q, k, v = qkv.reshape(n, tokens, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _joined(y: Tensor) -> Tensor:
    """(N, heads, L, d) to (N, L, heads d)."""
    return y.transpose(1, 2).flatten(2)


@torch.library.custom_op("aliasfree::attention", mutates_args=())
def _attention(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    return numba_attention.attention(qkv, heads)


@torch.library.custom_op("aliasfree::attention_backward", mutates_args=())
def _attention_backward(grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor, heads: int) -> Tensor:
    return numba_attention.attention_backward(grad, qkv, out, lse, heads)


@_attention.register_fake
def _(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    n, tokens, width = qkv.shape
    return qkv.new_empty(n, tokens, width // 3), qkv.new_empty(n, heads, tokens, dtype=torch.float32)


@_attention_backward.register_fake
def _(grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor, heads: int) -> Tensor:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, ctx.heads = inputs
    ctx.save_for_backward(qkv, *output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, None]:
    if grad is None:
        return None, None
    return _attention_backward(grad, *ctx.saved_tensors, ctx.heads), None


def _keep_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, qkv, _, _, ctx.heads = inputs
    ctx.save_for_backward(grad, qkv)


def _double_gradient(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
    """The kernel has no second derivative: PyTorch differentiates the formula twice instead."""
    grad, qkv = ctx.saved_tensors
    with torch.enable_grad():
        qkv, grad = qkv.detach().requires_grad_(), grad.detach().requires_grad_()
        (first,) = torch.autograd.grad(attention_reference(qkv, ctx.heads), qkv, grad, create_graph=True)
        to_grad, to_qkv = torch.autograd.grad(first, (grad, qkv), cotangent)
    return to_grad, to_qkv, None, None, None


_attention.register_autograd(_gradient, setup_context=_keep)
_attention_backward.register_autograd(_double_gradient, setup_context=_keep_backward)
