"""The ideal filter on the CPU: which calls its kernels serve, and what the shape of the tensors decides."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aliasfree.ops.backends.cpu.ideal.layout import PLAN
from aliasfree.ops.backends.cpu.ideal.tables import DenseTables
from aliasfree.ops.backends.cpu.plan import Plan, Scratch, Shape, divide, spaced
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATION, ACTIVATION_BACKWARD, ACTIVATIONS, GATHER, LANES, SPREAD
from aliasfree.ops.dispatch import Call

__all__ = ["LONGEST", "plan", "refusal"]

LONGEST = 512
"""Longest side of the lower rate. The work per pixel grows with it, and so does a thread's scratch: 34 MB at 512,
twice that for a gradient."""
WHOLE = 64 * 64
"""Most pixels of a plane that is read, or written, in one piece."""
PANEL = 1 << 14
"""Pixels of a plane that wait to be stored together: those of 16 planes should fit the cache."""
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
    shape: Shape,
    up: DenseTables | None,
    lift: DenseTables | None,
    down: DenseTables | None,
    threads: int,
) -> Plan:
    """How planes of x become planes of the result; the arguments are those of `fir.plan.plan`."""
    record, room = np.zeros((), PLAN), Scratch()
    if mode == SPREAD:
        low, high = shape.size, shape.out
    elif mode == GATHER:
        low, high = shape.out, shape.size
    else:
        assert up is not None
        low, high = shape.size, up.high
    record["mode"], record["activation"] = mode, ACTIVATIONS[activation]
    record["low_height"], record["low_width"] = low
    record["high_height"], record["high_width"] = high
    divide(record, shape, low[0] * low[1], threads, SHARE)
    for name, table in (("up", up), ("lift", lift), ("down", down)):
        if table is not None:
            record[name], record[f"{name}_columns"] = table.weights.ctypes.data, table.columns_at

    def plane(rows: int, width: int) -> tuple[int, int]:
        return room.vectors(rows * spaced(width)), spaced(width) * LANES

    def whole(size: tuple[int, int], most: int = WHOLE) -> int:
        pixels, narrow = size[0] * size[1], size[1] < LANES and not shape.channels_last
        return room.vectors(pixels) if narrow or pixels <= most else -1

    backward = mode == ACTIVATION_BACKWARD
    record["wide"] = wide = plane(shape.size[0], low[1] if mode == GATHER else high[1])
    record["wide_grad"] = plane(shape.size[0], high[1]) if backward else wide
    record["spare"] = plane(4, max(shape.size[1], shape.out[1]))
    if mode in (SPREAD, GATHER):
        columns = min(shape.out[1], max(1, PANEL // shape.out[0] // LANES) * LANES)
        record["panel"], record["panel_columns"] = plane(shape.out[0], columns), columns
    record["line"], record["other"] = room.vectors(high[0]), room.vectors(high[0])
    in_rows = mode in (ACTIVATION, ACTIVATION_BACKWARD)
    record["whole_in"], record["whole_out"] = whole(shape.size), whole(shape.out, WHOLE if in_rows else 0)
    record["whole_grad"] = whole(shape.size) if backward else -1
    return Plan.of(record, room, (up, lift, down))
