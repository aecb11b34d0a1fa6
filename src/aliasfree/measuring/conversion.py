"""A diffusers model before and after its conversion: equivariance of both, and what the conversion did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aliasfree.measuring.targets import Subject

if TYPE_CHECKING:
    from aliasfree.conversion import ConversionReport

__all__ = ["Converted", "Equivariance", "convert_and_measure"]


@dataclass(frozen=True)
class Equivariance:
    """A network's, in dB; `eq_r` is None for images that are not square.

    inside  EQ-T and EQ-T_frac of the pixels at least `margin` from every edge of the valid region, where padding is
            seen least; None for a network that pads periodically, whose plane has no edge
    """

    eq_t: float
    eq_t_frac: float
    eq_r: float | None
    inside: tuple[float, float] | None = None
    margin: int = 0


@dataclass(frozen=True)
class Converted:
    """A model that has been converted in place."""

    model: Any
    before: Equivariance
    after: Equivariance
    report: ConversionReport


def convert_and_measure(
    subject: Subject,
    config: str,
    padding_mode: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Convert a subject's model in place, measured before and after at the same images, shifts and angles.

    padding_mode  as in `convert`; None = convolutions keep theirs

    Raises ConfigError, ArgumentError as `convert`.
    """
    from aliasfree.conversion import conversion_report, convert

    def told(done: int) -> None:
        if progress is not None:
            progress(done, 4)

    told(0)
    before = _measure(subject, subject.periodic)
    told(1)
    model: Any = convert(subject.model, config, padding_mode=padding_mode)  # type: ignore[arg-type]
    told(2)
    after = _measure(subject, model.config.get("alias_free_padding_mode") == "circular")
    told(3)
    report = conversion_report(model)
    told(4)
    return Converted(model, before, after, report)


def _measure(subject: Subject, periodic: bool) -> Equivariance:
    from aliasfree.evaluation.equivariance import rotation_agreement, translation_agreement
    from aliasfree.evaluation.spectra import without_nyquist

    x = subject.images
    margin = 0 if periodic else min(x.shape[-2:]) // 4

    def shifted(margin: int) -> tuple[float, float]:
        whole, fraction = (
            translation_agreement(subject.call, images, fractional, periodic=periodic, margin=margin).db
            for images, fractional in ((x, False), (without_nyquist(x), True))
        )
        return whole, fraction

    square = x.shape[-1] == x.shape[-2]
    turned = rotation_agreement(subject.call, x).db if square else None
    return Equivariance(*shifted(0), turned, shifted(margin) if margin else None, margin)
