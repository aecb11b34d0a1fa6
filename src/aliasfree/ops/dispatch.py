"""Which backend runs a call of an op, and why: kernels are registered here, and one of them is chosen here.

"torch" (PyTorch's own operations) and "reference" (the literal algorithm) run everything; kernels say what they refuse.
"""

from __future__ import annotations

import importlib
import inspect
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, BackendError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.ops.memory_format import is_channels_last
from aliasfree.ops.tracing import refusal_of_kernels

__all__ = ["ARGUMENTS", "ENVIRONMENT", "PLAIN", "Arguments", "Call", "Choice", "Kernels", "choose", "register_kernel"]

ENVIRONMENT = "ALIASFREE_BACKEND"
"""Environment variable that names the backend wherever a call says backend="auto"."""
PLAIN = ("torch", "reference")
ARGUMENTS = {
    "upsample2d": ("up", "factor", "padding"),
    "downsample2d": ("down", "factor", "padding"),
    "filtered_activation2d": ("activation", "up", "down", "factor", "padding"),
    "attention": ("heads",),
}
"""op -> the fields of `Call` that its arguments after the tensor set, in order."""
Arguments = tuple[FilterSpec | str | int | None, ...]
Size = tuple[int, int]

_DEVICES = {"numba": "cpu", "triton": "cuda"}
"""Backends with kernels, and the device they are for. (Triton's interpreter runs on the CPU too, slowly.)"""
_KERNELS: dict[tuple[str, str], Kernels | str] = {
    **{(op, name): "aliasfree.ops.plain_backend:" + name.capitalize() for op in ARGUMENTS for name in PLAIN},
    **{(op, "numba"): "aliasfree.ops.backends.cpu.backend:NumbaBackend" for op in ARGUMENTS if op != "attention"},
    ("attention", "numba"): "aliasfree.ops.backends.cpu.attention.backend",
    **{(op, "triton"): "aliasfree.ops.backends.gpu.backend:TritonBackend" for op in ARGUMENTS if op != "attention"},
}
"""(op, backend) -> its kernels, or "module:class" of them, or the module itself: that is imported at the first call."""


@dataclass(frozen=True, eq=False)
class Call:
    """What decides which backends can run a call of an op."""

    op: str  # a key of ARGUMENTS
    shape: tuple[int, ...]  # (N, C, H, W); for attention (N, L, 3 C)
    dtype: torch.dtype
    device: torch.device
    channels_last: bool
    activation: str | None = None  # its name; None = a function without one, or no activation
    up: FilterSpec | None = None
    down: FilterSpec | None = None
    factor: int = 1
    padding: str = "zeros"
    heads: int = 1


class Kernels(Protocol):
    """What runs ops: `refusal`, and for each op that it is registered for two functions, `op` and `op_backward`.

        upsample2d(x, spec, factor, padding)                                      (N, C, H, W) -> (N, C, H', W')
        upsample2d_backward(grad, spec, factor, padding, size)                    size = (H, W) of the gradient
        downsample2d, downsample2d_backward                                       the same
        filtered_activation2d(x, activation, up, down, factor, padding)           same shape
        filtered_activation2d_backward(grad, x, activation, up, down, factor, padding)
        attention(qkv, heads)                                                     (out, statistics)
        attention_backward(grad, qkv, out, statistics, heads)

    Filters are those of the rate `factor`. Results have x's dtype, device and memory format; `statistics` is a float32
    tensor (N, heads, L) of whatever the backward pass needs. A gradient may come in any memory format.
    """

    def refusal(self, call: Call) -> str | None:
        """Why it cannot run the call, in words that follow "numba says that ..."; None = it can, backward too."""


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


def register_kernel(op: str, backend: str, kernels: Kernels, device: str | None = None) -> None:
    """Let a backend run an op: from now on "auto" asks it, and `backend=` may name it.

    op       "upsample2d", "downsample2d", "filtered_activation2d" or "attention"
    backend  "numba", "triton", or a name of your own
    kernels  has `refusal(call)` and the op's two functions, as `aliasfree.ops.dispatch.Kernels` lists them
    device   type of the device it is for ("cpu", "cuda" ...); a new backend must name it

    Of several backends for a device the one registered first is asked first. Raises ArgumentError if something is
    missing, or the place is taken.
    """
    if op not in ARGUMENTS:
        raise ArgumentError(f"unknown op {op!r}{did_you_mean(op, ARGUMENTS)}")
    if backend in ("auto", *PLAIN) or (op, backend) in _KERNELS:
        raise ArgumentError(f"{op} has a backend {backend!r} already; give yours another name")
    device = device or _DEVICES.get(backend)
    if device is None:
        raise ArgumentError(f"the new backend {backend!r} must name its `device`, such as 'cpu' or 'cuda'")
    if _DEVICES.get(backend, device) != device:
        raise ArgumentError(f"backend {backend!r} is for {_DEVICES[backend]!r}, not for {device!r}")
    count = 1 + len(ARGUMENTS[op])
    backward = count + {"attention": 3, "filtered_activation2d": 1}.get(op, 1)
    for name, number in (("refusal", 1), (op, count), (f"{op}_backward", backward)):
        function = getattr(kernels, name, None)
        if not callable(function):
            raise ArgumentError(f"kernels for {op} need a function {name!r}, which {kernels!r} lacks")
        try:
            inspect.signature(function).bind(*range(number))
        except TypeError:
            raise ArgumentError(f"{name} of the kernels for {op} must take {number} arguments, by position") from None
    _DEVICES[backend] = device
    _KERNELS[op, backend] = kernels
    _decide_once.cache_clear()


def kernels_of(op: str, backend: str) -> Any:
    """The kernels of a backend for an op. Importing them is cheap; compilers are imported at their first call."""
    kernels = _KERNELS[op, backend]
    if isinstance(kernels, str):
        module, _, attribute = kernels.partition(":")
        found = importlib.import_module(module)
        kernels = _KERNELS[op, backend] = getattr(found, attribute)() if attribute else found
    return kernels


def choose(
    op: str, x: Tensor, arguments: Arguments, backend: str = "auto", size: Size | None = None, *, once: bool = True
) -> Choice:
    """The backend that runs `op` on x. Raises BackendError for an unknown name, or a backend that cannot run it.

    arguments  as ARGUMENTS lists them
    backend    "auto" or a name; $ALIASFREE_BACKEND stands for "auto"
    size       (H, W) of the op's input, where x is a gradient of its output
    once       keep the choice for equal calls; compilers cannot see into a cache

    For an op that it has no kernels for, a backend named by the environment is passed over.
    """
    forced = os.environ.get(ENVIRONMENT) if backend == "auto" else None
    shape = tuple(x.shape) if size is None else (*x.shape[:2], *size)
    plain = refusal_of_kernels(x)
    decide = _decide_once if once else _decide
    return decide(op, shape, x.dtype, x.device, is_channels_last(x), arguments, forced or backend, bool(forced), plain)


def _decide(
    op: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    channels_last: bool,
    arguments: Arguments,
    asked: str,
    forced: bool,
    plain: str | None,
) -> Choice:
    source, names = f" in ${ENVIRONMENT}" if forced else "", ("auto", *_DEVICES, *PLAIN)
    if asked not in names:
        raise BackendError(f"unknown backend {asked!r}{source}{did_you_mean(str(asked), names)}")
    if asked in PLAIN:
        return Choice(asked, asked, ())
    fields: dict[str, Any] = dict(zip(ARGUMENTS[op], arguments, strict=True))
    call = Call(op, shape, dtype, device, channels_last, **fields)
    refusals: list[tuple[str, str]] = []
    for name in [asked] * (asked != "auto") + [n for n in _DEVICES if _DEVICES[n] == device.type and n != asked]:
        registered = (op, name) in _KERNELS
        reason = plain or (kernels_of(op, name).refusal(call) if registered else f"it has no kernel for {op}")
        if reason is None:
            return Choice(name, asked, tuple(refusals))
        if name == asked and not (forced and (plain or not registered)):
            raise BackendError(f"backend {asked!r}{source} cannot run this {op}: {reason}; use 'auto'")
        refusals.append((name, reason))
    return Choice("torch", asked, tuple(refusals))


_decide_once = lru_cache(maxsize=4096)(_decide)
