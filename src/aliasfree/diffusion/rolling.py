"""Latents rolled while they are sampled, for images that are seamless."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from aliasfree.diffusion.callbacks import MotionCallback
from aliasfree.errors import ArgumentError, check_seed

__all__ = ["RollCallback"]


class _Rolls:
    """A motion that is rolled by other offsets at every share of sampling, and back at the end."""

    def __init__(self, axes: str, seed: int, scale: int = 1) -> None:
        self.axes, self.seed, self.scale = axes, seed, scale

    def __bool__(self) -> bool:
        return True

    @property
    def schedule(self) -> _Rolls:
        return self

    def share(self, progress: float) -> float:
        return progress if progress < 1 else 0.0

    def offsets(self, share: float, size: tuple[int, int]) -> tuple[int, int]:
        if not share:
            return 0, 0
        drawn = np.random.default_rng([self.seed, round(share * 1e6)]).integers(size)
        return int(drawn[0]) * ("y" in self.axes), int(drawn[1]) * ("x" in self.axes)

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        size = (x.shape[-2] // self.scale, x.shape[-1] // self.scale)
        before, after = self.offsets(start, size), self.offsets(end, size)
        return x.roll([self.scale * (b - a) for a, b in zip(before, after, strict=True)], (-2, -1))


class RollCallback(MotionCallback):
    """Rolls the latents of a diffusers pipeline by another random offset after every step, and back after the last.

        pipe(prompt, callback_on_step_end=RollCallback("x"))

    axes     "x" (columns), "y" (rows) or "xy"
    seed     of the offsets, a whole number from 0; they are functions of (seed, progress)
    size, layout   as for `MotionCallback`, which also tells which pipelines it takes

    In a tiled pipeline no place is the edge, and rolling moves the grid of the coarsest pixels about, so that no line
    of it stands out. In one that could not be tiled (transformers that know where each token lies) no pixel stays at
    the edge, which hides the seam; nothing is proven then. What the scheduler remembers and the noise it draws roll
    along.
    Raises ArgumentError, ShapeError as `MotionCallback` does.

    >>> from aliasfree.diffusion import RollCallback
    >>> RollCallback("x").tensor_inputs  # for pipe(prompt, callback_on_step_end=RollCallback("x"))
    ['latents']
    """

    def __init__(
        self,
        axes: str = "xy",
        seed: int = 0,
        size: tuple[int, int] | None = None,
        layout: str | None = None,
    ) -> None:
        if axes not in ("x", "y", "xy"):
            raise ArgumentError(f"`axes` to roll along are x (columns), y (rows) or xy, not {axes!r}")
        check_seed(seed)
        super().__init__(size=size, layout=layout)
        self._motion: Any = _Rolls(axes, seed)
        self._rolls = self._motion

    def _scaled(self, scale: float, batch: int) -> Any:  # noqa: ARG002
        return _Rolls(self._rolls.axes, self._rolls.seed, round(scale))
