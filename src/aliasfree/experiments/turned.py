"""A run's turned samples, measured: JSON, a picture of the curves, and a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.errors import ArgumentError
from aliasfree.experiments import report
from aliasfree.experiments.drawing import Drawer, Processes
from aliasfree.experiments.equivariance import PAPER, RotationCurve, Way, rotation_curves
from aliasfree.experiments.extractors import classifier_for
from aliasfree.experiments.real import open_real
from aliasfree.files import write_file, write_json
from aliasfree.pictures import angle_label, save_png, strip
from aliasfree.plots import Curve, Panel, panels

if TYPE_CHECKING:
    from PIL import Image

    from aliasfree.evaluation import Estimate
    from aliasfree.experiments.generate import SampleSettings

__all__ = ["evaluate_turned", "rotation_figure", "samples_figure", "table_head", "table_rows", "table_text"]

Progress = Callable[[int, int], None]
COLUMNS = 12
"""Images side by side in the picture of samples."""


def evaluate_turned(
    source: Path,
    data: str,
    ways: Sequence[Way],
    angles: Sequence[float],
    num: int,
    sampling: SampleSettings,
    *,
    out: Path | None = None,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> tuple[list[RotationCurve], Path] | None:
    """`rotation_curves` of a run; writes `out` (None = RUN/rotation.html), and .json and .png of the same name.

    The paper's way is always among the `ways`. Parts that were drawn before are used again. Under torchrun all
    processes draw, and all but the first give None. Raises ArgumentError, DataError, RunError.
    """
    from aliasfree.evaluation.features import ClassifierFeatures
    from aliasfree.training import RunFolder

    told = progress or (lambda _: lambda _done, _total: None)
    run = RunFolder(source)
    page = out or source / "rotation.html"
    if page.suffix.lower() != ".html":
        raise ArgumentError(f"The page is HTML, so --out must end in .html, not {page.name!r}.")
    ways = [*ways, *(() if PAPER in ways else (PAPER,))]
    processes = Processes()
    config = run.config["model"]
    size = config["sample_size"]
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    real = open_real(data, shape, int(config["in_channels"]), progress=told("reading"))
    drawer = Drawer(run, sampling, source / "evaluation", device, processes)
    if not processes.is_main:
        for motion in [Way().motion(0.0), *(w.motion(a) for w in ways for a in angles if a)]:
            drawer.images(num, motion)
        return None
    judge = ClassifierFeatures(*classifier_for(real, told("learning")))
    curves = rotation_curves(drawer, ways, angles, num, judge, real.train, progress=told("drawing"))
    about = {
        "run": str(source),
        "config": run.settings.config,
        "data": data,
        "images": num,
        "classifier_accuracy": judge.accuracy,
        "sampling": dataclasses.asdict(sampling),
        "curves": [curve.figures() for curve in curves],
    }
    write_json(page.with_suffix(".json"), about)
    figure = rotation_figure(curves)
    save_png(figure, page.with_suffix(".png"))
    write_file(page, _compose(run.settings.config, about, curves, figure))
    return curves, page


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


def _compose(config: str, about: dict[str, Any], curves: Sequence[RotationCurve], figure: Image.Image) -> str:
    best = max(curves[:-2] or curves, key=lambda c: c.kept[_farthest(c)].value)
    k = _farthest(best)
    theta, share = best.degrees[k], 100 * best.kept[k].value
    ratio = best.fd[k].value / best.fd[best.degrees.index(0.0)].value
    return report.page(
        f"turned samples of {config}",
        f"{config} turned by {theta:g}° keeps the class of {share:.0f} % of its samples, at {ratio:.2f} times the "
        f"upright FD: {best.name}",
        f"{about['images']} samples at each angle, the same seeds, judged by a classifier with "
        f"{100 * about['classifier_accuracy']:.1f} % on real test images. “x(0) turned” is the finished upright image, "
        "turned.",
        report.section(
            f"At {theta:g}°",
            report.table(table_head(curves), table_rows(curves)),
        ),
        report.section(
            "Over the angle", report.figure(report.plot(figure, "curves over theta"), "Bands: 95 %. Gaps: exact.")
        ),
        report.section(
            "The first samples",
            report.figure(report.picture(samples_figure(curves), "samples at every angle"), "The same seeds in all."),
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
