"""Whether tensors are real ones, or stand-ins by which something looks at the code: a compiler, a transform, a mode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import detect_fake_mode
from torch.autograd import forward_ad

__all__ = [
    "cache_constants",
    "has_tangent",
    "is_intercepted",
    "is_plain",
    "is_tracing",
    "is_transformed",
    "needs_formula",
    "plain_only",
    "refusal_of_kernels",
]

T = TypeVar("T", bound=Callable[..., object])

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_only() -> Iterator[None]:
    """Within it the ops are made of PyTorch's own operations, for exporters that know no others."""
    before = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(before)


def is_plain() -> bool:
    """Whether `plain_only` holds."""
    return _PLAIN.get()


def is_tracing() -> bool:
    """Whether a compiler, an exporter or `torch.jit.trace` records the ops, to run later on other tensors."""
    return not _PLAIN.get() and (torch.compiler.is_compiling() or torch.jit.is_tracing())


def is_intercepted(x: Tensor) -> bool:
    """Whether calls on x are taken by something that knows registered ops only: a dispatch mode (fake tensors,
    counters) or a tensor subclass."""
    if torch._C._len_torch_dispatch_stack() > 0:
        return True
    return type(x) is not Tensor and type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__


def is_transformed(*tensors: object) -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp ...) is at work, or one of the tensors is its stand-in."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    for x in tensors:  # noqa: SIM110, a generator costs as much as the check
        if isinstance(x, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x):
            return True
    return False


def has_tangent(x: object) -> bool:
    """Whether x carries a tangent of forward-mode differentiation (`torch.autograd.forward_ad`)."""
    if forward_ad._current_level < 0 or not isinstance(x, Tensor):
        return False
    return forward_ad.unpack_dual(x).tangent is not None


def refusal_of_kernels(x: Tensor) -> str | None:
    """Why x must take PyTorch's own operations, whatever kernels there are; None = it need not."""
    if _PLAIN.get():
        return "an exporter asked for PyTorch's own operations"
    if is_transformed(x):
        return "torch.func cannot see into a kernel"
    if forward_ad._current_level >= 0 and has_tangent(x):
        return "kernels have no forward-mode derivative"
    return None


def needs_formula(x: Tensor) -> bool:
    """Whether x is differentiated forward, or by nested transforms, of which a fused operation of PyTorch knows
    nothing."""
    levels = [level.key() for level in torch._C._functorch.get_interpreter_stack() or ()]
    return has_tangent(x) or TransformType.Jvp in levels or levels.count(TransformType.Grad) > 1


def cache_constants(maxsize: int) -> Callable[[T], T]:
    """`functools.lru_cache` for functions that make constant tensors (matrices, phases, masks): what is made of fake
    tensors does not serve real ones, nor the other way round, and none belongs to a transform of `torch.func`."""

    def decorate(build: T) -> T:
        cached = functools.lru_cache(maxsize)(build)

        @functools.wraps(build)
        def table(*key: object) -> object:
            if detect_fake_mode() is not None:
                return build(*key)
            if torch._C._functorch.peek_interpreter_stack() is None:
                return cached(*key)
            with temporarily_clear_interpreter_stack():
                return cached(*key)

        table.cache_info, table.cache_clear = cached.cache_info, cached.cache_clear  # type: ignore[attr-defined]
        return cast(T, table)

    return decorate
