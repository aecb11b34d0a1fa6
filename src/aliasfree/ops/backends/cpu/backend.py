"""The CPU backend: kernels compiled by Numba at first use and kept on disk."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.cpu import dense
from aliasfree.ops.backends.cpu import tables as T
from aliasfree.ops.backends.cpu.dense_tables import DenseTables, dense_gather, dense_spread
from aliasfree.ops.backends.cpu.tables import BLOCK, LANES, Tables, gather, spaced, spread
from aliasfree.ops.backends.cpu.threads import compile_kernel, run_on, scratch
from aliasfree.ops.dispatch import Call
from aliasfree.ops.padding import Padding

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NumbaBackend"]

WHOLE = 2048
"""Planes of at most so many pixels are brought into the scratch at once, others row by row."""
SHARE = 1 << 15
"""Pixels below which a second thread costs more than it brings."""
ACTIVATIONS = ("gelu", "silu", "relu", "identity")
Size = tuple[int, int]
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
        return dense.refusal(call)

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        low, high = _sizes(x.shape, factor)
        return _run("SPREAD", x, high, up=_spread(low, high, spec, factor, padding, False))

    def upsample2d_backward(self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size) -> Tensor:
        high = (grad.shape[2], grad.shape[3])
        return _run("GATHER", grad, size, down=_gather(high, size, spec, factor, padding, True))

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: Padding) -> Tensor:
        high = (x.shape[2], x.shape[3])
        low = (-(-high[0] // factor), -(-high[1] // factor))
        return _run("GATHER", x, low, down=_gather(high, low, spec, factor, padding, False))

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: Padding, size: Size
    ) -> Tensor:
        low = (grad.shape[2], grad.shape[3])
        return _run("SPREAD", grad, size, up=_spread(low, size, spec, factor, padding, True))

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        low, high = _sizes(x.shape, factor)
        tables = _spread(low, high, up, factor, padding, False), _gather(high, low, down, factor, padding, False)
        return _run("ACTIVATION", x, low, up=tables[0], down=tables[1], activation=activation)

    def filtered_activation2d_backward(
        self, grad: Tensor, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: Padding
    ) -> Tensor:
        low, high = _sizes(x.shape, factor)
        return _run(
            "ACTIVATION_BACKWARD",
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
    mode: str,
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
        flat = [None if t is None else _planes_last(t, channels) for t in (x, grad)]
        out = x.new_empty(size[0] * size[1], channels)
        _walk(mode, activation, flat[0], flat[1], out, (1, channels, x.shape[2:], size, channels), up, lift, down)
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
    mode: str, activation: str, x: Tensor | None, grad: Tensor | None, y: Tensor, shape: Any, *tables: AnyTables | None
) -> None:
    """Fill y, on as many threads as torch uses."""
    assert x is not None
    if any(isinstance(t, DenseTables) for t in tables):
        dense.fill(mode, activation, x, grad, y, shape, *tables)  # type: ignore[arg-type]
        return
    n, c, low, size, channels = shape
    plan = _plan(mode, activation, n, c, tuple(low), tuple(size), channels, *tables, torch.get_num_threads())
    packet = plan.packet.copy()
    packet[:3] = x.data_ptr(), (x if grad is None else grad).data_ptr(), y.data_ptr()
    packet[plan.scratch_at] = scratch(plan.threads, plan.floats, plan.ints)
    run_on(plan.threads, _function(y.dtype).function, packet.ctypes.data)


@dataclass(frozen=True)
class _Plan:
    """All that a kernel is told but where the tensors and the scratch are, and what scratch it needs."""

    packet: NDArray[np.int64]
    scratch_at: slice
    threads: int
    floats: int
    ints: int
    owners: tuple[NDArray[Any], ...]
    """What the packet's addresses are those of."""


@lru_cache(maxsize=512)
def _plan(
    mode: str,
    activation: str,
    n: int,
    c: int,
    low: Size,
    size: Size,
    channels: int,
    up: Tables | None,
    lift: Tables | None,
    down: Tables | None,
    threads: int,
) -> _Plan:
    k = _kernels()
    up, lift, down = (t or _NOTHING for t in (up, lift, down))
    where = _where(mode, n, c, low, size, channels, up, lift, down)
    groups = n * -(-c // LANES) if channels else -(-n * c // LANES)
    threads = max(1, min(threads, groups, 1 + groups * LANES * low[0] * low[1] // SHARE))
    owners = (where, up.ints, up.weights, lift.ints, lift.weights, down.ints, down.weights)
    packet = np.zeros(k.PACKET_SIZE, np.int64)
    packet[3 : 3 + len(owners)] = [array.ctypes.data for array in owners]
    chunks = 1 if threads == 1 else min(groups, 4 * threads)
    packet[[k.MODE, k.CODE, k.GROUPS, k.CHUNKS, k.THREADS]] = (
        getattr(k, mode), k.ACTIVATION_CODES[activation], groups, chunks, threads
    )  # fmt: skip
    scratch_at = slice(k.SCRATCH, k.SCRATCH + 4)
    return _Plan(packet, scratch_at, threads, int(where[k.FLOATS]), int(where[k.INTS]), owners)


@lru_cache(maxsize=2)
def _function(dtype: torch.dtype) -> Any:
    """The compiled kernel for a storage type."""
    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    return compile_kernel(lambda: _kernels().compiled(storage), "CPU kernels")


@lru_cache(maxsize=1)
def _kernels() -> Any:
    from aliasfree.ops.backends.cpu import walk as module

    return module


_NOTHING = Tables(np.zeros(T.HEADER, np.int64), np.zeros(1, np.float32), (0, 0), (0, 0))


def _where(
    mode: str, n: int, c: int, size: Size, out: Size, channels: int, up: Tables, lift: Tables, down: Tables
) -> NDArray[np.int64]:
    """Sizes, and where everything lies in a thread's scratch."""
    k = _kernels()
    where = np.zeros(k.WHERE, np.int64)
    where[[k.PLANES, k.CHANNELS]] = n * c, channels
    where[[k.IN_H, k.IN_W, k.OUT_H, k.OUT_W, k.GRAD_H, k.GRAD_W]] = *size, *out, *size
    floats = ints = 0

    def floats_for(vectors: int) -> int:
        nonlocal floats
        at, floats = floats, floats + vectors * LANES
        return at

    ints = 1  # the clock

    def keys_for(keys: int, slots: int) -> int:
        nonlocal ints
        at, ints = ints, ints + keys + 2 * slots
        return at

    height, width = size
    narrow = width < LANES and not channels
    stride = width if narrow else spaced(width)
    for tables, rows, step, at, keys in (
        (up, k.IN_ROWS, k.IN_STRIDE, k.IN_AT, k.IN_KEYS),
        (lift, k.GRAD_ROWS, k.GRAD_STRIDE, k.GRAD_AT, k.GRAD_KEYS),
    ):
        kept = min(height, int(tables.ints[T.MOST_TAPS]) + 2)
        if narrow or height * width <= WHOLE:
            kept = height
        if mode == "GATHER" and not narrow:
            kept = 0  # high-rate rows are loaded where they are used
        where[[rows, step]] = kept, stride * LANES
        where[at] = floats_for(kept * stride)
        where[keys] = keys_for(height, kept)

    t = [table.ints for table in (up, lift, down)]
    # filters go over whole blocks, beyond the end of a row
    beyond = (BLOCK - 1) * max(int(step) for v in t for step in v[v[T.SEGMENT] + 1 :][: 7 * v[T.SEGMENTS] : 7])
    left, right = (max(int(v[i]) for v in t[:2]) for i in (T.LEFT, T.RIGHT))
    where[k.LOW_AT] = floats_for(left + width + right + beyond) + left * LANES
    wide = max(int(v[T.WIDE]) for v in t)
    before = max(*(int(v[T.EXTRA_LEFT]) for v in t), int(down.ints[T.LEFT]))
    after = max(*(int(v[T.EXTRA_RIGHT]) for v in t), int(down.ints[T.RIGHT]))
    room = before + max(wide, out[1], width) + after + beyond
    where[k.HIGH_AT] = floats_for(room) + before * LANES
    where[k.OTHER_AT] = floats_for(room) + before * LANES
    d = down.ints
    terms, extra = int(d[T.MOST_TERMS]), int(d[T.EXTRA_LEFT])
    ring_rows = min(int(d[T.PAIRS]), int(d[T.MOST_TAPS]) + 2)
    ring_stride = spaced(extra + out[1] + int(d[T.EXTRA_RIGHT]) + beyond)
    where[[k.RING_ROWS, k.RING_STRIDE]] = ring_rows, ring_stride * LANES
    where[k.RING_AT] = floats_for(ring_rows * terms * ring_stride) + extra * LANES
    where[k.RING_KEYS] = keys_for(int(d[T.PAIRS]), ring_rows)
    pieces = out[1] < LANES and not channels
    where[k.OUT_AT] = floats_for(out[0] * out[1] + beyond) if pieces else -1
    where[k.OFFSETS] = ints
    where[k.INTS] = ints + int(d[T.MOST_TAPS]) + max(int(v[T.MOST_TAPS]) for v in t[:2]) + 2
    where[k.FLOATS] = floats
    return where
