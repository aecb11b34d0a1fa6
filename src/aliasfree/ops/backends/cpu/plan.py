"""Plans of the walk: what a shape of tensors settles, and where everything lies in a thread's scratch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from aliasfree.ops.backends.cpu.layout import ACTIVATIONS, BLOCK, GATHER, LANES, PLAN
from aliasfree.ops.backends.cpu.tables import Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plan", "plan"]

WHOLE = 2048
"""Planes of at most so many pixels are brought into the scratch at once, others row by row."""
SHARE = 1 << 15
"""Pixels below which a second thread costs more than it brings."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """A `layout.PLAN`, where it lies, and the numbers of it that Python needs at every call."""

    record: NDArray[np.void]
    address: int
    threads: int
    floats: int
    ints: int
    tables: tuple[Tables, ...]
    """Kept alive, because the record has their addresses."""


class _Scratch:
    """Gives out room in a thread's scratch; a place is the number of elements before it."""

    def __init__(self) -> None:
        self.floats = 0
        self.ints = 1  # the first is the clock that says which row of a ring was used last

    def vectors(self, count: int, before: int = 0) -> int:
        """Room for `count` vectors; the place of the one behind the first `before`."""
        at = self.floats
        self.floats += count * LANES
        return at + before * LANES

    def numbers(self, count: int) -> int:
        at = self.ints
        self.ints += count
        return at

    def ring(self, count: int, slots: int, stride: int, before: int = 0) -> tuple[int, ...]:
        """A `layout.RING` of `slots` rows of `stride` vectors."""
        at, keys = self.vectors(slots * stride, before), self.numbers(count + 2 * slots)
        return count, slots, stride * LANES, at, keys


_NOTHING = Tables.empty()


@lru_cache(maxsize=512)
def plan(
    mode: int,
    activation: str,
    n: int,
    c: int,
    size: Size,
    out: Size,
    channels: int,
    up: Tables | None,
    lift: Tables | None,
    down: Tables | None,
    threads: int,
) -> Plan:
    """How planes of `size` (H, W) become planes of size `out`.

    mode        ACTIVATION, ACTIVATION_BACKWARD, SPREAD or GATHER
    activation  a key of `layout.ACTIVATIONS`
    n, c        images, and channels of each
    channels    c where channels are last in memory, 0 where they are not
    up, lift    tables of the spread of x, and of that of grad
    down        tables of the gather
    threads     how many may be used
    """
    tables = tuple(table or _NOTHING for table in (up, lift, down))
    spreads, fields, d = [table.fields for table in tables[:2]], [table.fields for table in tables], tables[2].fields
    groups = n * -(-c // LANES) if channels else -(-n * c // LANES)
    threads = max(1, min(threads, groups, 1 + groups * LANES * size[0] * size[1] // SHARE))
    record, scratch = np.zeros((), PLAN), _Scratch()
    for name, value in {
        "mode": mode,
        "activation": ACTIVATIONS[activation],
        "planes": n * c,
        "channels": channels,
        "in_height": size[0],
        "in_width": size[1],
        "out_height": out[0],
        "out_width": out[1],
        "groups": groups,
        "chunks": 1 if threads == 1 else min(groups, 4 * threads),
        "threads": threads,
    }.items():
        record[name] = value
    for name, table in zip(("up", "lift", "down"), tables, strict=True):
        record[name] = table.record.ctypes.data

    # rows of x and of grad
    height, width = size
    narrow = width < LANES and not channels
    stride = width if narrow else _spaced(width)
    for name, spread in zip(("input", "grad"), spreads, strict=True):
        slots = min(height, spread["most_taps"] + 2)
        if narrow or height * width <= WHOLE:
            slots = height
        if mode == GATHER and not narrow:
            slots = 0  # high-rate rows are loaded where they are used
        record[name] = scratch.ring(height, slots, stride)

    # single rows; filters work by blocks, which may end behind the row
    beyond = (BLOCK - 1) * max(int(step) for field in fields for step in [0, *field["segment"]["step"]])
    left, right = (max(spread[side] for spread in spreads) for side in ("left", "right"))
    record["low"] = scratch.vectors(left + width + right + beyond, left)
    before = max(*(field["extra_left"] for field in fields), d["left"])
    after = max(*(field["extra_right"] for field in fields), d["right"])
    room = before + max(*(field["high_width"] for field in fields), out[1], width) + after + beyond
    record["high"] = scratch.vectors(room, before)
    record["other"] = scratch.vectors(room, before)

    # lines that wait to be gathered
    row = _spaced(d["extra_left"] + out[1] + d["extra_right"] + beyond)
    record["term_stride"] = row * LANES
    record["ring"] = scratch.ring(
        d["pairs"], min(d["pairs"], d["most_taps"] + 2), d["most_terms"] * row, d["extra_left"]
    )
    pieces = out[1] < LANES and not channels
    record["out"] = scratch.vectors(out[0] * out[1] + beyond) if pieces else -1
    # a gathered row's, and behind them those of the high-rate row that it waits for
    record["offsets"] = scratch.numbers(d["most_taps"] + max(spread["most_taps"] for spread in spreads) + 2)
    record["floats"], record["ints"] = scratch.floats, scratch.ints
    return Plan(record, record.ctypes.data, threads, scratch.floats, scratch.ints, tables)


def _spaced(width: int) -> int:
    """Row length in vectors, off the multiples that would put a column of rows into one set of the cache."""
    return width + 2 if width % 32 == 0 else width
