"""Motions spread over the sampling steps: what moves (one class a transform) and when (`MotionSchedule`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from aliasfree.errors import ArgumentError
from aliasfree.ops import rotate2d, translate2d, zoom2d

__all__ = ["Motion", "MotionSchedule", "Rotation", "Transform", "Translation", "Zoom"]

MAX_DEGREES = 3600.0


class Transform(Protocol):
    """A motion that can be done in shares."""

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        """Carry x (N, C, H, W) from share `start` of the motion to share `end`; 0 .. 1 is the whole."""
        ...

    @property
    def is_identity(self) -> bool: ...


@dataclass(frozen=True)
class Rotation:
    """Counter-clockwise by `degrees` about the image centre; `method` as in `rotate2d`."""

    degrees: float
    method: str = "fourier"

    def __post_init__(self) -> None:
        if not math.isfinite(self.degrees) or abs(self.degrees) > MAX_DEGREES:
            raise ArgumentError(f"rotate is an angle in degrees within +-{MAX_DEGREES:g}, not {self.degrees}")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        return rotate2d(x, self.degrees * (end - start), method=self.method)

    @property
    def is_identity(self) -> bool:
        return self.degrees == 0


@dataclass(frozen=True)
class Translation:
    """By (dy, dx) pixels, down and right; periodic."""

    dy: float
    dx: float
    method: str = "fourier"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dy) and math.isfinite(self.dx)):
            raise ArgumentError(f"translate needs two finite numbers of pixels, not ({self.dy}, {self.dx})")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        return translate2d(x, self.dy * (end - start), self.dx * (end - start), method=self.method)

    @property
    def is_identity(self) -> bool:
        return self.dy == 0 and self.dx == 0


@dataclass(frozen=True)
class Zoom:
    """By `factor` about the image centre, above 1 magnifying; each share is a power of it. Not orthogonal."""

    factor: float
    method: str = "fourier"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and 0.1 <= self.factor <= 10):
            raise ArgumentError(f"zoom is a factor between 0.1 and 10, not {self.factor}")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        return zoom2d(x, self.factor ** (end - start), method=self.method)

    @property
    def is_identity(self) -> bool:
        return self.factor == 1


@dataclass(frozen=True)
class MotionSchedule:
    """When the motion happens: from sampling progress in [0, 1] to the share of the motion done.

    window   (a, b) with 0 <= a <= b <= 1, linear inside (a = b: all at once), or a function with f(0) = 0. (0, 1) is
             the paper's; later windows keep more of what the sample shows
    """

    window: tuple[float, float] | Callable[[float], float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if callable(self.window):
            return
        a, b = self.window
        if not 0 <= a <= b <= 1:
            raise ArgumentError(f"the motion's window is a pair 0 <= start <= end <= 1 of sampling progress, not {self.window}")

    def share(self, progress: float) -> float:
        """Share of the motion that is done at `progress`."""
        if callable(self.window):
            return float(self.window(progress))
        a, b = self.window
        if a == b:
            return float(progress >= a)
        return min(1.0, max(0.0, (progress - a) / (b - a)))


@dataclass(frozen=True)
class Motion:
    """Several transforms and their common schedule; applied in order at every step."""

    transforms: tuple[Transform, ...]
    schedule: MotionSchedule

    @classmethod
    def of(
        cls,
        rotate: float,
        translate: tuple[float, float],
        zoom: float,
        method: str,
        schedule: tuple[float, float] | Callable[[float], float],
    ) -> Motion:
        """Those of the three transforms that move anything."""
        every = (Rotation(rotate, method), Translation(*translate, method), Zoom(zoom, method))
        return cls(tuple(t for t in every if not t.is_identity), MotionSchedule(schedule))

    def __bool__(self) -> bool:
        return bool(self.transforms)

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        """Carry x from share `start` to share `end`."""
        if start == end:
            return x
        for transform in self.transforms:
            x = transform.move(x, start, end)
        return x
