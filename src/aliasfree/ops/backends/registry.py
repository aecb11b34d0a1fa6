"""Which backend runs a call, and why.

A backend is one file with a class that has `name`, `refusal(call)` and the six functions of `Backend`; it is listed in
`_BACKENDS`. "torch" (dense matrices and convolutions of PyTorch, any dtype and device, differentiable any number of
times) and "reference" (the literal algorithm) are always there and live beside the ops.
"""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from aliasfree.errors import BackendError, did_you_mean
from aliasfree.filters import FilterSpec

__all__ = ["ENVIRONMENT", "NAMES", "Backend", "Call", "Choice", "choose", "kernel_backend"]

ENVIRONMENT = "ALIASFREE_BACKEND"
"""Environment variable that stands for every backend="auto"."""
_BACKENDS = {
    "numba": "aliasfree.ops.backends.cpu.backend:NumbaBackend",
    "triton": "aliasfree.ops.backends.gpu.backend:TritonBackend",
}
KERNELS = {"numba": "cpu", "triton": "cuda"}
"""Backends with kernels, and the device they were written for: Triton's interpreter, too, runs on the CPU, slowly."""
NAMES: tuple[str, ...] = ("auto", *KERNELS, "torch", "reference")
LARGE = 1 << 20
"""Elements of a tensor from which "auto" says that no kernel serves it."""


@dataclass(frozen=True)
class Call:
    """What an op is asked to do, as far as it decides who can do it."""

    op: str  # "upsample2d", "downsample2d", "filtered_activation2d"
    shape: tuple[int, ...]  # (N, C, H, W)
    dtype: torch.dtype
    device: torch.device
    activation: str | None  # its name; None = another callable, or no activation
    up: FilterSpec | None
    down: FilterSpec | None
    factor: int
    padding: str
    channels_last: bool


class Backend(Protocol):
    """Six functions on (N, C, H, W) tensors; specs are those of the rate `factor`; `size` is (H, W) of the gradient."""

    name: str

    def refusal(self, call: Call) -> str | None: ...

    def upsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: str) -> Tensor: ...

    def upsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: str, size: tuple[int, int]
    ) -> Tensor: ...

    def downsample2d(self, x: Tensor, spec: FilterSpec, factor: int, padding: str) -> Tensor: ...

    def downsample2d_backward(
        self, grad: Tensor, spec: FilterSpec, factor: int, padding: str, size: tuple[int, int]
    ) -> Tensor: ...

    def filtered_activation2d(
        self, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: str
    ) -> Tensor: ...

    def filtered_activation2d_backward(
        self, grad: Tensor, x: Tensor, activation: str, up: FilterSpec, down: FilterSpec, factor: int, padding: str
    ) -> Tensor: ...


@dataclass(frozen=True)
class Choice:
    """The backend that runs a call, and what is to be said about it and the others."""

    name: str
    asked: str  # the argument, or what the environment says for "auto"
    refusals: tuple[tuple[str, str], ...]  # (backend, reason), of those that were asked before

    def __str__(self) -> str:
        lines = [f"{self.name} (asked for: {self.asked})"]
        lines += [f"not {name}: {reason}" for name, reason in self.refusals]
        return "\n".join(lines)


@lru_cache(maxsize=8)
def kernel_backend(name: str) -> Backend:
    """The backend of a name in `KERNELS`. Importing it is cheap; compilers are imported at its first call."""
    module, _, attribute = _BACKENDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()


def choose(call: Call, backend: str = "auto") -> Choice:
    """Who runs `call`. Raises BackendError for an unknown name, or one that was asked for and cannot."""
    forced = os.environ.get(ENVIRONMENT) if backend == "auto" else None
    return _choose(call, forced or backend, f" in ${ENVIRONMENT}" if forced else "")


@lru_cache(maxsize=4096)
def _choose(call: Call, asked: str, source: str) -> Choice:
    if asked not in NAMES:
        raise BackendError(f"unknown backend {asked!r}{source}{did_you_mean(str(asked), NAMES)}")
    if asked in ("torch", "reference"):
        return Choice(asked, asked, ())
    refusals: list[tuple[str, str]] = []
    at_home = [name for name, device in KERNELS.items() if call.device.type == device]
    for name in at_home if asked == "auto" else (asked,):
        reason = kernel_backend(name).refusal(call)
        if reason is None:
            return Choice(name, asked, tuple(refusals))
        refusals.append((name, reason))
    if asked != "auto":
        raise BackendError(f"backend {asked!r}{source} cannot run this {call.op}: {refusals[0][1]}; use 'auto'")
    return Choice("torch", asked, tuple(refusals))


def warn_if_slow(call: Call, choice: Choice, numel: int) -> None:
    """Say once that a large tensor goes without a kernel."""
    if choice.asked == "auto" and choice.name == "torch" and numel >= LARGE and choice.refusals:
        name, reason = choice.refusals[0]
        _warn(call.op, reason, name)


@lru_cache(maxsize=64)
def _warn(op: str, reason: str, name: str) -> None:
    warnings.warn(
        f"{op} runs without a kernel, several times slower: {name} says that {reason}. backend='torch' silences this.",
        stacklevel=5,
    )
