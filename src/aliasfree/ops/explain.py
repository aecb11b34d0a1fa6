"""Which backend would run an op, and why not another."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor

from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.ops import activation, attention, resample
from aliasfree.ops.dispatch import Arguments, Choice, choose

__all__ = ["explain"]


def explain(op: str, x: Tensor, *arguments: object, **options: object) -> Choice:
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
    function, check = _OPS[op]
    given = inspect.signature(function).bind(x, *arguments, **options)
    given.apply_defaults()
    *checked, backend = given.arguments.values()
    return choose(op, x, check(*checked), backend)


_OPS: dict[str, tuple[Callable[..., Tensor], Callable[..., Arguments]]] = {
    "filtered_activation2d": (activation.filtered_activation2d, activation.check_arguments),
    "upsample2d": (resample.upsample2d, resample.check_arguments),
    "downsample2d": (resample.downsample2d, resample.check_arguments),
    "attention": (attention.attention, attention.check_arguments),
}
"""op -> the function, and the check of its arguments."""
