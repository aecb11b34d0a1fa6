"""Timing by alternation: what is compared runs in turn in one process, and each round gives one ratio.

A busy machine, a hot one or a cold allocator slows neighbours in time alike, so a ratio of neighbours is far steadier
than a ratio of two averages.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Quartiles", "Samples", "alternate", "stopwatch"]

SHORTEST = 1e-3
"""Seconds one reading lasts at least; shorter functions run several times a reading."""
Function = Callable[[], object]
Readings = NDArray[np.float64]


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles of the rounds."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Readings) -> Quartiles:
        """Those of a vector (rounds,)."""
        lower, median, upper = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(median, lower, upper)


class Samples(dict[str, Readings]):
    """name -> seconds of one call in each round, (rounds,)."""

    @property
    def rounds(self) -> int:
        """How often each function was read."""
        return len(next(iter(self.values())))

    def seconds(self, name: str) -> Quartiles:
        """Seconds of one call."""
        return Quartiles.of(self[name])

    def ratio(self, above: str, below: str) -> Quartiles:
        """Seconds of one over seconds of another, round by round."""
        return Quartiles.of(self[above] / self[below])


def stopwatch(function: Function, calls: int, device: torch.device) -> float:
    """Seconds of `calls` calls; on a GPU between two events of its own stream."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            function()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    start_time = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start_time


def alternate(
    functions: Mapping[str, Function],
    budget: float,
    device: torch.device,
    *,
    least: int = 5,
    most: int = 200,
    warm_up: int = 2,
    settle: int = 0,
) -> Samples:
    """Read all functions in turn, A B C A B C ..., after a warm-up, for `budget` seconds.

    least, most   bounds on the number of rounds, which go before the budget
    warm_up       calls of each before the first reading: compilation, tables, the allocator. 0 = the caller saw to it,
                  and each reading is of one call
    settle        calls of each before each of its readings, untimed: what runs again and again in use (the steps of a
                  training) finds its own data in caches and allocator, not its neighbour's
    The garbage collector rests meanwhile: it would fall on whoever is running.
    """
    calls = dict.fromkeys(functions, 1)
    for name, function in functions.items():
        for _ in range(warm_up):
            calls[name] = math.ceil(SHORTEST / max(stopwatch(function, 1, device), 1e-7))
    readings: dict[str, list[float]] = {name: [] for name in functions}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget
        for done in range(most):
            if done >= least and time.perf_counter() >= end:
                break
            for name, function in functions.items():
                for _ in range(settle):
                    function()
                readings[name].append(stopwatch(function, calls[name], device) / calls[name])
    finally:
        if collecting:
            gc.enable()
    return Samples({name: np.array(values) for name, values in readings.items()})
