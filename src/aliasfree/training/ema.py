"""The exponential moving average of the weights, kept as a network of its own so that it can be sampled at any time."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def ema_decay_at(step: int, decay: float) -> float:
    """The decay used at `step` (from 1): min(decay, (1 + step) / (10 + step)), the warm-up of diffusers' `EMAModel`.

    The average then spans about the last tenth of a short run instead of remembering its random start.
    """
    return min(decay, (1.0 + step) / (10.0 + step))


class WeightAverage(Generic[Model]):
    """theta_ema <- d theta_ema + (1 - d) theta after each step, with d from `ema_decay_at`."""

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.model: Model = copy.deepcopy(model).eval().requires_grad_(False)
        self._averaged: list[Tensor] = list(self.model.parameters())
        parameters = {name for name, _ in model.named_parameters()}
        self._copied = [name for name in model.state_dict() if name not in parameters]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights of `model` (not wrapped) after `step`; buffers of its state are copied."""
        weight = 1.0 - ema_decay_at(step, self.decay)
        torch._foreach_lerp_(self._averaged, [*model.parameters()], weight)
        for name in self._copied:
            self.model.get_buffer(name).copy_(model.get_buffer(name))
