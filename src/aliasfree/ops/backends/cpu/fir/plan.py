"""Plans: what the shape of the tensors decides, where everything lies in a thread's scratch, and how a plan is run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from aliasfree.ops.backends.cpu.fir.tables import Tables
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATIONS, BLOCK, GATHER, JOB, LANES, PLAN
from aliasfree.ops.backends.cpu.threads import Kernel, run_on, scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plan", "Scratch", "divide", "plan", "run", "spaced"]

WHOLE = 2048
"""Most pixels of a plane that is loaded into the scratch at once; larger planes are loaded row by row."""
SHARE = 1 << 15
"""Pixels below which a second thread costs more than it brings."""
Size = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """A `layout.PLAN` or `DENSE_PLAN`, where it lies, and the numbers of it that Python needs at every call."""

    record: NDArray[np.void]
    address: int
    threads: int
    floats: int
    ints: int
    tables: tuple[object, ...]
    """Kept alive, because the record has their addresses."""

    @classmethod
    def of(cls, record: NDArray[np.void], scratch: Scratch, tables: tuple[object, ...]) -> Plan:
        record["floats"] = scratch.floats
        return cls(record, record.ctypes.data, int(record["threads"]), scratch.floats, scratch.ints, tables)


def run(plan: Plan, kernel: Kernel, x: Tensor, grad: Tensor | None, y: Tensor) -> None:
    """Call a kernel that fills y."""
    tensors = x.data_ptr(), (x if grad is None else grad).data_ptr(), y.data_ptr()
    job = np.array((*tensors, plan.address, *scratch(plan.threads, plan.floats, plan.ints), 0, 0), JOB)
    run_on(plan.threads, kernel.function, job.ctypes.data)


def divide(record: NDArray[np.void], n: int, c: int, channels: int, pixels: int, threads: int, share: int) -> None:
    """Write how the work is shared out: LANES planes a group, and a thread for every `share` pixels up to `threads`."""
    groups = n * -(-c // LANES) if channels else -(-n * c // LANES)
    threads = max(1, min(threads, groups, 1 + groups * LANES * pixels // share))
    record["planes"], record["channels"] = n * c, channels
    record["groups"], record["threads"] = groups, threads
    record["chunks"] = 1 if threads == 1 else min(groups, 4 * threads)


class Scratch:
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


def spaced(width: int) -> int:
    """Row length in vectors, off the multiples that would put a column of rows into one set of the cache."""
    return width + 2 if width % 32 == 0 else width


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
    record, room = np.zeros((), PLAN), Scratch()
    record["mode"], record["activation"] = mode, ACTIVATIONS[activation]
    record["in_height"], record["in_width"] = size
    record["out_height"], record["out_width"] = out
    divide(record, n, c, channels, size[0] * size[1], threads, SHARE)
    for name, table in zip(("up", "lift", "down"), tables, strict=True):
        record[name] = table.record.ctypes.data

    # rows of x and of grad
    height, width = size
    narrow = width < LANES and not channels
    stride = width if narrow else spaced(width)
    for name, spread in zip(("input", "grad"), spreads, strict=True):
        slots = min(height, spread["most_taps"] + 2)
        if narrow or height * width <= WHOLE:
            slots = height
        if mode == GATHER and not narrow:
            slots = 0  # high-rate rows are loaded where they are used
        record[name] = room.ring(height, slots, stride)

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
    record["ring"] = room.ring(d["pairs"], min(d["pairs"], d["most_taps"] + 2), d["most_terms"] * row, d["extra_left"])
    pieces = out[1] < LANES and not channels
    record["out"] = room.vectors(out[0] * out[1] + beyond) if pieces else -1
    # places of the lines that a gathered row reads; behind them those of the rows that make its high-rate row
    record["offsets"] = room.numbers(d["most_taps"] + max(spread["most_taps"] for spread in spreads) + 2)
    return Plan.of(record, room, tables)
