"""Large tensors a few planes at a time, so that what is between an op's input and output never exists as a whole."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aliasfree.ops.memory_format import in_format_of
from aliasfree.ops.tracing import has_tangent, is_plain, is_tracing, is_transformed

__all__ = ["CHUNK", "in_chunks", "treats_channels_alike"]

CHUNK = 1 << 20
"""Numbers that a chunk holds at the higher rate: as spectra they just fit a processor's cache."""


def in_chunks(
    run: Callable[[Tensor], Tensor], x: Tensor, growth: int, *, by_channel: bool = True, recompute: bool = False
) -> Tensor:
    """run(x) for x (N, C, H, W), computed on a CPU by images, or planes, that grow to CHUNK numbers.

    growth      numbers that `run` makes of each of x on the way
    by_channel  whether it may be given some channels of an image; else images stay whole
    recompute   whether it keeps nothing but x for the gradient, and runs again for that

    Compilers, exporters and transforms see run(x) itself.
    """
    n, c, h, w = x.shape
    planes = max(1, CHUNK // max(1, growth * h * w))
    images, channels = max(1, planes // max(1, c)), min(c, planes) if by_channel else c
    whole = images >= n and channels >= c
    looked_at = is_tracing() or is_plain() or is_transformed(x) or has_tangent(x)
    if whole or looked_at or x.device.type != "cpu":
        return run(x)
    starts = range(0, c, channels)
    if torch.is_grad_enabled():
        each = functools.partial(checkpoint, run, use_reentrant=False) if recompute else run
        rows = [torch.cat([each(x[i : i + images, k : k + channels]) for k in starts], 1) for i in range(0, n, images)]
        return in_format_of(x, torch.cat(rows) if len(rows) > 1 else rows[0])
    y: Tensor | None = None
    for i in range(0, n, images):
        for k in starts:
            part = run(x[i : i + images, k : k + channels])
            if y is None:
                y = in_format_of(x, part.new_empty(n, c, *part.shape[2:]))
            y[i : i + images, k : k + channels] = part
    assert y is not None
    return y


def treats_channels_alike(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether a pointwise function surely does: one of PyTorch's, or a module without parameters (PReLU has them)."""
    if isinstance(function, functools.partial):
        return treats_channels_alike(function.func)
    if isinstance(function, torch.nn.Module):
        return next(function.parameters(), None) is None and next(function.buffers(), None) is None
    return inspect.isbuiltin(function) or str(getattr(function, "__module__", "")).startswith("torch.")
