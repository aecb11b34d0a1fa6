"""Plans: what the shape of the tensors decides, and where everything lies in a thread's scratch; how a plan is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from aliasfree.ops.backends.cpu.simd.layout import JOB, LANES
from aliasfree.ops.backends.cpu.threads import Kernel, run_on, scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plan", "Scratch", "Shape", "Size", "divide", "run", "spaced"]

Size = tuple[int, int]


class Shape(NamedTuple):
    """Planes before and after a kernel."""

    images: int
    channels: int
    """Of each image."""
    size: Size
    """(H, W) of x."""
    out: Size
    """(H, W) of the result."""
    channels_last: bool
    """Whether the channels of a pixel lie side by side in memory."""


@dataclass(frozen=True)
class Plan:
    """The record that a kernel reads, where it lies, and the numbers of it that Python needs at every call."""

    record: NDArray[np.void]
    address: int
    threads: int
    floats: int
    ints: int
    tables: tuple[object, ...]
    """Kept alive, because the record has their addresses."""

    @classmethod
    def of(cls, record: NDArray[np.void], scratch: Scratch, tables: tuple[object, ...]) -> Plan:
        """A finished record (`fir.layout.PLAN`, `ideal.layout.PLAN`) with the scratch that was given out for it."""
        record["floats"] = scratch.floats
        return cls(record, record.ctypes.data, int(record["threads"]), scratch.floats, scratch.ints, tables)


def run(plan: Plan, kernel: Kernel, x: Tensor, grad: Tensor | None, y: Tensor) -> None:
    """Call a kernel that fills y."""
    tensors = x.data_ptr(), (x if grad is None else grad).data_ptr(), y.data_ptr()
    job = np.array((*tensors, plan.address, *scratch(plan.threads, plan.floats, plan.ints), 0, 0), JOB)
    run_on(plan.threads, kernel.function, job.ctypes.data)


def divide(record: NDArray[np.void], shape: Shape, pixels: int, threads: int, share: int) -> None:
    """Write how the work is shared out: LANES planes a group, and a thread for every `share` pixels up to `threads`.

    pixels   of a plane
    """
    n, c = shape.images, shape.channels
    groups = n * -(-c // LANES) if shape.channels_last else -(-n * c // LANES)
    threads = max(1, min(threads, groups, 1 + groups * LANES * pixels // share))
    record["planes"], record["channels"] = n * c, c if shape.channels_last else 0
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
        """Room for `count` integers."""
        at = self.ints
        self.ints += count
        return at


def spaced(width: int) -> int:
    """Row length in vectors, off the multiples that would put a column of rows into one set of the cache."""
    return width + 2 if width % 32 == 0 else width
