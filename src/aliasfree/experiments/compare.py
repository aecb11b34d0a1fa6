"""Several measured runs side by side: the paper's table with intervals, floors, equivariance and speed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aliasfree.errors import ArgumentError
from aliasfree.evaluation.intervals import Estimate, over_runs
from aliasfree.experiments import report
from aliasfree.experiments.evaluate import metrics_file, read_metrics
from aliasfree.experiments.report import Html
from aliasfree.files import write_file
from aliasfree.plots import Curve, Panel, learning_curves, panels, radial_spectra

if TYPE_CHECKING:
    from aliasfree.evaluation.features import Extractor
    from aliasfree.experiments.real import RealImages
    from aliasfree.training import RunFolder

__all__ = [
    "Row",
    "csv_text",
    "equivariance_figure",
    "markdown",
    "measure_samples",
    "measured_section",
    "summarise",
    "write_report",
]

COLUMNS = (
    ("is", "IS", 1.0, 2), ("fid", "FID", 1.0, 2), ("kid", "KID x 1000", 1000.0, 2), ("precision", "precision", 1.0, 3),
    ("recall", "recall", 1.0, 3), ("eq_t", "EQ-T dB", 1.0, 1), ("eq_t_frac", "EQ-T_frac dB", 1.0, 1),
    ("eq_r", "EQ-R dB", 1.0, 1), ("images_per_second", "images/s", 1.0, 1), ("parameters", "parameters", 1.0, 0),
)  # fmt: skip
"""key, title, factor, digits."""
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


def summarise(metrics: Sequence[dict[str, Any]]) -> list[Row]:
    """Rows of what `evaluate` found; runs that differ in their seed alone become one, with an interval over runs."""
    groups: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for facts in metrics:
        for features, fidelity in facts["fidelity"].items():
            chosen = {k: v for k, v in _choices(facts).items() if k not in SEEDS}
            name = facts.get("config") or facts["source"]
            real = [facts["fingerprint"], facts["image_size"], facts["num"]]
            key = json.dumps([name, features, *real, chosen], sort_keys=True)
            groups.setdefault(key, []).append((facts, fidelity))
    members = list(groups.values())
    names = _names([group[0][0] for group in members], ignore=SEEDS)
    return [_row(name, group) for name, group in zip(names, members, strict=True)]


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; +- is half of the 95 % interval, "real" the figure of as many real test images."""
    shown = [c for c in COLUMNS if any(c[0] in row.figures for row in rows)]
    lines = ["| | features | images | " + " | ".join(c[1] for c in shown) + " |", "|" + " --- |" * (len(shown) + 3)]
    for row in rows:
        cells = [_name(row), _features(row), f"{row.images:,}"]
        cells += [_cell(row, *column) for column in shown]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def csv_text(rows: Sequence[Row]) -> str:
    """One line a row; each figure with the ends of its interval and its floor, raw values."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = [c[0] for c in COLUMNS]
    head = [f"{k}{suffix}" for k in keys for suffix in ("", "_low", "_high", "_spread", "_floor")]
    writer.writerow(["name", "features", "runs", "images", "classifier_accuracy", *head])
    for row in rows:
        values: list[Any] = []
        for key in keys:
            estimate, floor = row.figures.get(key), row.floor.get(key)
            values += [*(astuple(estimate) if estimate else (None,) * 4)]
            values.append(floor.value if floor else None)
        writer.writerow([row.name, row.features, row.runs, row.images, row.accuracy, *values])
    return out.getvalue()


def write_report(runs: Sequence[Path], out: Path, *, overwrite: bool = False) -> tuple[list[Row], list[Path]]:
    """The report of measured runs: `out` (.html) and beside it .md and .csv; gives the rows and the files.

    Raises ArgumentError for no run, for one that `aliasfree evaluate` has not measured, and for an `out` that is no
    .html or, without `overwrite`, exists.
    """
    if not runs:
        raise ArgumentError("a report needs at least one run")
    if out.suffix.lower() != ".html":
        raise ArgumentError(f"The report is HTML, so --out must end in .html, not {out.name!r}.")
    if out.exists() and not overwrite:
        raise ArgumentError(f"{out} exists; give another --out, or --overwrite.")
    metrics = [read_metrics(run) for run in runs]
    rows = summarise(metrics)
    files = [out.with_suffix(".md"), out.with_suffix(".csv"), out]
    contents = (markdown(rows) + "\n", csv_text(rows), compose(runs, metrics, rows))
    for path, content in zip(files, contents, strict=True):
        write_file(path, content)
    return rows, files


def compose(runs: Sequence[Path], metrics: Sequence[dict[str, Any]], rows: Sequence[Row]) -> str:
    """The page as text."""
    tables = _tables(rows)
    best = min((r for r in rows if "fid" in r.figures), key=lambda r: r.figures["fid"].value, default=None)
    headline = f"{len(metrics)} runs compared" if len(metrics) > 1 else "One run measured"
    if best is not None and len({row.features for row in rows}) == 1 and len(rows) > 1:
        headline += f": lowest FID {best.figures['fid'].text()} for {best.name}"
    sections = [
        report.section(
            "Figures",
            report.text(
                "± is half of the 95 % interval: over images for a single run, over runs where several differ in their "
                "seed alone. “real” is the same figure of as many real test images, the best a generator can expect. "
                "EQ is the network's own, over all noise levels, in decibel: 20 more is a tenth of the error."
            ),
            *tables,
        )
    ]
    if any(facts.get("equivariance") for facts in metrics):
        sections.append(
            report.section(
                "Equivariance, noise level by noise level",
                report.text(
                    "Upright data have no rotation-equivariant denoiser at high noise; low noise is where the "
                    "network's own behaviour shows."
                ),
                report.figure(
                    report.plot(equivariance_figure(_named(metrics)), "EQ over noise level"),
                    "EQ-T (whole pixels), EQ-T_frac (fractions) and EQ-R (rotations), with 95 % bands over images.",
                ),
            )
        )
    grids = [(name, metrics_file(run).with_suffix(".png")) for name, run in zip(_names(metrics), runs, strict=True)]
    blocks = [
        report.figure(report.picture(path.read_bytes(), f"the first images of {name}"), name)
        for name, path in grids
        if path.is_file()
    ]
    if blocks:
        sections.append(report.section("The first images", report.row(*blocks)))
    spectra = spectra_picture(metrics)
    if spectra is not None:
        sections.append(report.section("Spectra", report.figure(report.plot(spectra, "radial spectra"), _SPECTRA)))
    losses = [(str(run), *_losses(run)) for run in runs]
    known = [(name, steps, values) for name, steps, values in losses if len(values)]
    if known:
        picture = report.plot(learning_curves(known), "loss over training step")
        sections.append(report.section("Training", report.figure(picture, "Means over 101 steps.")))
    return report.page(
        "aliasfree report", headline, "Measured by `aliasfree evaluate`; read differences beside their intervals.",
        *sections, footer="Written by aliasfree; nothing on this page is loaded from elsewhere.",
    )  # fmt: skip


_SPECTRA = "Generated images have the real ones' texture where the curves agree."


def equivariance_figure(named: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    """A picture of EQ over noise level: (name, what `network_equivariance` gave) each."""
    content = []
    for key, title in EQUIVARIANCE:
        curves = []
        for name, found in named:
            levels = [level for level in found["levels"] if level.get(key)]
            if levels:
                values = [[_number(v[key][end]) for v in levels] for end in ("value", "low", "high")]
                curves.append(Curve(name, [v["t"] for v in levels], *values))
        if curves:
            content.append(Panel(title, "noise level t, time steps", "dB", curves))
    return panels(content, columns=3)


def spectra_picture(metrics: Sequence[dict[str, Any]]) -> Any:
    """Radial spectra of the generated images and of the real ones of the first data set; None without any."""
    known = [facts for facts in metrics if facts.get("spectra")]
    if not known:
        return None
    first = known[0]["spectra"]
    curves = [Curve("real", first["frequency"], first["real"])]
    curves += [
        Curve(name, f["spectra"]["frequency"], f["spectra"]["generated"])
        for f, name in zip(known, _names(known), strict=True)
    ]
    return radial_spectra(curves)


def measure_samples(
    runs: Sequence[tuple[RunFolder, NDArray[np.uint8], float]],
    real: RealImages,
    extractor: Extractor,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """What `evaluate` writes of a run, measured on samples in memory by one extractor.

    runs       (run, samples uint8 (N, H, W, C), images drawn a second) each, N larger than the number of features
    progress   called with (runs done, runs in all)
    """
    import torch

    from aliasfree.data import unit_range
    from aliasfree.evaluation.features import extract
    from aliasfree.evaluation.spectra import radial_power_spectrum
    from aliasfree.experiments.equivariance import network_equivariance
    from aliasfree.experiments.evaluate import compare_sets

    metrics: list[dict[str, Any]] = []
    reference = extract(extractor, real.train)
    about = {"accuracy": extractor.accuracy} if hasattr(extractor, "accuracy") else {}
    _, wanted = radial_power_spectrum(unit_range(real.train[:2000]))
    for run, pixels, speed in runs:
        images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
        sets = {
            kind: {k: v and asdict(v) for k, v in compare_sets(extract(extractor, x), reference).items()}
            for kind, x in (("generated", images), ("floor", real.test[: len(images)]))
        }
        model, settings = run.load_model(), run.settings
        periodic = settings.padding_mode == "circular"
        found = network_equivariance(model, real.test, settings.num_train_timesteps, periodic=periodic, repeats=1)
        frequency, generated = radial_power_spectrum(unit_range(images))
        metrics.append(
            {
                "source": str(run.path), "config": settings.config, "num": len(images), "protocol": "default",
                "fingerprint": real.fingerprint, "image_size": list(images.shape[2:]), "images_per_second": speed,
                "parameters": sum(p.numel() for p in model.parameters()), "equivariance": found,
                "fidelity": {extractor.name: {**about, **sets}},
                "spectra": {"frequency": frequency.tolist(), "generated": generated.tolist(), "real": wanted.tolist()},
            }
        )  # fmt: skip
        if progress is not None:
            progress(len(metrics), len(runs))
    return metrics


def measured_section(metrics: Sequence[dict[str, Any]], title: str = "Measured") -> Html:
    """A section for other reports: the table of `metrics`, equivariance by noise level, spectra."""
    rows = summarise(metrics)
    return report.section(
        title,
        report.text(
            f"By the features of {_features(rows[0])}. ± is half of the 95 % interval; “real” is the figure of as many "
            "real images that the reference does not hold. EQ is the network's own, in decibel."
        ),
        *_tables(rows),
        report.figure(report.plot(equivariance_figure(_named(metrics)), "EQ over noise level"), "EQ by noise level."),
        report.figure(report.plot(spectra_picture(metrics), "radial spectra"), _SPECTRA),
    )


def _tables(rows: Sequence[Row]) -> list[Html]:
    """All figures, in two tables so that each fits a page."""
    tables: list[Html] = []
    for columns in (COLUMNS[:5], COLUMNS[5:]):
        shown = [c for c in columns if any(c[0] in row.figures for row in rows)]
        body = [
            [_name(row), _features(row), f"{row.images:,}", *(_unbroken(row, *column) for column in shown)]
            for row in rows
        ]
        tables += [report.table(["", "features", "images", *(c[1] for c in shown)], body)] if shown else []
    return tables


def _row(name: str, members: list[tuple[dict[str, Any], dict[str, Any]]]) -> Row:
    facts, first = members[0]
    figures: dict[str, Estimate] = {}
    for key, *_ in COLUMNS:
        found = [value for f, fidelity in members if (value := _figure(key, f, fidelity)) is not None]
        if found:
            figures[key] = found[0] if len(members) == 1 else over_runs([v.value for v in found])
    floor = {k: Estimate(**v) for k, v in first["floor"].items() if v}
    return Row(name, next(k for k, v in facts["fidelity"].items() if v is first), len(members), facts["num"],
               first.get("accuracy"), figures, floor)  # fmt: skip


def _figure(key: str, facts: dict[str, Any], fidelity: dict[str, Any]) -> Estimate | None:
    if key in ("images_per_second", "parameters"):
        value = facts.get(key)
        return None if value is None else Estimate(float(value))
    if key.startswith("eq_"):
        found = (facts.get("equivariance") or {}).get("overall", {}).get(key)
    else:
        found = fidelity["generated"].get(key)
    return None if not found or found["value"] is None else Estimate(**found)


def _cell(row: Row, key: str, title: str, factor: float, digits: int) -> str:  # noqa: ARG001
    estimate, floor = row.figures.get(key), row.floor.get(key)
    if estimate is None:
        return "–"
    half, spread = estimate.half_width, estimate.spread
    words = f"{estimate.value * factor:,.{digits}f}"
    if half is not None:
        words += f" ± {half * factor:,.{digits}f}"
    elif spread is not None:
        words += f", spread {spread * factor:,.{digits}f}"
    return words if floor is None else f"{words} (real {floor.value * factor:.{digits}f})"


def _unbroken(row: Row, *column: Any) -> str:
    """The cell with a line break nowhere but before what is in brackets."""
    return _cell(row, *column).replace(" ± ", "\u00a0±\u00a0").replace("(real ", "(real\u00a0")


def _name(row: Row) -> str:
    return row.name if row.runs == 1 else f"{row.name}, {row.runs} runs"


def _features(row: Row) -> str:
    return row.features if row.accuracy is None else f"{row.features} ({100 * row.accuracy:.1f} % right)"


def _choices(facts: dict[str, Any]) -> dict[str, Any]:
    """What was chosen in training, sampling and measuring, by the name a reader knows it by."""
    known = {"training seed": "training_seed", "steps trained": "steps", "protocol": "protocol"}
    chosen = {name: facts[key] for name, key in known.items() if key in facts}
    for part in ("training", "sampling"):
        chosen |= {"trained on" if k == "data" else k.replace("_", " "): v for k, v in facts.get(part, {}).items()}
    return chosen


def _names(metrics: Sequence[dict[str, Any]], ignore: Sequence[str] = ()) -> list[str]:
    """The config, and what else was chosen where that is needed to tell one from another: "A, augment rotate"."""
    names = [f.get("config") or Path(f["source"]).name for f in metrics]
    choices = [{k: v for k, v in _choices(f).items() if k not in ignore} for f in metrics]
    told = []
    for name, mine in zip(names, choices, strict=True):
        kin = [other for n, other in zip(names, choices, strict=True) if n == name]
        differing = [k for k in mine if any(other.get(k, mine[k]) != mine[k] for other in kin)]
        told.append(", ".join([name, *(f"{k} {mine[k]}" for k in differing)]))
    same = {name for name in told if len({f["source"] for f, t in zip(metrics, told, strict=True) if t == name}) > 1}
    return [f"{t}, {f['source']}" if t in same else t for t, f in zip(told, metrics, strict=True)]


def _named(metrics: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    known = [f for f in metrics if f.get("equivariance")]
    return [(name, f["equivariance"]) for name, f in zip(_names(known), known, strict=True)]


def _losses(run: Path) -> tuple[Any, Any]:
    from aliasfree.training import RunFolder

    return RunFolder(run).losses() if run.is_dir() else (np.empty(0), np.empty(0))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
