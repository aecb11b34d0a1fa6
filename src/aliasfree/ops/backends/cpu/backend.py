"""The CPU backend: kernels compiled by Numba at first use and kept on disk."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.cpu.fir.plan import Size, plan, run
from aliasfree.ops.backends.cpu.fir.tables import Tables, gather, spread
from aliasfree.ops.backends.cpu.ideal import plan as ideal
from aliasfree.ops.backends.cpu.ideal.tables import DenseTables, dense_gather, dense_spread
from aliasfree.ops.backends.cpu.simd.layout import (
    ACTIVATION,
    ACTIVATION_BACKWARD,
    ACTIVATIONS,
    GATHER,
    LANES,
    SPREAD,
)
from aliasfree.ops.backends.cpu.threads import Kernel, compile_kernel
from aliasfree.ops.dispatch import Call
from aliasfree.ops.padding import Padding

__all__ = ["NumbaBackend"]

AnyTables = Tables | DenseTables


class NumbaBackend:
    """float32 and bfloat16 tensors on the CPU, NCHW or channels_last, any FIR filter, padding and factor.

    The "ideal" filter on planes up to 64x64.
    """

    name = "numba"

    def refusal(self, call: Call) -> str | None:
        """Why it cannot run `call`; None = it can."""
        if importlib.util.find_spec("numba") is None:
            return "numba is not installed (pip install numba)"
        if call.device.type != "cpu":
            return f"it runs on the CPU, not on {call.device.type}"
        if call.dtype not in (torch.float32, torch.bfloat16):
            return f"it computes in float32 and bfloat16, not {str(call.dtype).removeprefix('torch.')}"
        if call.op == "filtered_activation2d" and call.activation not in ACTIVATIONS:
            return "it knows no activation but " + ", ".join(ACTIVATIONS)
        return ideal.refusal(call)

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        low, high = _sizes(x.shape, factor)
        return _run(SPREAD, x, high, up=_spread(low, high, spec, factor, padding, False))

    def upsample2d_backward(self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size) -> Tensor:
        high = (grad.shape[2], grad.shape[3])
        return _run(GATHER, grad, size, down=_gather(high, size, spec, factor, padding, True))

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        high = (x.shape[2], x.shape[3])
        low = (-(-high[0] // factor), -(-high[1] // factor))
        return _run(GATHER, x, low, down=_gather(high, low, spec, factor, padding, False))

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size
    ) -> Tensor:
        low = (grad.shape[2], grad.shape[3])
        return _run(SPREAD, grad, size, up=_spread(low, size, spec, factor, padding, True))

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        low, high = _sizes(x.shape, factor)
        tables = _spread(low, high, up, factor, padding, False), _gather(high, low, down, factor, padding, False)
        return _run(ACTIVATION, x, low, up=tables[0], down=tables[1], activation=activation)

    def filtered_activation2d_backward(
        self, grad: Tensor, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        low, high = _sizes(x.shape, factor)
        return _run(
            ACTIVATION_BACKWARD,
            x,
            low,
            grad=grad,
            up=_spread(low, high, up, factor, padding, False),
            lift=_spread(low, high, down, factor, padding, True),
            down=_gather(high, low, up, factor, padding, True),
            activation=activation,
        )


def _spread(low: Size, high: Size, spec: FilterSpec, factor: int, padding: Padding, adjoint: bool) -> AnyTables:
    if spec.kind == "ideal":
        return dense_spread(low, high, spec, factor, adjoint)
    return spread(low, high, spec, factor, padding, adjoint)


def _gather(high: Size, low: Size, spec: FilterSpec, factor: int, padding: Padding, adjoint: bool) -> AnyTables:
    if spec.kind == "ideal":
        return dense_gather(high, low, spec, factor, adjoint)
    return gather(high, low, spec, factor, padding, adjoint)


def _sizes(shape: torch.Size, factor: int) -> tuple[Size, Size]:
    low = (shape[2], shape[3])
    return low, (low[0] * factor, low[1] * factor)


def _run(
    mode: int,
    x: Tensor,
    size: Size,
    *,
    grad: Tensor | None = None,
    up: AnyTables | None = None,
    lift: AnyTables | None = None,
    down: AnyTables | None = None,
    activation: str = "identity",
) -> Tensor:
    """Walk over x (and grad, of x's shape) and give a tensor (N, C, *size) of x's dtype and memory format."""
    n, c = x.shape[:2]
    last = _channels_last(x)
    y = torch.empty(
        (n, c, *size), dtype=x.dtype, memory_format=torch.channels_last if last else torch.contiguous_format
    )
    if not y.numel() or not x.numel():
        return y.zero_()
    channels = c if last else 0
    if (last and c < LANES) or (not last and min(x.shape[2] * x.shape[3], size[0] * size[1]) < LANES):
        # too few channels, or planes smaller than a tile: all planes become the channels of one image
        planes, channels = n * c, max(n * c, LANES)
        flat, flat_grad = _planes_last(x, channels), None if grad is None else _planes_last(grad, channels)
        out = x.new_empty(size[0] * size[1], channels)
        _walk(mode, activation, flat, flat_grad, out, (1, channels, x.shape[2:], size, channels), up, lift, down)
        return y.copy_(out[:, :planes].T.reshape(n, c, *size))
    memory_format = torch.channels_last if last else torch.contiguous_format
    x = x.contiguous(memory_format=memory_format)
    grad = None if grad is None else grad.to(x.dtype).contiguous(memory_format=memory_format)
    _walk(mode, activation, x, grad, y, (n, c, x.shape[2:], size, channels), up, lift, down)
    return y


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _planes_last(x: Tensor, channels: int) -> Tensor:
    """(N, C, H, W) as (H W, channels), with planes of zeros at the end."""
    planes = x.shape[0] * x.shape[1]
    out = x.new_zeros(x.shape[2] * x.shape[3], channels)
    out[:, :planes] = x.reshape(planes, -1).T
    return out


def _walk(
    mode: int, activation: str, x: Tensor, grad: Tensor | None, y: Tensor, shape: Any, *tables: AnyTables | None
) -> None:
    """Fill y, on as many threads as torch uses; shape = (N, C, size of x, size of y, channels if those are last)."""
    n, c, size, out, channels = shape
    where = n, c, tuple(size), tuple(out), channels
    if any(isinstance(t, DenseTables) for t in tables):
        run(ideal.plan(mode, activation, *where, *tables, torch.get_num_threads()), ideal.kernel(y.dtype), x, grad, y)
    else:
        run(plan(mode, activation, *where, *tables, torch.get_num_threads()), _kernel(y.dtype), x, grad, y)


@lru_cache(maxsize=2)
def _kernel(dtype: torch.dtype) -> Kernel:
    """The compiled kernel for a storage type."""
    from aliasfree.ops.backends.cpu.fir import kernels  # Numba takes a second to import

    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    return compile_kernel(lambda: kernels.compiled(storage), "CPU kernels")
