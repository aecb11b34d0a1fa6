"""What was measured of a run, put into its model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.estimate import Estimate
from aliasfree.results.columns import COLUMNS, figure, floors
from aliasfree.results.metrics import Metrics

if TYPE_CHECKING:
    from aliasfree.training import RunFolder
    from aliasfree.training.card import CardFigure

__all__ = ["update_card"]


def update_card(run: RunFolder, metrics: Metrics) -> bool:
    """Put the figures into README.md of the run, unless somebody has changed it; gives whether they are in."""
    from aliasfree.training.card import write_card

    sampling = metrics.sampling or {}
    how = f", {sampling['steps']} steps of {sampling['scheduler']}" if sampling else ""
    return write_card(run, metrics.steps or 0, _figures(metrics), f"{metrics.num:,} images{how}")


def _figures(metrics: Metrics) -> list[CardFigure]:
    from aliasfree.training.card import CardFigure

    found: list[CardFigure] = []
    for features in metrics.fidelity:
        real = floors(metrics, features)
        for column in COLUMNS.values():
            value, of_images = figure(column, metrics, features), column.record == "fidelity"
            known = any(f.name == column.title for f in found)
            if value is None or column.better is None or (known and not of_images):
                continue
            floor = _scaled(real[column.key], column.factor) if column.key in real else None
            told = features if of_images else ""
            found.append(CardFigure(column.title, told, _scaled(value, column.factor), floor, column.digits))
    return found


def _scaled(value: Estimate, factor: float) -> Estimate:
    ends = (None if v is None else v * factor for v in (value.low, value.high, value.spread))
    return Estimate(value.value * factor, *ends)
