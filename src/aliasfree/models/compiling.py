"""torch.compile for a network, with a sentence where it cannot work."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from aliasfree.errors import ArgumentError

__all__ = ["compile_network"]


def compile_network(model: Any, device: torch.device | str, *, sampling: bool = False) -> None:
    """Compile the forward pass of `model` in place, at its first call; its state dict keys stay.

    sampling  no gradients will be asked for: on CUDA the compiled network is replayed as a CUDA graph, which saves the
              launches. Its output is then valid until the next call.

    Raises ArgumentError on a CPU without a C++ compiler, which PyTorch's compiler needs there.
    """
    on_gpu = torch.device(device).type == "cuda"
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl"]
    if not on_gpu and not any(name and shutil.which(name) for name in compilers):
        raise ArgumentError("--compile needs a C++ compiler on a CPU: install g++, or leave it out.")
    model.compile(mode="reduce-overhead" if sampling and on_gpu else None)
