"""Filters without taps on the CPU: how the kernels for dense matrices are called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aliasfree.ops.backends.cpu.dense_tables import DenseTables
from aliasfree.ops.backends.cpu.tables import LANES, spaced
from aliasfree.ops.backends.cpu.threads import compile_kernel, run_on, scratch
from aliasfree.ops.dispatch import Call

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LONGEST", "fill", "refusal"]

LONGEST = 64
"""Longest side of the lower rate: beyond it the work per pixel, which grows with the side, is better done otherwise."""
SHARE = 1 << 14
"""Pixels below which a second thread costs more than it brings."""
Size = tuple[int, int]


def refusal(call: Call) -> str | None:
    """Why the 'ideal' filters of a call cannot be served; None = they can, or there are none."""
    ideal = [spec.kind == "ideal" for spec in (call.up, call.down) if spec is not None]
    if not any(ideal):
        return None
    if not all(ideal):
        return "one of its filters is 'ideal' and the other is not; products with dense matrices serve them"
    rate = call.factor if call.op == "downsample2d" else 1
    if max(call.shape[2:]) > LONGEST * rate:
        return f"it serves the 'ideal' filter on planes up to {LONGEST}x{LONGEST}, not {call.shape[2]}x{call.shape[3]}"
    return None


def fill(
    mode: str,
    activation: str,
    x: Tensor,
    grad: Tensor | None,
    y: Tensor,
    shape: tuple[int, int, Size, Size, int],
    up: DenseTables | None,
    lift: DenseTables | None,
    down: DenseTables | None,
) -> None:
    """Fill y, on as many threads as torch uses; shape = (N, C, size of x, size of y, channels if those are last)."""
    n, c, size, out, channels = shape
    where = (n, c, tuple(size), tuple(out), channels)
    plan = _plan(mode, activation, where, up, lift, down, torch.get_num_threads())
    packet = plan.packet.copy()
    packet[:3] = x.data_ptr(), (x if grad is None else grad).data_ptr(), y.data_ptr()
    packet[plan.scratch_at] = scratch(plan.threads, plan.floats, 0)[:2]
    run_on(plan.threads, _function(y.dtype).function, packet.ctypes.data)


@dataclass(frozen=True)
class _Plan:
    """All that a kernel is told but where the tensors and the scratch are, and what scratch it needs."""

    packet: NDArray[np.int64]
    scratch_at: slice
    threads: int
    floats: int
    owners: tuple[NDArray[Any], ...]
    """What the packet's addresses are those of."""


@lru_cache(maxsize=512)
def _plan(
    mode: str,
    activation: str,
    shape: tuple[int, int, Size, Size, int],
    up: DenseTables | None,
    lift: DenseTables | None,
    down: DenseTables | None,
    threads: int,
) -> _Plan:
    k = _kernels()
    n, c, size, out, channels = shape
    tables = [t or _NOTHING for t in (up, lift, down)]
    low, high = (size, out) if mode == "SPREAD" else (out, size) if mode == "GATHER" else (size, _high(up))
    where = _where(mode, low, high, channels)
    where[[k.PLANES, k.CHANNELS]] = n * c, channels
    where[[k.UP_COLUMNS, k.LIFT_COLUMNS, k.DOWN_COLUMNS]] = [t.columns_at for t in tables]
    groups = n * -(-c // LANES) if channels else -(-n * c // LANES)
    threads = max(1, min(threads, groups, 1 + groups * LANES * low[0] * low[1] // SHARE))
    owners = (where, *[t.weights for t in tables])
    packet = np.zeros(k.PACKET_SIZE, np.int64)
    packet[3 : 3 + len(owners)] = [array.ctypes.data for array in owners]  # type: ignore
    chunks = 1 if threads == 1 else min(groups, 4 * threads)
    packet[[k.MODE, k.CODE, k.GROUPS, k.CHUNKS, k.THREADS]] = (
        getattr(k, mode), k.ACTIVATION_CODES[activation], groups, chunks, threads
    )  # fmt: skip
    return _Plan(packet, slice(k.SCRATCH, k.SCRATCH + 2), threads, int(where[k.FLOATS]), owners)  # type: ignore


def _high(up: DenseTables | None) -> Size:
    assert up is not None
    return up.high


def _where(mode: str, low: Size, high: Size, channels: int) -> NDArray[np.int64]:
    """Sizes, and where everything lies in a thread's scratch."""
    k = _kernels()
    where = np.zeros(k.WHERE, np.int64)
    where[[k.LOW_H, k.LOW_W, k.HIGH_H, k.HIGH_W]] = *low, *high
    floats = 0

    def plane(at: int, rows: int, stride: int) -> None:
        nonlocal floats
        where[at] = floats
        floats += rows * stride * LANES

    def row(width: int) -> int:
        # planes narrower than a tile are read and written in one piece
        return width if width < LANES and not channels else spaced(width)

    back = mode == "ACTIVATION_BACKWARD"
    low_row, high_row = row(low[1]), row(high[1])
    mixed_rows, mixed_row = (high[0], spaced(low[1])) if mode == "GATHER" else (low[0], spaced(high[1]))
    where[[k.LOW_STRIDE, k.HIGH_STRIDE, k.MIXED_STRIDE]] = low_row * LANES, high_row * LANES, mixed_row * LANES
    plane(k.LOW_AT, low[0], low_row)
    plane(k.MIXED_AT, mixed_rows, mixed_row)
    if back:
        plane(k.GRAD_AT, low[0], low_row)
        plane(k.LIFTED_AT, mixed_rows, mixed_row)
    if mode in ("SPREAD", "GATHER"):
        plane(k.HIGH_AT, high[0], high_row)
    plane(k.LINE_AT, high[0], 1)
    plane(k.OTHER_AT, high[0], 1)
    where[k.FLOATS] = floats
    return where


@lru_cache(maxsize=2)
def _function(dtype: torch.dtype) -> Any:
    """The compiled kernel for a storage type."""
    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    return compile_kernel(lambda: _kernels().compiled(storage), "CPU kernels for dense matrices")


@lru_cache(maxsize=1)
def _kernels() -> Any:
    from aliasfree.ops.backends.cpu import dense_kernels as module

    return module


_NOTHING = DenseTables(np.zeros(1, np.float32), 0, (0, 0))
