"""Equivariance against fidelity while a model is tuned, which point of it is kept, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Point", "best", "is_over"]

LEAST_GAIN = 0.1
"""Decibel by which a point has to be better to be a new best one."""


@dataclass(frozen=True)
class Point:
    """One measurement.

    step      optimizer steps done
    db        EQ-T_frac: of the decoder, or of the UNet
    fidelity  PSNR in dB of an autoencoder; error of a UNet's prediction
    lost      of fidelity against the teacher: dB, or a share of its error; below 0 = more faithful than the teacher
    allowed   `lost` is within the bound
    """

    step: int
    db: float
    fidelity: float
    lost: float
    allowed: bool


def best(points: Sequence[Point]) -> Point | None:
    """The point to keep: of those within the bound the one of most dB, a later one only if it gains 0.1 dB; of none
    within it, the one that lost least.

    >>> from aliasfree.tuning.curve import Point, best
    >>> lost, kept = Point(500, 30.0, 20.0, 3.0, False), Point(1000, 25.0, 26.0, 0.1, True)
    >>> best([lost, kept, Point(1500, 25.05, 26.1, 0.0, True)]).step
    1000
    """
    kept: Point | None = None
    for point in points:
        if kept is None or _beats(point, kept):
            kept = point
    return kept


def _beats(point: Point, kept: Point) -> bool:
    if point.allowed != kept.allowed:
        return point.allowed
    return point.db > kept.db + LEAST_GAIN if point.allowed else point.lost < kept.lost


def is_over(points: Sequence[Point], patience: int) -> bool:
    """Whether to stop: some point is within the bound, and for `patience` points none was a new best one; 0 = never."""
    kept = best(points)
    if not patience or kept is None or not kept.allowed:
        return False
    return sum(point.step > kept.step for point in points) >= patience
