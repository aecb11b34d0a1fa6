"""Samples turned while they are made: the picture of the curves over the angle, the table, the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aliasfree.pictures import angle_label, strip
from aliasfree.reporting import html
from aliasfree.reporting.charts import Curve, Panel, panels

if TYPE_CHECKING:
    from PIL import Image

    from aliasfree.estimate import Estimate
    from aliasfree.results.rotation import RotationCurve

__all__ = ["compose", "rotation_figure", "samples_figure", "table_head", "table_rows", "table_text"]

COLUMNS = 12
"""Images side by side in the picture of samples."""


def rotation_figure(curves: Sequence[RotationCurve]) -> Image.Image:
    """The four questions over theta, every way in its colour, with 95 % bands."""

    def of(field: str) -> list[Curve]:
        drawn = []
        for curve in curves:
            values: list[Estimate | None] = list(getattr(curve, field))
            ends = [[_end(v, end) for v in values] for end in ("value", "low", "high")]
            drawn.append(Curve(curve.name, curve.degrees, *ends))
        return drawn

    axis = "theta, degrees counter-clockwise"
    content = [
        Panel("Of the same class as x(0), turned back", axis, "share of samples", of("kept")),
        Panel(
            "Frechet distance to real images turned by theta",
            axis,
            "FD, squared distance of features",
            of("fd"),
            log=True,
        ),
        Panel("Agreement with the turned x(0), inside the disc", axis, "dB", of("db")),
        Panel("Agreement with the angle before, turned on", axis, "dB", of("step")),
    ]
    return panels([panel for panel in content if _drawable(panel)])


def samples_figure(curves: Sequence[RotationCurve]) -> Image.Image:
    """The first samples at every angle, one row a way of turning."""
    degrees = curves[0].degrees
    num = min(curves[0].shown.shape[1], max(1, COLUMNS // len(degrees)))
    # (ways, angles, n, C, S, S) -> (ways, n * angles, S, S, C)
    pixels = np.stack([curve.shown[:, :num].numpy() for curve in curves]).swapaxes(1, 2)
    table = np.moveaxis(pixels.reshape(len(curves), num * len(degrees), *pixels.shape[3:]), 2, -1)
    labels = [angle_label(theta) for theta in degrees] * num
    return strip(table, labels, [curve.name for curve in curves], scale=max(1, 48 // table.shape[3]))


def table_head(curves: Sequence[RotationCurve]) -> list[str]:
    """What stands over `table_rows`."""
    asked = ["class asked for"] if _asked(curves) else []
    figures = ["FD to turned real", "FD / upright FD", "dB to turned x(0)", "worst dB, angle to angle"]
    return ["turned by", "class kept", *asked, *figures]


def table_rows(curves: Sequence[RotationCurve]) -> list[tuple[str, ...]]:
    """Cells under `table_head` at the angle farthest from 0, best class kept first."""
    rows: list[tuple[str, ...]] = []
    for curve in sorted(curves, key=lambda c: -c.kept[_farthest(c)].value):
        k, zero = _farthest(curve), curve.degrees.index(0.0)
        steps = [s.value for s in curve.step if s is not None]
        kept = curve.kept[k]
        rows.append(
            (
                curve.name,
                _percent(kept),
                *([_percent(curve.right[k])] if _asked(curves) else []),
                _unbroken(curve.fd[k]),
                f"{curve.fd[k].value / curve.fd[zero].value:.2f}",
                "exact" if math.isinf(curve.db[k].value) else _unbroken(curve.db[k]),
                _db(min(steps)) if steps else "–",
            )
        )
    return rows


def table_text(curves: Sequence[RotationCurve]) -> str:
    """`table_rows` as Markdown."""
    k = _farthest(curves[0])
    head = [f"theta = {curves[0].degrees[k]:g}", *table_head(curves)[1:]]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table_rows(curves))])


def compose(config: str, num: int, accuracy: float, curves: Sequence[RotationCurve], figure: Image.Image) -> str:
    """The page as text: `num` samples an angle, judged by a classifier of that `accuracy`, and `rotation_figure`."""
    best = max(curves[:-2] or curves, key=lambda c: c.kept[_farthest(c)].value)
    k = _farthest(best)
    theta, share = best.degrees[k], 100 * best.kept[k].value
    ratio = best.fd[k].value / best.fd[best.degrees.index(0.0)].value
    return html.page(
        f"turned samples of {config}",
        f"{config} turned by {theta:g}° keeps the class of {share:.0f}\u00a0% of its samples, at {ratio:.2f} times the "
        f"upright FD: {best.name}",
        f"{num} samples at each angle, the same seeds, judged by a classifier with "
        f"{100 * accuracy:.1f} % on real test images. “x(0) turned” is the finished upright image, "
        "turned.",
        html.section(
            f"At {theta:g}°",
            html.table(table_head(curves), table_rows(curves)),
        ),
        html.section(
            "Over the angle", html.figure(html.chart(figure, "curves over theta"), "Bands: 95 %. Gaps: exact.")
        ),
        html.section(
            "The first samples",
            html.figure(html.picture(samples_figure(curves), "samples at every angle"), "The same seeds in all."),
        ),
        footer="Written by aliasfree; nothing on this page is loaded from elsewhere.",
    )


def _asked(curves: Sequence[RotationCurve]) -> bool:
    return curves[0].right[0] is not None


def _percent(share: Estimate | None) -> str:
    if share is None:
        return "–"
    low, high = (100 * (end or 0) for end in (share.low, share.high))
    return f"{100 * share.value:.1f} [{low:.0f},\u00a0{high:.0f}]\u00a0%"


def _unbroken(value: Estimate) -> str:
    return value.text(1).replace(", ", ",\u00a0")


def _db(value: float) -> str:
    return "exact" if math.isinf(value) else f"{value:.1f}"


def _farthest(curve: RotationCurve) -> int:
    return max(range(len(curve.degrees)), key=lambda k: abs(curve.degrees[k]))


def _end(value: Estimate | None, end: str) -> float:
    number = None if value is None else getattr(value, end)
    if number is None and value is not None:
        number = value.value
    return float("nan") if number is None or math.isinf(number) else number


def _drawable(panel: Panel) -> bool:
    return any(not math.isnan(v) for curve in panel.curves for v in curve.y)
