"""What a multistep scheduler remembers, and how to move it with the frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["move_history"]


def move_history(scheduler: Any, shape: torch.Size, move: Callable[[Tensor], Tensor]) -> int:
    """Replace every tensor of the sample's shape that a scheduler keeps by `move` of it.

    Past model outputs, derivatives and states (`model_outputs`, `ets`, `prev_derivative`, `last_sample`, ...) belong to
    the frame before the motion. They are found by shape, through lists, tuples, deques, dicts and schedulers inside
    schedulers; a tensor kept in two places is moved once and stays shared. Returns how many were moved.
    """
    done: dict[int, tuple[Tensor, Tensor]] = {}  # the original is held so that its id cannot be given away

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.shape != shape or not value.is_floating_point():
                return value
            if id(value) not in done:
                done[id(value)] = (value, move(value))
            return done[id(value)][1]
        if isinstance(value, list):
            return [moved(v) for v in value]
        if isinstance(value, deque):
            return deque((moved(v) for v in value), value.maxlen)
        if type(value) is tuple:
            return tuple(moved(v) for v in value)
        if type(value) is dict:
            return {k: moved(v) for k, v in value.items()}
        if hasattr(value, "set_timesteps"):
            update(value)
        return value

    def update(one: Any) -> None:
        for name, value in list(vars(one).items()):
            if not name.startswith("_internal"):
                setattr(one, name, moved(value))

    update(scheduler)
    return len(done)
