"""Peak memory: on a CPU that of a process of its own, on a GPU torch's count."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from aliasfree.filters import FilterSpec
from benchmarks.contenders import literal_op, op_call, our_op
from benchmarks.timing import Function

__all__ = ["PeakTask", "measure_peak"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakTask:
    """What to run once.

    kind        "activation": a filtered GELU; "forward", "training step": of a UNet
    variant     filter or config
    shape       of the input
    contender   "ours", or "literal" (for UNets the slow build)
    """

    kind: Literal["activation", "forward", "training step"]
    variant: str
    shape: tuple[int, ...]
    backend: str = "auto"
    dtype: str = "float32"
    device: str = "cpu"
    contender: str = "ours"
    threads: int = 0

    def by(self, contender: str) -> PeakTask:
        """The same, done by another, with as many threads as here."""
        return replace(self, contender=contender, threads=torch.get_num_threads())


def measure_peak(task: PeakTask) -> int:
    """Bytes in use at the most during one run, less those in use before it."""
    if task.device.startswith("cuda"):
        run = _prepare(task)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # a fresh process: what this one has freed would be used again unseen
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_here, task).result()


def _peak_here(task: PeakTask) -> int:
    """Growth of this process's resident memory during one run."""
    torch.set_num_threads(task.threads or torch.get_num_threads())
    run = _prepare(task)
    _give_back_freed()
    resettable = _reset_high_water()
    before = _resident("VmRSS") if resettable else _highest_so_far()
    run()
    return max(0, (_resident("VmHWM") if resettable else _highest_so_far()) - before)


def _prepare(task: PeakTask) -> Function:
    """The run, with everything it needs in place and kernels compiled on a small input."""
    device = torch.device(task.device)
    if task.kind == "activation":
        spec = FilterSpec.named(task.variant)
        literal = literal_op("filtered GELU", spec).to(device)
        module = literal if task.contender == "literal" else our_op("filtered GELU", spec, task.backend)
        dtype: torch.dtype = getattr(torch, task.dtype)
        op_call(module, torch.randn(1, 2, 16, 16, dtype=dtype, device=device), False)()
        return op_call(module, torch.randn(task.shape, dtype=dtype, device=device), False)
    # diffusers would take a child that runs an op longer to import than the op to run
    from benchmarks.builds import forward_call, make_network, slow_build, training_call

    make = slow_build if task.contender == "literal" else make_network
    call = forward_call if task.kind == "forward" else training_call
    autocast = task.dtype == "bfloat16"
    # a small network, whose gradients and optimizer state leave nothing behind that the run could use again
    small = (1, task.shape[1], 8, 8)
    call(make(task.variant, small, device), small, device, autocast)()
    return call(make(task.variant, task.shape, device), task.shape, device, autocast)


def _give_back_freed() -> None:
    """Return freed memory to the system (glibc), or the run would use it again unseen."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_high_water() -> bool:
    """Make the present resident memory the highest (Linux); False where that cannot be done."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return _STATUS.is_file()


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _highest_so_far() -> int:
    """Highest resident memory since the start, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
