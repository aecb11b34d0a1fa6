"""What was measured of a run, put into its model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.estimate import Estimate
from aliasfree.results.metrics import Metrics

if TYPE_CHECKING:
    from aliasfree.training import RunFolder
    from aliasfree.training.card import CardFigure

__all__ = ["update_card"]

_NOT_OF_THE_NETWORK = ("images_per_second", "parameters")


def update_card(run: RunFolder, metrics: Metrics) -> bool:
    """Put the figures into README.md of the run, unless somebody has changed it; gives whether they are in."""
    from aliasfree.training.card import write_card

    sampling = metrics.sampling or {}
    how = f", {sampling['steps']} steps of {sampling['scheduler']}" if sampling else ""
    return write_card(run, metrics.steps or 0, _figures(metrics), f"{metrics.num:,} images{how}")


def _figures(metrics: Metrics) -> list[CardFigure]:
    from aliasfree.reporting.runs import COLUMNS, figure, floor
    from aliasfree.training.card import CardFigure

    found: list[CardFigure] = []
    for features, fidelity in metrics.fidelity.items():
        real = floor(metrics, fidelity)
        for key, name, factor, digits in COLUMNS:
            value = figure(key, metrics, fidelity)
            of_images = key in fidelity.generated
            if value is None or key in _NOT_OF_THE_NETWORK or (not of_images and any(f.name == name for f in found)):
                continue
            floors = _scaled(real[key], factor) if key in real else None
            found.append(CardFigure(name, features if of_images else "", _scaled(value, factor), floors, digits))
    return found


def _scaled(value: Estimate, factor: float) -> Estimate:
    ends = (None if v is None else v * factor for v in (value.low, value.high, value.spread))
    return Estimate(value.value * factor, *ends)
