"""What the shape of the tensors decides about a FIR kernel's work: rings, margins, and where they lie."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aliasfree.ops.backends.cpu.fir.layout import PLAN
from aliasfree.ops.backends.cpu.fir.tables import Tables
from aliasfree.ops.backends.cpu.plan import Plan, Scratch, Shape, divide, spaced
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATIONS, BLOCK, GATHER, LANES

__all__ = ["plan"]

WHOLE = 2048
"""Most pixels of a plane that is loaded into the scratch at once; larger planes are loaded row by row."""
SHARE = 1 << 15
"""Pixels below which a second thread costs more than it brings."""
_NOTHING = Tables.empty()


@lru_cache(maxsize=512)
def plan(
    mode: int,
    activation: str,
    shape: Shape,
    up: Tables | None,
    lift: Tables | None,
    down: Tables | None,
    threads: int,
) -> Plan:
    """How planes of x become planes of the result.

    mode        ACTIVATION, ACTIVATION_BACKWARD, SPREAD or GATHER
    activation  a key of `layout.ACTIVATIONS`
    up, lift    tables of the spread of x, and of that of grad
    down        tables of the gather
    threads     how many may be used
    """
    tables = tuple(table or _NOTHING for table in (up, lift, down))
    spreads, fields, d = [table.fields for table in tables[:2]], [table.fields for table in tables], tables[2].fields
    record, room = np.zeros((), PLAN), Scratch()
    record["mode"], record["activation"] = mode, ACTIVATIONS[activation]
    (height, width), out = shape.size, shape.out
    record["in_height"], record["in_width"] = height, width
    record["out_height"], record["out_width"] = out
    divide(record, shape, height * width, threads, SHARE)
    for name, table in zip(("up", "lift", "down"), tables, strict=True):
        record[name] = table.record.ctypes.data

    # rows of x and of grad
    narrow = width < LANES and not shape.channels_last
    stride = width if narrow else spaced(width)
    for name, spread in zip(("input", "grad"), spreads, strict=True):
        slots = min(height, spread["most_taps"] + 2)
        if narrow or height * width <= WHOLE:
            slots = height
        if mode == GATHER and not narrow:
            slots = 0  # high-rate rows are loaded where they are used
        record[name] = _ring(room, height, slots, stride)

    # single rows; filters work by blocks, which may end behind the row
    beyond = (BLOCK - 1) * max(int(step) for field in fields for step in [0, *field["segment"]["step"]])
    left, right = (max(spread[side] for spread in spreads) for side in ("left", "right"))
    record["low"] = room.vectors(left + width + right + beyond, left)
    before = max(*(field["extra_left"] for field in fields), d["left"])
    after = max(*(field["extra_right"] for field in fields), d["right"])
    pixels = before + max(*(field["high_width"] for field in fields), out[1], width) + after + beyond
    record["high"] = room.vectors(pixels, before)
    record["other"] = room.vectors(pixels, before)

    # lines that wait to be gathered
    row = spaced(d["extra_left"] + out[1] + d["extra_right"] + beyond)
    record["term_stride"] = row * LANES
    record["ring"] = _ring(
        room, d["pairs"], min(d["pairs"], d["most_taps"] + 2), d["most_terms"] * row, d["extra_left"]
    )
    pieces = out[1] < LANES and not shape.channels_last
    record["out"] = room.vectors(out[0] * out[1] + beyond) if pieces else -1
    # places of the lines that a gathered row reads; behind them those of the rows that make its high-rate row
    record["offsets"] = room.numbers(d["most_taps"] + max(spread["most_taps"] for spread in spreads) + 2)
    return Plan.of(record, room, tables)


def _ring(room: Scratch, count: int, slots: int, stride: int, before: int = 0) -> tuple[int, ...]:
    """A `layout.RING` of `slots` rows of `stride` vectors."""
    at, keys = room.vectors(slots * stride, before), room.numbers(count + 2 * slots)
    return count, slots, stride * LANES, at, keys
