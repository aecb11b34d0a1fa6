"""Whether tensors are real ones, or stand-ins by which something looks at the code: a compiler, a transform, a mode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

__all__ = ["cache_constants", "is_plain", "is_tracing", "is_transformed", "plain_only"]

T = TypeVar("T", bound=Callable[..., Any])


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
    return not is_plain() and (torch.compiler.is_compiling() or torch.jit.is_tracing())


def is_transformed(*tensors: object) -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp ...) is at work, or one of the tensors is its stand-in."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return any(isinstance(x, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)


def cache_constants(maxsize: int) -> Callable[[T], T]:
    """`functools.lru_cache` for functions that make constant tensors (matrices, phases, masks): what is made of fake
    tensors does not serve real ones, nor the other way round."""

    def decorate(build: T) -> T:
        cached = functools.lru_cache(maxsize)(build)

        @functools.wraps(build)
        def table(*key: Any) -> Any:
            return cached(*key) if detect_fake_mode() is None else build(*key)

        table.cache_info, table.cache_clear = cached.cache_info, cached.cache_clear  # type: ignore[attr-defined]
        return cast(T, table)

    return decorate
