"""Which backend would run an op, and why not another."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.ops import custom_ops
from aliasfree.ops.backends.registry import Choice, choose
from aliasfree.ops.padding import Padding
from aliasfree.ops.pointwise import activation_function, activation_name
from aliasfree.ops.resample import check

__all__ = ["explain"]

OPS = ("filtered_activation2d", "upsample2d", "downsample2d")


def explain(op: str, x: Tensor, *arguments: Any, **options: Any) -> Choice:
    """The backend that `op` (its name) would use for x and the same further arguments; print it to read the reasons.

        print(explain("filtered_activation2d", x, "gelu", "hq"))

    Raises ArgumentError for an unknown op, BackendError for a backend that cannot run it, else as the op itself.
    """
    if op not in OPS:
        raise ArgumentError(f"unknown op {op!r}{did_you_mean(op, OPS)}")
    describe = _activation if op == "filtered_activation2d" else _resampling
    activation, up, down, factor, padding, backend = describe(x, *arguments, **options)
    return choose(custom_ops.call_of(op, x, activation, up, down, factor, padding), backend)


def _activation(
    x: Tensor,
    activation: Any,
    up: FilterSpec | str,
    down: FilterSpec | str | None = None,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> tuple[Any, ...]:
    activation_function(activation)
    first = check(x, up, factor, padding)
    last = first if down is None else check(x, down, factor, padding)
    return activation_name(activation), first, last, factor, padding, backend


def _resampling(
    x: Tensor, filter: FilterSpec | str, factor: int = 2, padding: Padding = "zeros", backend: str = "auto"
) -> tuple[Any, ...]:
    spec = check(x, filter, factor, padding)
    return None, spec, spec, factor, padding, backend
