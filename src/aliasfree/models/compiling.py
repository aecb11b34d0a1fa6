"""How a network is made ready to run fast: the layout of its weights, and torch.compile."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from aliasfree.errors import ArgumentError

__all__ = ["compile_network", "lay_out"]


def lay_out(model: Any, device: torch.device | str) -> Any:
    """The same model with the memory layout of its weights that is fastest on a device; no value changes.

    On a CPU channels_last, which its convolutions want: a training step of the paper's UNet takes 0.89 to 1.0 of the
    time (docs/benchmarks.md). Elsewhere it is left as it is.
    """
    return model.to(memory_format=torch.channels_last) if torch.device(device).type == "cpu" else model


def compile_network(model: Any, device: torch.device | str, *, sampling: bool = False) -> None:
    """Compile the forward pass of `model` in place, at its first call; its state dict keys stay.

    sampling  no gradients will be asked for: on CUDA the compiled network is replayed as a CUDA graph, which saves the
              launches. Its output is then valid until the next call.

    Raises ArgumentError on a CPU without a C++ compiler, which PyTorch's compiler needs there.
    """
    on_gpu = torch.device(device).type == "cuda"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl"]
    if not on_gpu and not any(name and shutil.which(name) for name in compilers):
        raise ArgumentError("`compile` needs a C++ compiler on a CPU: install g++, or leave it out.")
    model.compile(mode="reduce-overhead" if sampling and on_gpu else None)
