"""How compiled CPU kernels are run: on torch's threads, with scratch that is kept, and a note when one is compiled.

A kernel is a C function of the address of a job, a record of `layout`; any number of threads may be given the same job.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.ops.backends.cpu.simd.layout import LANES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Kernel", "compile_kernel", "run_on", "scratch"]


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel: the C function, and what keeps its code alive."""

    function: Any
    owner: Any


def compile_kernel(make: Callable[[], Any], name: str) -> Kernel:
    """The kernel that `make` gives as a Numba cfunc (`compiling.kernel`); says so when it was compiled and kept."""
    began = time.monotonic()
    kernel = make()
    seconds = time.monotonic() - began
    if kernel.kept and not kernel.cache_hits:
        _LOG.warning("aliasfree compiled its %s in %.1f s; they are kept on disk for the next time.", name, seconds)
    return Kernel(_KERNEL(kernel.address), kernel)


_LOG = logging.getLogger("aliasfree")


def run_on(threads: int, function: Any, job: int) -> None:
    """Call function(job) on each of `threads` threads: torch's own where its OpenMP is GNU's, else new ones."""
    if threads == 1 or _FORKED:  # a pool of threads does not survive a fork
        function(job)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(function, job, threads, 0)
        return
    others = [threading.Thread(target=function, args=(job,)) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    function(job)
    for thread in others:
        thread.join()


@lru_cache(maxsize=1)
def _openmp() -> Any:
    """GOMP_parallel of the OpenMP library that torch has loaded, or None.

    Threads of our own would compete with torch's, which spin for a while after each of its ops.
    """
    try:
        parallel = ctypes.CDLL("libgomp.so.1").GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = (_KERNEL, ctypes.c_ssize_t, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return parallel


_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t)
_FORKED: list[bool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _FORKED.append(True))


class _Scratch(threading.local):
    """Work space of the kernels that one calling thread runs; it grows and stays."""

    floats = np.zeros((0, 0), np.float32)
    ints = np.zeros((0, 0), np.int64)
    where = (0, 0, 0, 0)


_SCRATCH = _Scratch()


def scratch(threads: int, floats: int, ints: int) -> tuple[int, int, int, int]:
    """Work space for each thread: address of the floats, how many a thread has, and the same of the int64."""
    kept = _SCRATCH
    rows, grown = max(threads, len(kept.floats)), False
    if kept.floats.shape[1] < floats or len(kept.floats) < rows:
        kept.floats, grown = _aligned(rows, max(floats, kept.floats.shape[1])), True
    if kept.ints.shape[1] < ints or len(kept.ints) < rows:
        kept.ints, grown = np.zeros((rows, max(ints, kept.ints.shape[1])), np.int64), True
    if grown:
        kept.where = (kept.floats.ctypes.data, kept.floats.shape[1], kept.ints.ctypes.data, kept.ints.shape[1])
    return kept.where


def _aligned(rows: int, columns: int) -> NDArray[np.float32]:
    """Rows that begin on cache lines: vectors that straddle two cost double."""
    columns = -(-columns // LANES) * LANES
    raw = np.zeros(rows * columns + LANES, np.float32)
    skip = -raw.ctypes.data % (4 * LANES) // 4
    return raw[skip : skip + rows * columns].reshape(rows, columns)
