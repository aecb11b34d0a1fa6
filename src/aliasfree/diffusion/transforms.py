"""Motions spread over the sampling steps: what moves (one class a transform) and when (`MotionSchedule`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from aliasfree.diffusion.names import MAX_DEGREES, PAPER_WINDOW, ZOOMS
from aliasfree.errors import ArgumentError
from aliasfree.nn.frame import Frame
from aliasfree.ops.spatial import Amount, Method, as_amounts, check_method, rotate2d, translate2d, zoom2d

__all__ = ["Motion", "MotionSchedule", "Rotation", "Transform", "Translation", "Zoom"]

Window = tuple[float, float] | Callable[[float], float]


class Transform(Protocol):
    """A motion that can be done in shares. Amounts are one number for all samples, or one for each.

    >>> import torch
    >>> from aliasfree.diffusion import Motion, MotionSchedule
    >>> class QuarterTurns:
    ...     fixes_centre, is_identity = True, False
    ...     def move(self, x, start, end):
    ...         return x.rot90(round(4 * end) - round(4 * start), (2, 3))
    ...     def at(self, share):
    ...         return {"rotate": 90.0 * round(4 * share)}
    >>> x = torch.randn(1, 3, 8, 8)
    >>> torch.equal(Motion((QuarterTurns(),), MotionSchedule()).move(x, 0.0, 0.5), x.rot90(2, (2, 3)))
    True
    """

    fixes_centre: ClassVar[bool]
    """Leaves the image centre where it is. All such transforms commute with one another."""

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        """Carry x (N, C, H, W) from share `start` of the motion to share `end`; from 0 to 1 is the whole."""
        ...

    def at(self, share: float) -> dict[str, Any]:
        """Its argument of `Frame` when `share` of the motion is done."""
        ...

    @property
    def is_identity(self) -> bool: ...


@dataclass(frozen=True)
class Rotation:
    """Counter-clockwise by `degrees` (within +-3600) about the image centre; `method` as in `rotate2d`.

    >>> import torch
    >>> from aliasfree.diffusion import Rotation
    >>> x = torch.randn(1, 3, 8, 8)
    >>> torch.equal(Rotation(180.0).move(x, 0.0, 0.5), x.rot90(1, (2, 3)))
    True
    """

    degrees: Amount
    method: Method = "fourier"
    fixes_centre: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for d in _numbers(self.degrees):
            if not math.isfinite(d) or abs(d) > MAX_DEGREES:
                raise ArgumentError(f"rotate is an angle in degrees within +-{MAX_DEGREES:g}, not {d:g}")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        return rotate2d(x, [d * (end - start) for d in _numbers(self.degrees)], self.method)

    def at(self, share: float) -> dict[str, Any]:
        return {"rotate": _share(self.degrees, share)}

    @property
    def is_identity(self) -> bool:
        return not any(_numbers(self.degrees))


@dataclass(frozen=True)
class Translation:
    """By (dy, dx) pixels, down and right; periodic for "fourier" and "spline".

    >>> import torch
    >>> from aliasfree.diffusion import Translation
    >>> x = torch.randn(1, 3, 8, 8)
    >>> torch.equal(Translation(dy=0.0, dx=4.0).move(x, 0.0, 0.5), x.roll(2, 3))
    True
    """

    dy: Amount
    dx: Amount
    method: Method = "fourier"
    fixes_centre: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for d in _numbers(self.dy) + _numbers(self.dx):
            if not math.isfinite(d):
                raise ArgumentError(f"translate needs two finite numbers of pixels, down and right, not {d:g}")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        dy, dx = ([d * (end - start) for d in _numbers(amount)] for amount in (self.dy, self.dx))
        return translate2d(x, dy, dx, self.method)

    def at(self, share: float) -> dict[str, Any]:
        return {"translate": (_share(self.dy, share), _share(self.dx, share))}

    @property
    def is_identity(self) -> bool:
        return not any(_numbers(self.dy) + _numbers(self.dx))


@dataclass(frozen=True)
class Zoom:
    """By `factor` (0.1 to 10) about the image centre, above 1 magnifying; a share s is factor^s.

    No zoom is orthogonal: noise loses its whiteness on the way, see `zoom2d`.

    >>> from aliasfree.diffusion import Zoom
    >>> Zoom(4.0).at(0.5)["zoom"].tolist()
    [2.0]
    """

    factor: Amount
    method: Method = "fourier"
    fixes_centre: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for f in _numbers(self.factor):
            if not ZOOMS[0] <= f <= ZOOMS[1]:
                raise ArgumentError(f"zoom is a factor between {ZOOMS[0]:g} and {ZOOMS[1]:g} (1 = none), not {f:g}")

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        return zoom2d(x, [f ** (end - start) for f in _numbers(self.factor)], self.method)

    def at(self, share: float) -> dict[str, Any]:
        return {"zoom": torch.tensor(_numbers(self.factor), dtype=torch.float64) ** share}

    @property
    def is_identity(self) -> bool:
        return set(_numbers(self.factor)) == {1.0}


@dataclass(frozen=True)
class MotionSchedule:
    """When the motion happens: from sampling progress in [0, 1] to the share of the motion done by then.

    window   (a, b) with 0 <= a <= b <= 1, linear inside (a = b: all at once), or a function of progress. (0, 1) is
             the paper's; later windows keep more of what the upright sample shows. The pipeline's is `names.LATE`

    >>> from aliasfree.diffusion import MotionSchedule
    >>> late = MotionSchedule((0.5, 1.0))
    >>> late.share(0.25), late.share(0.75), late.share(1.0)
    (0.0, 0.5, 1.0)
    """

    window: Window = PAPER_WINDOW

    def __post_init__(self) -> None:
        if callable(self.window):
            return
        if len(self.window) != 2 or not 0 <= self.window[0] <= self.window[1] <= 1:
            raise ArgumentError(f"the motion's window is a pair 0 <= start <= end <= 1 of progress, not {self.window}")

    def share(self, progress: float) -> float:
        """Share of the motion that is done at `progress`. Raises ArgumentError when a callable gives no number."""
        if not callable(self.window):
            a, b = self.window
            return float(progress >= a) if a == b else min(1.0, max(0.0, (progress - a) / (b - a)))
        share = float(self.window(progress))
        if not math.isfinite(share):
            raise ArgumentError(f"the motion's schedule must give a finite share, not {share} at progress {progress:g}")
        return share


@dataclass(frozen=True)
class Motion:
    """Several transforms and their common schedule.

    The frame at share s is what the transforms that fix the centre make of it, then shifted: a translation counts in
    pixels of the final image. A step from one share to the next undoes the shift before and redoes it after.

    >>> from aliasfree.diffusion import Motion, MotionSchedule, Rotation, Translation
    >>> motion = Motion((Rotation(90.0), Translation(dy=0.0, dx=4.0)), MotionSchedule((0.5, 1.0)))
    >>> halfway = motion.frame(motion.schedule.share(0.75))
    >>> halfway.rotate.tolist(), halfway.translate[1].tolist()
    ([45.0], [2.0])
    """

    transforms: tuple[Transform, ...]
    schedule: MotionSchedule

    @classmethod
    def of(
        cls,
        rotate: Amount,
        translate: tuple[Amount, Amount],
        zoom: Amount,
        method: Method,
        schedule: Window,
        batch_size: int = 1,
    ) -> Motion:
        """The motion of those that move anything. Amounts: one for all samples, or one for each of `batch_size`."""
        check_method(method)
        if not hasattr(translate, "__len__") or len(translate) != 2:
            raise ArgumentError(f"translate needs two numbers of pixels, down and right, not {translate!r}")
        degrees, dy, dx, factor = (
            as_amounts(value, batch_size, name)
            for name, value in (
                ("rotate", rotate),
                ("translate", translate[0]),
                ("translate", translate[1]),
                ("zoom", zoom),
            )
        )
        every: tuple[Transform, ...] = (Rotation(degrees, method), Zoom(factor, method), Translation(dy, dx, method))
        return cls(tuple(t for t in every if not t.is_identity), MotionSchedule(schedule))

    def __bool__(self) -> bool:
        return bool(self.transforms)

    def frame(self, share: float) -> Frame:
        """Where a picture lies when `share` of the motion is done."""
        if not self.transforms or not share:
            return Frame()
        given: dict[str, Any] = {}
        for t in self.transforms:
            given |= t.at(share)
        return Frame(**given)

    def move(self, x: Tensor, start: float, end: float) -> Tensor:
        """Carry x from share `start` to share `end`."""
        if start == end:
            return x
        shifting = [t for t in self.transforms if not t.fixes_centre]
        if len(shifting) == len(self.transforms):
            for t in shifting:
                x = t.move(x, start, end)
            return x
        if start:
            for t in reversed(shifting):
                x = t.move(x, start, 0.0)
        for t in self.transforms:
            x = t.move(x, start, end) if t.fixes_centre else x
        for t in shifting:
            x = t.move(x, 0.0, end)
        return x


def _share(amount: Amount, share: float) -> Tensor:
    return torch.tensor(_numbers(amount), dtype=torch.float64) * share


def _numbers(amount: Amount) -> list[float]:
    if isinstance(amount, Tensor):
        return [float(a) for a in amount.reshape(-1).tolist()]
    return [float(a) for a in amount] if not isinstance(amount, int | float) else [float(amount)]
