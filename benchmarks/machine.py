"""Where it was measured: processor, threads, versions. No name of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe", "one_line"]

LIBRARIES = ("aliasfree", "torch", "diffusers", "numpy", "numba", "triton")
# what changes the speed of allocation and of thread pools
ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LD_PRELOAD", "MALLOC_ARENA_MAX", "OMP_PROC_BIND")


def describe() -> dict[str, Any]:
    """Plain values for the JSON file: "machine", "versions", "threads", "environment"."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "cpu capability": torch.backends.cpu.get_cpu_capability(),
            "gpu": gpu,
            "system": platform.system(),
        },
        "versions": {"python": platform.python_version()} | _versions(),
        "threads": torch.get_num_threads(),
        # a name suffices: what is preloaded is a path
        "environment": {
            name: Path(os.environ[name]).name if name == "LD_PRELOAD" else os.environ[name]
            for name in ENVIRONMENT
            if name in os.environ
        },
    }


def one_line(described: dict[str, Any], device: str) -> str:
    """For the head of the table."""
    machine, threads = described["machine"], described["threads"]
    where = machine["gpu"] if device == "cuda" else f"{machine['cpu']} ({machine['cpu capability']}), {threads} threads"
    versions = described["versions"]
    return f"{where}; aliasfree {versions['aliasfree']}, torch {versions['torch']}, Python {versions['python']}"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
