"""Which backend would run an op, and why not another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.ops.activation import check_activation, filtered_activation2d
from aliasfree.ops.attention import attention, attention_choice
from aliasfree.ops.dispatch import Choice, call_of, choose
from aliasfree.ops.resample import check, downsample2d, upsample2d

__all__ = ["explain"]


def explain(op: str, x: Tensor, *arguments: Any, **options: Any) -> Choice:
    """The backend that `op` (its name) would use for x and the same further arguments; print it to read the reasons.

    op   "filtered_activation2d", "upsample2d", "downsample2d" or "attention"

    Raises ArgumentError for an unknown op, BackendError for a backend that cannot run it, else as the op itself.

    >>> import torch
    >>> from aliasfree.ops import explain
    >>> print(explain("upsample2d", torch.zeros(1, 3, 32, 32, dtype=torch.float64), "hq"))
    torch (asked for: auto)
    not numba: it computes in float32 and bfloat16, not float64
    """
    if op not in _OPS:
        raise ArgumentError(f"unknown op {op!r}{did_you_mean(op, _OPS)}")
    function, choice = _OPS[op]
    given = inspect.signature(function).bind(x, *arguments, **options)
    given.apply_defaults()
    return choice(**given.arguments)


def _resampling(op: str, x: Tensor, filter: Any, factor: int, padding: str, backend: str) -> Choice:
    return choose(call_of(op, x, check(x, filter, factor, padding).key, factor, padding), backend)


def _activation(x: Tensor, activation: Any, up: Any, down: Any, factor: int, padding: str, backend: str) -> Choice:
    name, first, last = check_activation(x, activation, up, down, factor, padding)
    return choose(call_of("filtered_activation2d", x, name, first.key, last.key, factor, padding), backend)


_OPS: dict[str, tuple[Callable[..., Tensor], Callable[..., Choice]]] = {
    "filtered_activation2d": (filtered_activation2d, _activation),
    "upsample2d": (upsample2d, partial(_resampling, "upsample2d")),
    "downsample2d": (downsample2d, partial(_resampling, "downsample2d")),
    "attention": (attention, attention_choice),
}
