"""Several measured runs side by side: the paper's table with intervals, floors, equivariance and speed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aliasfree.errors import ArgumentError
from aliasfree.evaluation.intervals import Estimate, over_runs
from aliasfree.files import together, write_file
from aliasfree.outputs import check_outputs
from aliasfree.reporting import html
from aliasfree.reporting.charts import Curve, Panel, learning_curves, panels, radial_spectra
from aliasfree.reporting.html import Html
from aliasfree.results.columns import COLUMNS, Column, figure, floors
from aliasfree.results.metrics import Metrics, NetworkEquivariance, metrics_file, read_metrics

__all__ = [
    "Row", "csv_text", "equivariance_figure", "markdown", "measured_section", "summarise", "write_report",
]  # fmt: skip

SEEDS = ("training seed", "seed")
"""Choices in which the runs of one row may differ."""
EQUIVARIANCE = (("eq_t", "EQ-T"), ("eq_t_frac", "EQ-T_frac"), ("eq_r", "EQ-R"))


@dataclass(frozen=True)
class Row:
    """One config (or folder) by one extractor: figures, and the same of real test images where that makes sense."""

    name: str
    features: str
    runs: int
    images: int
    accuracy: float | None  # of the classifier whose features these are
    figures: dict[str, Estimate]
    floor: dict[str, Estimate]


def summarise(metrics: Sequence[Metrics]) -> list[Row]:
    """Rows of what `evaluate` found; runs that differ in their seed alone become one, with an interval over runs."""
    groups: dict[str, list[tuple[Metrics, str]]] = {}
    for facts in metrics:
        for features in facts.fidelity:
            chosen = {k: v for k, v in _choices(facts).items() if k not in SEEDS}
            name = facts.config or facts.source
            real = [facts.fingerprint, facts.image_size, facts.num]
            key = json.dumps([name, features, *real, chosen], sort_keys=True)
            groups.setdefault(key, []).append((facts, features))
    members = list(groups.values())
    names = _names([group[0][0] for group in members], ignore=SEEDS)
    return [_row(name, group) for name, group in zip(names, members, strict=True)]


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; +- is half of the 95 % interval, "real" the figure of as many real test images."""
    shown = _shown(rows)
    lines = ["| | features | images | " + " | ".join(c.title for c in shown) + " |", "|" + " --- |" * (len(shown) + 3)]
    for row in rows:
        cells = [_name(row), _features(row), f"{row.images:,}"]
        cells += [_cell(row, column) for column in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def csv_text(rows: Sequence[Row]) -> str:
    """One line a row; each figure with the ends of its interval and its floor, raw values."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [f"{k}{suffix}" for k in COLUMNS for suffix in ("", "_low", "_high", "_spread", "_floor")]
    writer.writerow(["name", "features", "runs", "images", "classifier_accuracy", *head])
    for row in rows:
        values: list[Any] = []
        for key in COLUMNS:
            estimate, floor = row.figures.get(key), row.floor.get(key)
            values += [*(astuple(estimate) if estimate else (None,) * 4)]
            values.append(floor.value if floor else None)
        writer.writerow([row.name, row.features, row.runs, row.images, row.accuracy, *values])
    return out.getvalue()


def write_report(runs: Sequence[Path], out: Path, *, overwrite: bool = False) -> tuple[list[Row], list[Path]]:
    """The report of measured runs: `out` (.html) and beside it .md and .csv; gives the rows and the files.

    Raises ArgumentError for no run, for one that `aliasfree evaluate` has not measured, and for an `out` that is no
    .html or, without `overwrite`, for any of the three that exists.
    """
    if not runs:
        raise ArgumentError("a report needs at least one run")
    if out.suffix.lower() != ".html":
        raise ArgumentError(f"The report is HTML, so `out` must end in .html, not {out.name!r}.")
    files = [out.with_suffix(".md"), out.with_suffix(".csv"), out]
    measured = [metrics_file(run) for run in runs]
    pictures = [path.with_suffix(".png") for path in measured]
    check_outputs(files, reads=[*measured, *pictures, *(run / "losses.csv" for run in runs)], overwrite=overwrite)
    metrics = [read_metrics(run) for run in runs]
    rows = summarise(metrics)
    contents = (markdown(rows) + "\n", csv_text(rows), compose(runs, metrics, rows))
    with together():
        for path, content in zip(files, contents, strict=True):
            write_file(path, content)
    return rows, files


def compose(runs: Sequence[Path], metrics: Sequence[Metrics], rows: Sequence[Row]) -> str:
    """The page as text."""
    tables = _tables(rows)
    best = min((r for r in rows if "fid" in r.figures), key=lambda r: r.figures["fid"].value, default=None)
    headline = f"{len(metrics)} runs compared" if len(metrics) > 1 else "One run measured"
    if best is not None and len({row.features for row in rows}) == 1 and len(rows) > 1:
        headline += f": lowest FID {best.figures['fid'].text()} for {best.name}"
    sections = [
        html.section(
            "Figures",
            html.text(
                "± is half of the 95 % interval: over images for a single run, over runs where several differ in their "
                "seed alone. “real” is the same figure of as many real test images, the best a generator can expect. "
                "EQ is the network's own, over all noise levels, in decibel: 20 more is a tenth of the error. The "
                "sampler's is that of finished images, noise and frame moved before the first step."
            ),
            *tables,
        )
    ]
    if any(facts.equivariance for facts in metrics):
        sections.append(
            html.section(
                "Equivariance, noise level by noise level",
                html.text(
                    "Upright data have no rotation-equivariant denoiser at high noise; low noise is where the "
                    "network's own behaviour shows."
                ),
                html.figure(
                    html.chart(equivariance_figure(_named(metrics)), "EQ over noise level"),
                    "EQ-T (whole pixels), EQ-T_frac (fractions) and EQ-R (rotations), with 95 % bands over images.",
                ),
            )
        )
    grids = [(name, metrics_file(run).with_suffix(".png")) for name, run in zip(_names(metrics), runs, strict=True)]
    blocks = [
        html.figure(html.picture(path.read_bytes(), f"the first images of {name}"), name)
        for name, path in grids
        if path.is_file()
    ]
    if blocks:
        sections.append(html.section("The first images", html.row(*blocks)))
    spectra = spectra_figure(metrics)
    if spectra is not None:
        sections.append(html.section("Spectra", html.figure(html.chart(spectra, "radial spectra"), _SPECTRA)))
    losses = [(str(run), *_losses(run)) for run in runs]
    known = [(name, steps, values) for name, steps, values in losses if len(values)]
    if known:
        chart = html.chart(learning_curves(known), "loss over training step")
        caption = "Every step, pale, and means over 101 steps."
        sections.append(html.section("Training", html.figure(chart, caption)))
    return html.page(
        "aliasfree report", headline,
        Html("Measured by <code>aliasfree evaluate</code>; read differences beside their intervals."),
        *sections, footer="Written by aliasfree; nothing on this page is loaded from elsewhere.",
    )  # fmt: skip


_SPECTRA = "Generated images have the real ones' texture where the curves agree."


def equivariance_figure(named: Sequence[tuple[str, NetworkEquivariance]]) -> Image.Image:
    """A picture of EQ over noise level: (name, what `network_equivariance` gave) each."""
    content = []
    for key, title in EQUIVARIANCE:
        curves = []
        for name, found in named:
            known = [(level.t, e) for level in found.levels if (e := getattr(level, key)) is not None]
            if known:
                ends = [[_number(getattr(e, end)) for _, e in known] for end in ("value", "low", "high")]
                curves.append(Curve(name, [_number(t) for t, _ in known], *ends))
        if curves:
            content.append(Panel(title, "noise level t, time steps", "dB", curves))
    return panels(content, columns=3)


def spectra_figure(metrics: Sequence[Metrics]) -> Image.Image | None:
    """Radial spectra of the generated images and of the real ones of the first data set; None without any."""
    known = [(name, f.spectra) for name, f in zip(_names(metrics), metrics, strict=True) if f.spectra]
    if not known:
        return None
    first = known[0][1]
    curves = [Curve("real", first.frequency, first.real)]
    return radial_spectra([*curves, *(Curve(name, s.frequency, s.generated) for name, s in known)])


def measured_section(metrics: Sequence[Metrics], title: str = "Measured") -> Html:
    """A section for other reports: the table of `metrics`, equivariance by noise level, spectra."""
    rows = summarise(metrics)
    spectra = spectra_figure(metrics)
    eq = equivariance_figure(_named(metrics))
    return html.section(
        title,
        html.text(
            f"By the features of {_features(rows[0])}. ± is half of the 95 % interval; “real” is the figure of as many "
            "real images that the reference does not hold. EQ is the network's own, in decibel."
        ),
        *_tables(rows),
        html.figure(html.chart(eq, "EQ over noise level"), "EQ by noise level."),
        *([] if spectra is None else [html.figure(html.chart(spectra, "radial spectra"), _SPECTRA)]),
    )


def _tables(rows: Sequence[Row]) -> list[Html]:
    """All figures, in three tables so that each fits a page."""
    tables: list[Html] = []
    for kind in ("images", "network", "cost"):
        shown = [column for column in _shown(rows) if column.table == kind]
        body = [
            [
                _name(row).replace("-", "\u2011"),
                _features(row),
                f"{row.images:,}",
                *(_unbroken(row, column) for column in shown),
            ]
            for row in rows
        ]
        tables += [html.table(["", "features", "images", *(c.title for c in shown)], body)] if shown else []
    return tables


def _shown(rows: Sequence[Row]) -> list[Column]:
    """The columns that hold anything."""
    return [column for key, column in COLUMNS.items() if any(key in row.figures for row in rows)]


def _row(name: str, members: list[tuple[Metrics, str]]) -> Row:
    facts, features = members[0]
    first = facts.fidelity[features]
    figures: dict[str, Estimate] = {}
    for key, column in COLUMNS.items():
        found = [value for f, _ in members if (value := figure(column, f, features)) is not None]
        values = [v.value for v in found]
        if len(members) > 1 and values:
            figures[key] = over_runs(values) if np.isfinite(values).all() else Estimate(float(np.mean(values)))
        elif found:
            figures[key] = found[0]
    return Row(name, features, len(members), facts.num, first.accuracy, figures, floors(facts, features))


def _cell(row: Row, column: Column) -> str:
    estimate, floor = row.figures.get(column.key), row.floor.get(column.key)
    if estimate is None:
        return "–"
    half, spread = estimate.half_width, estimate.spread
    words = column.number(estimate.value)
    if half is not None and math.isfinite(half):
        words += f" ± {column.number(half)}"
    elif spread is not None:
        words += f", spread {column.number(spread)}"
    return words if floor is None else f"{words} (real {floor.value * column.factor:.{column.digits}f})"


def _unbroken(row: Row, column: Column) -> str:
    """The cell with a line break nowhere but before what is in brackets."""
    return _cell(row, column).replace(" ± ", "\u00a0±\u00a0").replace("(real ", "(real\u00a0")


def _name(row: Row) -> str:
    return row.name if row.runs == 1 else f"{row.name}, {row.runs} runs"


def _features(row: Row) -> str:
    return row.features if row.accuracy is None else f"{row.features} ({100 * row.accuracy:.1f} % right)"


def _choices(facts: Metrics) -> dict[str, Any]:
    """What was chosen in training, sampling and measuring, by the name a reader knows it by."""
    known = {"training seed": facts.training_seed, "steps trained": facts.steps, "protocol": facts.protocol}
    chosen = {name: value for name, value in known.items() if value is not None}
    parts: tuple[Mapping[str, Any], ...] = (facts.training or {}, facts.sampling or {})
    for part in parts:
        chosen |= {"trained on" if k == "data" else k.replace("_", " "): v for k, v in part.items()}
    return chosen


def _names(metrics: Sequence[Metrics], ignore: Sequence[str] = ()) -> list[str]:
    """The config, and what else was chosen where that is needed to tell one from another: "A, augment rotate"."""
    names = [f.config or Path(f.source).name for f in metrics]
    choices = [{k: v for k, v in _choices(f).items() if k not in ignore} for f in metrics]
    told = []
    for name, mine in zip(names, choices, strict=True):
        kin = [other for n, other in zip(names, choices, strict=True) if n == name]
        differing = [k for k in mine if any(other.get(k, mine[k]) != mine[k] for other in kin)]
        told.append(", ".join([name, *(f"{k} {mine[k]}" for k in differing)]))
    same = {name for name in told if len({f.source for f, t in zip(metrics, told, strict=True) if t == name}) > 1}
    return [f"{t}, {f.source}" if t in same else t for t, f in zip(told, metrics, strict=True)]


def _named(metrics: Sequence[Metrics]) -> list[tuple[str, NetworkEquivariance]]:
    names = _names(metrics)
    return [(name, f.equivariance) for name, f in zip(names, metrics, strict=True) if f.equivariance]


def _losses(run: Path) -> tuple[Any, Any]:
    from aliasfree.training import RunFolder

    return RunFolder(run).losses() if run.is_dir() else (np.empty(0), np.empty(0))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
