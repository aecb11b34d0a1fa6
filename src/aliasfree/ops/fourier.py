"""`torch.fft`, for empty tensors too: libraries of transforms refuse those (MKL: "Inconsistent configuration")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["fft", "ifft", "irfft", "irfft2", "rfft", "rfft2"]


def fft(x: Tensor, dim: int) -> Tensor:
    """`torch.fft.fft`."""
    return _guarded(lambda v: torch.fft.fft(v, dim=dim), x)


def ifft(x: Tensor, dim: int) -> Tensor:
    """`torch.fft.ifft`."""
    return _guarded(lambda v: torch.fft.ifft(v, dim=dim), x)


def rfft(x: Tensor, dim: int) -> Tensor:
    """`torch.fft.rfft`."""
    return _guarded(lambda v: torch.fft.rfft(v, dim=dim), x)


def irfft(x: Tensor, n: int, dim: int) -> Tensor:
    """`torch.fft.irfft`."""
    return _guarded(lambda v: torch.fft.irfft(v, n, dim=dim), x)


def rfft2(x: Tensor) -> Tensor:
    """`torch.fft.rfft2`."""
    return _guarded(torch.fft.rfft2, x)


def irfft2(x: Tensor, s: Sequence[int]) -> Tensor:
    """`torch.fft.irfft2`."""
    return _guarded(lambda v: torch.fft.irfft2(v, s=tuple(s)), x)


def _guarded(transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if x.numel():
        return transform(x)
    # one zero stands in for each empty axis and is cut off again; the sum, of nothing, keeps x in autograd's graph
    y = transform(x.new_zeros([max(n, 1) for n in x.shape]) + x.sum())
    return y[tuple(slice(0 if n == 0 else None) for n in x.shape)]
