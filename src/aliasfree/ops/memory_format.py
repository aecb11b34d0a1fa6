"""Memory formats: the ops give back the one they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from aliasfree.ops.tracing import is_transformed

__all__ = ["in_format_of", "is_channels_last", "memory_format"]


def is_channels_last(x: Tensor) -> bool:
    """Whether x is a (N, C, H, W) tensor in channels_last and in no other format. Under `vmap` no format is known."""
    if x.is_contiguous() or x.ndim != 4 or is_transformed(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


def memory_format(x: Tensor) -> torch.memory_format:
    """The format of results for an input x."""
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def in_format_of(x: Tensor, y: Tensor) -> Tensor:
    """y in the memory format of x."""
    return y if is_transformed(x, y) else y.contiguous(memory_format=memory_format(x))
