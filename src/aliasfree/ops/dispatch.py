"""Which backend runs a call of an op, and why.

The kernels of a backend for an op are an object with `refusal(call)` and the functions of `PlaneKernels` (for
attention, those of `backends/cpu/attention.py`); `_KERNELS` names it. Two more backends live beside the ops and run
everything: "torch" (PyTorch's own operations, differentiable any number of times) and "reference" (the literal
algorithm).
"""

from __future__ import annotations

import importlib
import json
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from aliasfree.errors import BackendError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.ops.memory_format import is_channels_last
from aliasfree.ops.tracing import is_plain, is_tracing, is_transformed

__all__ = ["ENVIRONMENT", "NAMES", "Call", "Choice", "PlaneKernels", "backend_for", "call_of", "choose", "kernels"]

ENVIRONMENT = "ALIASFREE_BACKEND"
"""Environment variable that names the backend wherever a call says backend="auto"."""
DEVICES = {"numba": "cpu", "triton": "cuda"}
"""Backends with kernels, and the device they are for. (Triton's interpreter runs on the CPU too, slowly.)"""
NAMES: tuple[str, ...] = ("auto", *DEVICES, "torch", "reference")
ARGUMENTS = {
    "upsample2d": ("up", "factor", "padding"),
    "downsample2d": ("down", "factor", "padding"),
    "filtered_activation2d": ("activation", "up", "down", "factor", "padding"),
    "attention": ("heads",),
}
"""op -> the fields of `Call` that its arguments after the tensor set, in order; a filter is given as its `key`."""
_KERNELS = {
    **{(op, "numba"): "aliasfree.ops.backends.cpu.backend:NumbaBackend" for op in ARGUMENTS if op != "attention"},
    ("attention", "numba"): "aliasfree.ops.backends.cpu.attention.backend",
    **{(op, "triton"): "aliasfree.ops.backends.gpu.backend:TritonBackend" for op in ARGUMENTS if op != "attention"},
}
"""(op, backend) -> "module:class" of its kernels, or the module itself."""
LARGE = 1 << 20
"""From this many elements on, "auto" warns when no kernel serves a tensor."""


@dataclass(frozen=True, eq=False)
class Call:
    """What decides which backends can run a call of an op. Equal calls are one object (`call_of`)."""

    op: str  # a key of ARGUMENTS
    shape: tuple[int, ...]  # (N, C, H, W); for attention (N, L, 3 C)
    dtype: torch.dtype
    device: torch.device
    channels_last: bool
    activation: str | None = None  # its name; None = another callable, or no activation
    up: FilterSpec | None = None
    down: FilterSpec | None = None
    factor: int = 1
    padding: str = "zeros"
    heads: int = 1


class PlaneKernels(Protocol):
    """Functions on (N, C, H, W) tensors; specs are those of the rate `factor`; `size` is (H, W) of the gradient."""

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
    """The backend that runs a call, and why the ones asked before it do not."""

    name: str
    asked: str  # the argument, or what the environment says for "auto"
    refusals: tuple[tuple[str, str], ...]  # (backend, reason), of those that were asked before

    def __str__(self) -> str:
        lines = [f"{self.name} (asked for: {self.asked})"]
        lines += [f"not {name}: {reason}" for name, reason in self.refusals]
        return "\n".join(lines)


def backend_for(op: str, x: Tensor, arguments: tuple[Any, ...], backend: str) -> str:
    """The name of the backend that runs the op; one that records it (a compiler) leaves the choice to the running op.

    Transforms of `torch.func` and `plain_only` take PyTorch's own operations. Warns once when a large tensor goes
    without a kernel. Raises BackendError as `choose`.
    """
    if is_tracing():
        return backend
    if is_plain() or is_transformed(x):
        return _transformed(backend)
    call = call_of(op, x, *arguments)
    choice = choose(call, backend)
    if choice.refusals and choice.asked == "auto" and choice.name == "torch" and x.numel() >= LARGE:
        name, reason = choice.refusals[0]
        _warn(op, reason, name)
    return choice.name


def _transformed(backend: str) -> str:
    if backend in DEVICES:
        raise BackendError(f"backend {backend!r} has kernels, into which torch.func cannot see; use 'auto' or 'torch'")
    if backend not in NAMES:
        raise BackendError(f"unknown backend {backend!r}{did_you_mean(str(backend), NAMES)}")
    return "torch" if backend == "auto" else backend


@lru_cache(maxsize=64)
def _warn(op: str, reason: str, name: str) -> None:
    warnings.warn(
        f"{op} runs without a kernel, several times slower: {name} says that {reason}. backend='torch' silences this.",
        stacklevel=4,
    )


def call_of(op: str, x: Tensor, *arguments: Any, size: tuple[int, int] | None = None) -> Call:
    """The call of `op` on x, or on planes of another `size`; `arguments` as ARGUMENTS lists them."""
    make = _make_call if torch.compiler.is_compiling() else _call
    return make(
        op, x.shape if size is None else (*x.shape[:2], *size), x.dtype, x.device, is_channels_last(x), arguments
    )


def _make_call(
    op: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    channels_last: bool,
    arguments: tuple[Any, ...],
) -> Call:
    fields = dict(zip(ARGUMENTS[op], arguments, strict=True))
    for name in ("up", "down"):
        if name in fields:
            fields[name] = spec_of(fields[name])
    return Call(op, tuple(shape), dtype, device, channels_last, **fields)


@lru_cache(maxsize=256)
def spec_of(key: str) -> FilterSpec:
    """The filter of a `FilterSpec.key`."""
    return FilterSpec(**json.loads(key))


def choose(call: Call, backend: str = "auto") -> Choice:
    """The backend that runs `call`. Raises BackendError for an unknown name, or a backend asked for that cannot run it.

    For an op that it has no kernels for, a backend named by the environment is passed over.
    """
    forced = os.environ.get(ENVIRONMENT) if backend == "auto" else None
    decide = _decide if torch.compiler.is_compiling() else _choice
    return decide(call, forced or backend, bool(forced))


def _decide(call: Call, asked: str, forced: bool) -> Choice:
    source = f" in ${ENVIRONMENT}" if forced else ""
    if asked not in NAMES:
        raise BackendError(f"unknown backend {asked!r}{source}{did_you_mean(str(asked), NAMES)}")
    if asked in ("torch", "reference"):
        return Choice(asked, asked, ())
    refusals: list[tuple[str, str]] = []
    if asked != "auto":
        reason = _refusal(asked, call)
        if reason is None:
            return Choice(asked, asked, ())
        if not forced or (call.op, asked) in _KERNELS:
            raise BackendError(f"backend {asked!r}{source} cannot run this {call.op}: {reason}; use 'auto'")
        refusals.append((asked, reason))
    for name, device in DEVICES.items():
        if call.device.type == device and name != asked:
            reason = _refusal(name, call)
            if reason is None:
                return Choice(name, asked, tuple(refusals))
            refusals.append((name, reason))
    return Choice("torch", asked, tuple(refusals))


def _refusal(name: str, call: Call) -> str | None:
    if (call.op, name) not in _KERNELS:
        return f"it has no kernel for {call.op}"
    reason: str | None = kernels(call.op, name).refusal(call)
    return reason


# cached by argument; while a compiler traces, the plain functions are called, because it cannot see into a cache
_call = lru_cache(maxsize=4096)(_make_call)
_choice = lru_cache(maxsize=4096)(_decide)
_LOADED: dict[tuple[str, str], Any] = {}


def kernels(op: str, name: str) -> Any:
    """The kernels of a backend for an op. Importing them is cheap; compilers are imported at their first call."""
    if (op, name) not in _LOADED:
        module, _, attribute = _KERNELS[op, name].partition(":")
        found = importlib.import_module(module)
        _LOADED[op, name] = getattr(found, attribute)() if attribute else found
    return _LOADED[op, name]
