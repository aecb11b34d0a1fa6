"""The CPU backend: kernels compiled by Numba at first use and kept on disk."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.cpu.layout import (
    ACTIVATION,
    ACTIVATION_BACKWARD,
    ACTIVATIONS,
    GATHER,
    JOB,
    LANES,
    SPREAD,
)
from aliasfree.ops.backends.cpu.plan import Size, plan
from aliasfree.ops.backends.cpu.tables import Tables, gather, spread
from aliasfree.ops.backends.cpu.threads import Kernel, compile_kernel, run_on, scratch
from aliasfree.ops.backends.registry import Call
from aliasfree.ops.padding import Padding

__all__ = ["NumbaBackend"]


class NumbaBackend:
    """float32 and bfloat16 tensors on the CPU, NCHW or channels_last, any FIR filter, padding and factor."""

    name = "numba"

    def refusal(self, call: Call) -> str | None:
        """Why it cannot run `call`; None = it can."""
        if importlib.util.find_spec("numba") is None:
            return "numba is not installed (pip install numba)"
        if call.device.type != "cpu":
            return f"it runs on the CPU, not on {call.device.type}"
        if call.dtype not in (torch.float32, torch.bfloat16):
            return f"it computes in float32 and bfloat16, not {str(call.dtype).removeprefix('torch.')}"
        if call.activation is None and call.op == "filtered_activation2d":
            return "it knows no activation but " + ", ".join(ACTIVATIONS)
        if "ideal" in (call.up and call.up.kind, call.down and call.down.kind):
            return "the 'ideal' filter has no taps; products with dense matrices serve it"
        return None

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        low, high = _sizes(x.shape, factor)
        return _run(SPREAD, x, high, up=spread(low, high, spec, factor, padding, False))

    def upsample2d_backward(self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size) -> Tensor:
        high = (grad.shape[2], grad.shape[3])
        return _run(GATHER, grad, size, down=gather(high, size, spec, factor, padding, True))

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        high = (x.shape[2], x.shape[3])
        low = (-(-high[0] // factor), -(-high[1] // factor))
        return _run(GATHER, x, low, down=gather(high, low, spec, factor, padding, False))

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size
    ) -> Tensor:
        low = (grad.shape[2], grad.shape[3])
        return _run(SPREAD, grad, size, up=spread(low, size, spec, factor, padding, True))

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        low, high = _sizes(x.shape, factor)
        tables = spread(low, high, up, factor, padding, False), gather(high, low, down, factor, padding, False)
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
            up=spread(low, high, up, factor, padding, False),
            lift=spread(low, high, down, factor, padding, True),
            down=gather(high, low, up, factor, padding, True),
            activation=activation,
        )


def _sizes(shape: torch.Size, factor: int) -> tuple[Size, Size]:
    low = (shape[2], shape[3])
    return low, (low[0] * factor, low[1] * factor)


def _run(
    mode: int,
    x: Tensor,
    size: Size,
    *,
    grad: Tensor | None = None,
    up: Tables | None = None,
    lift: Tables | None = None,
    down: Tables | None = None,
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
    mode: int, activation: str, x: Tensor, grad: Tensor | None, y: Tensor, shape: Any, *tables: Tables | None
) -> None:
    """Fill y, on as many threads as torch uses."""
    n, c, size, out, channels = shape
    p = plan(mode, activation, n, c, tuple(size), tuple(out), channels, *tables, torch.get_num_threads())
    tensors = x.data_ptr(), (x if grad is None else grad).data_ptr(), y.data_ptr()
    job = np.array((*tensors, p.address, *scratch(p.threads, p.floats, p.ints), 0, 0), JOB)
    run_on(p.threads, _function(y.dtype).function, job.ctypes.data)


@lru_cache(maxsize=2)
def _function(dtype: torch.dtype) -> Kernel:
    """The compiled kernel for a storage type."""
    from aliasfree.ops.backends.cpu import walk  # Numba takes a second to import

    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    return compile_kernel(lambda: walk.compiled(storage), "CPU kernels")
