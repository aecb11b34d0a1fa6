"""Filters without taps on the CPU: how the kernels for dense matrices are called."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from aliasfree.ops.backends.cpu.fir.plan import Plan, Scratch, Size, divide, spaced
from aliasfree.ops.backends.cpu.ideal.tables import DenseTables
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATION_BACKWARD, ACTIVATIONS, DENSE_PLAN, GATHER, LANES, SPREAD
from aliasfree.ops.backends.cpu.threads import Kernel, compile_kernel
from aliasfree.ops.dispatch import Call

__all__ = ["LONGEST", "kernel", "plan", "refusal"]

LONGEST = 64
"""Longest side of the lower rate: beyond it the work per pixel, which grows with the side, is better done otherwise."""
SHARE = 1 << 14
"""Pixels below which a second thread costs more than it brings."""


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


@lru_cache(maxsize=512)
def plan(
    mode: int,
    activation: str,
    n: int,
    c: int,
    size: Size,
    out: Size,
    channels: int,
    up: DenseTables | None,
    lift: DenseTables | None,
    down: DenseTables | None,
    threads: int,
) -> Plan:
    """How planes of `size` (H, W) become planes of size `out`; the arguments are those of `plan.plan`."""
    record, room = np.zeros((), DENSE_PLAN), Scratch()
    if mode == SPREAD:
        low, high = size, out
    elif mode == GATHER:
        low, high = out, size
    else:
        assert up is not None
        low, high = size, up.high
    record["mode"], record["activation"] = mode, ACTIVATIONS[activation]
    record["low_height"], record["low_width"] = low
    record["high_height"], record["high_width"] = high
    divide(record, n, c, channels, low[0] * low[1], threads, SHARE)
    for name, table in (("up", up), ("lift", lift), ("down", down)):
        if table is not None:
            record[name], record[f"{name}_columns"] = table.weights.ctypes.data, table.columns_at

    def plane(rows: int, stride: int) -> tuple[int, int]:
        return room.vectors(rows * stride), stride * LANES

    def row(width: int) -> int:
        # planes narrower than a tile are read and written in one piece
        return width if width < LANES and not channels else spaced(width)

    mixed = (high[0], spaced(low[1])) if mode == GATHER else (low[0], spaced(high[1]))
    record["low"], record["mixed"] = plane(low[0], row(low[1])), plane(*mixed)
    if mode == ACTIVATION_BACKWARD:
        record["grad"], record["lifted"] = plane(low[0], row(low[1])), plane(*mixed)
    if mode in (SPREAD, GATHER):
        record["high"] = plane(high[0], row(high[1]))
    record["line"], record["other"] = room.vectors(high[0]), room.vectors(high[0])
    return Plan.of(record, room, (up, lift, down))


@lru_cache(maxsize=2)
def kernel(dtype: torch.dtype) -> Kernel:
    """The compiled kernel for a storage type."""
    from aliasfree.ops.backends.cpu.ideal import kernels  # Numba takes a second to import

    storage = np.float32(0) if dtype == torch.float32 else np.uint16(0)
    return compile_kernel(lambda: kernels.compiled(storage), "CPU kernels for dense matrices")
