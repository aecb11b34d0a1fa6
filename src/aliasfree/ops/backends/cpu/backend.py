"""The CPU backend: kernels compiled by Numba at first use and kept on disk."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.cpu.fir import plan as fir
from aliasfree.ops.backends.cpu.fir.tables import Tables, gather, spread
from aliasfree.ops.backends.cpu.ideal import plan as ideal
from aliasfree.ops.backends.cpu.ideal.tables import DenseTables, dense_gather, dense_spread
from aliasfree.ops.backends.cpu.plan import Shape, Size, run
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

    The "ideal" filter on planes up to 512x512.
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
    """Run the kernel of `mode` on x (and grad, of x's shape): a tensor (N, C, *size) of x's dtype and memory format.

    The other arguments are those of `fir.plan.plan`.
    """
    n, c = x.shape[:2]
    last = _channels_last(x)
    memory_format = torch.channels_last if last else torch.contiguous_format
    y = torch.empty((n, c, *size), dtype=x.dtype, memory_format=memory_format)
    if not y.numel() or not x.numel():
        return y.zero_()
    grad = None if grad is None else grad.to(x.dtype)
    before = x.shape[2], x.shape[3]
    if few := (last and c < LANES) or (not last and min(before[0] * before[1], size[0] * size[1]) < LANES):
        # too few channels, or planes smaller than a tile: all planes become the channels of one image
        shape = Shape(1, max(n * c, LANES), before, size, channels_last=True)
        x, grad = _planes_last(x, shape.channels), None if grad is None else _planes_last(grad, shape.channels)
        result = x.new_empty(size[0] * size[1], shape.channels)
    else:
        shape = Shape(n, c, before, size, last)
        x = x.contiguous(memory_format=memory_format)
        grad = None if grad is None else grad.contiguous(memory_format=memory_format)
        result = y
    dense = isinstance(up or down, DenseTables)
    plan = (ideal if dense else fir).plan(mode, activation, shape, up, lift, down, torch.get_num_threads())
    run(plan, _kernel(y.dtype, dense), x, grad, result)
    return y.copy_(result[:, : n * c].T.reshape(n, c, *size)) if few else y


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _planes_last(x: Tensor, channels: int) -> Tensor:
    """(N, C, H, W) as (H W, channels), with planes of zeros at the end."""
    planes = x.shape[0] * x.shape[1]
    out = x.new_zeros(x.shape[2] * x.shape[3], channels)
    out[:, :planes] = x.reshape(planes, -1).T
    return out


@lru_cache(maxsize=4)
def _kernel(dtype: torch.dtype, dense: bool) -> Kernel:
    """The compiled kernel for a storage type, of the ideal filter or of FIR filters."""
    from aliasfree.ops.backends.cpu.fir import kernels as fir_kernels  # Numba takes a second to import
    from aliasfree.ops.backends.cpu.ideal import kernels as ideal_kernels

    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    if dense:
        return compile_kernel(lambda: ideal_kernels.compiled(storage), "CPU kernels for dense matrices")
    return compile_kernel(lambda: fir_kernels.compiled(storage), "CPU kernels")
