"""Self-attention over packed tokens: PyTorch's own, and a kernel for the narrow heads of the paper's UNet on a CPU."""

from __future__ import annotations

from torch import Tensor

from aliasfree.errors import ShapeError
from aliasfree.ops import custom_ops
from aliasfree.ops.reference import attention_reference
from aliasfree.ops.tracing import is_tracing

__all__ = ["attention", "attention_reference"]


def attention(qkv: Tensor, heads: int, backend: str = "auto") -> Tensor:
    """softmax(q k' / sqrt(d)) v for each image and head.

    qkv      (N, L, 3 C): the queries of all heads, then their keys, then their values, d = C / heads numbers each
    backend  "auto": "numba" where it can (CPU, float32 or bfloat16, d <= 64, L a multiple of 16), else
             "torch", which is `scaled_dot_product_attention`; "reference" writes all weights out. "numba" sums in
             float32; on processors that multiply bfloat16 it rounds the weights of bfloat16 to it

    Returns (N, L, C) in qkv's dtype. Raises ShapeError, and BackendError for a backend that cannot.
    Source: Vaswani et al. 2017, eq. 1; the kernel after Dao 2023 (arXiv 2307.08691), sections 2.3 and 3.1.
    """
    if backend == "auto" and is_tracing():
        backend = "torch"  # compilers have kernels of their own for it
    return custom_ops.run("attention", qkv, check_arguments(qkv, heads), backend)


def check_arguments(qkv: Tensor, heads: int) -> tuple[int]:
    """The checked arguments. Raises ShapeError."""
    if qkv.ndim != 3 or heads < 1 or qkv.shape[2] % (3 * heads):
        raise ShapeError(f"expected tokens (N, L, 3 * {heads} heads * d), got {tuple(qkv.shape)}")
    return (heads,)
