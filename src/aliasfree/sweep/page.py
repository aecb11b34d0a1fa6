"""The page of a sweep and its rotation figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image

from aliasfree.estimate import Estimate
from aliasfree.reporting import html
from aliasfree.reporting.charts import Curve, Panel, panels
from aliasfree.reporting.html import Html
from aliasfree.reporting.rotation import samples_figure
from aliasfree.results.rotation import RotationCurve
from aliasfree.sweep.answers import Answer
from aliasfree.sweep.table import LEGEND, Entry, difference_rows, groups_of, table_rows

__all__ = ["compose", "rotation_figure"]

PANELS = (
    ("kept", "Class of x(0) kept", "share of samples, turned back", False),
    ("fd", "FD to real images turned by theta", "squared distance of features", True),
    ("db", "Agreement with the turned x(0)", "dB inside the disc", False),
)
MARGIN = 16


def compose(
    name: str,
    about: str,
    told: Sequence[Answer],
    found: Sequence[Entry],
    figures: Mapping[str, Image.Image],
    minutes: Sequence[Sequence[str]],
    finished: int,
    total: int,
) -> str:
    """The page as text: answers, tables by data set and extractor, differences, rotation figures, what it took.

    minutes  rows of data set, config, minutes of training and of sampling
    """
    sections = [html.section(a.question, *(html.text(line) for line in (a.sentence, *a.lines))) for a in told]
    sections += [
        html.section(
            f"{data}, features: {features}",
            html.table(*_shown(table_rows(group))),
            *_differences(group),
        )
        for (data, features), group in groups_of(found).items()
    ]
    sections += [
        html.section(
            f"Turned while sampled: {data}",
            html.figure(
                html.chart(figure, f"samples and curves over the angle, {data}"),
                "Each row one config and way of turning, the same seed; bands are 95 %.",
            ),
        )
        for data, figure in figures.items()
    ]
    if minutes:
        table = html.table(["data", "config", "training", "sampling"], minutes)
        sections.append(html.section("Minutes a cell", table))
    return html.page(
        f"sweep {name}",
        f"{name}: {finished} of {total} cells",
        f"{about} {LEGEND}",
        *sections,
        footer="Written by aliasfree; nothing on this page is loaded from elsewhere.",
    )


def rotation_figure(by_config: Mapping[str, Sequence[RotationCurve]]) -> Image.Image:
    """Samples at every angle above the curves of class kept, FD and dB; a config's curves are those of `turn_cell`.

    The finished image, turned, is left out: its curves say how the measure works, not how the network does.
    """
    curves = [
        RotationCurve(f"{config}: {c.name}", c.degrees, c.db, c.fd, c.kept, c.right, c.step, c.shown)
        for config, found in by_config.items()
        for c in found
        if not c.name.startswith("x(0)")
    ]
    content = []
    for key, title, unit, log in PANELS:
        drawn = []
        for curve in curves:
            values: Sequence[Estimate] = getattr(curve, key)
            ends = [[_finite(getattr(v, end)) for v in values] for end in ("value", "low", "high")]
            drawn.append(Curve(curve.name, curve.degrees, *ends))
        if any(not math.isnan(v) for curve in drawn for v in curve.y):
            content.append(Panel(title, "theta, degrees counter-clockwise", unit, drawn, log=log))
    above, below = samples_figure(curves), panels(content, columns=3)
    above = above.resize(
        [side * max(1, below.width // (2 * above.width)) for side in above.size], Image.Resampling.NEAREST
    )
    figure = Image.new("RGB", (max(above.width, below.width), above.height + MARGIN + below.height), "white")
    figure.paste(above.convert("RGB"), ((figure.width - above.width) // 2, 0))
    figure.paste(below, ((figure.width - below.width) // 2, above.height + MARGIN))
    return figure


def _differences(group: Sequence[Entry]) -> list[Html]:
    head, rows = _shown(difference_rows(group))
    caption = f"Difference to {group[0].config}, paired by seed, with 95 % intervals and Holm-corrected p"
    return [html.table(head, rows, caption)] if rows else []


def _shown(table: tuple[list[str], list[list[str]]]) -> tuple[list[str], list[list[Html]]]:
    head, rows = table
    return head, [[_cell(text) for text in row] for row in rows]


def _cell(text: str) -> Html:
    """Markdown's bold as HTML's; no line breaks within a figure."""
    text = text.replace(" ", "\u00a0").replace("-", "\u2011")
    if not text.startswith("**"):
        return html.escape(text)
    body, _, rest = text[2:].partition("**")
    return Html(f"<b>{html.escape(body)}</b>{html.escape(rest)}")


def _finite(value: float | None) -> float:
    return math.nan if value is None or math.isinf(value) else value
