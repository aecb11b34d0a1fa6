"""Charts as Pillow images: curves with error bars in panels, spectra, learning curves.

Colours are those of Okabe and Ito, told apart in all common kinds of colour blindness; curves differ in dash and marker
as well. Matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aliasfree.errors import ArgumentError
from aliasfree.image_files import open_image

__all__ = ["Curve", "Panel", "aliasing_spectra", "learning_curves", "moving_mean", "panels", "radial_spectra"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":")
MOST_BANDS = 8
"""Panels with more curves show no bands, which would hide one another."""
DPI = 180
"""Dots an inch; pages show the pictures at half their size."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Curve:
    """y over x of one length; low and high are the ends of its error bars, None = no bars. NaN leaves a gap.

    raw  y before it was smoothed, over the same x, drawn thin and pale below; None = nothing
    """

    name: str
    x: Sequence[float] | NDArray[Any]
    y: Sequence[float] | NDArray[Any]
    low: Sequence[float] | NDArray[Any] | None = None
    high: Sequence[float] | NDArray[Any] | None = None
    raw: Sequence[float] | NDArray[Any] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over common axes. Curves of one name look the same in all panels of a picture."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve] = field(default_factory=tuple)
    log: bool = False  # logarithmic y
    markers: bool = True


def panels(content: Sequence[Panel], columns: int = 2, dpi: int = DPI) -> Image.Image:
    """Panels side by side with one legend below. Raises ArgumentError without a finite value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.name for panel in content for curve in panel.curves))
    if not any(np.isfinite(np.asarray(c.y, np.float64)).any() for panel in content for c in panel.curves):
        raise ArgumentError("a plot needs at least one finite value")
    rows = math.ceil(len(content) / columns)
    columns = min(columns, len(content))
    legend_columns = max(2, columns)
    legend_rows = math.ceil(len(names) / legend_columns)
    width = 5.4 if columns < 3 else 3.9
    figure = Figure(figsize=(width * columns, 3.7 * rows + 0.24 * legend_rows), dpi=dpi, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    handles: dict[str, Any] = {}
    for cell, panel in zip(axes.flat, content, strict=False):
        for curve in panel.curves:
            handles.setdefault(curve.name, _draw(cell, curve, names.index(curve.name), panel))
        cell.set_title(panel.title, fontsize=11, loc="left")
        cell.set_xlabel(panel.x_label)
        cell.set_ylabel(panel.y_label)
        if panel.log:
            cell.set_yscale("log")
            _label_decades(cell.yaxis)
        cell.grid(color="#dddddd", linewidth=0.6)
        cell.spines[["top", "right"]].set_visible(False)
    for cell in axes.flat[len(content) :]:
        cell.remove()
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=9
    )
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    buffer.seek(0)
    with open_image(buffer) as image:
        return image.convert("RGB")


def radial_spectra(spectra: Sequence[Curve]) -> Image.Image:
    """Power spectra (`radial_power_spectrum`) of several sets of images, the constant left out, on one panel."""
    curves = [Curve(c.name, np.asarray(c.x)[1:], np.asarray(c.y)[1:]) for c in spectra]
    panel = Panel(
        "Radial power spectra", "frequency, fraction of Nyquist", "power per pixel", curves, log=True, markers=False
    )
    return panels([panel], columns=1)


def learning_curves(losses: Sequence[tuple[str, NDArray[Any], NDArray[Any]]], smooth: int = 101) -> Image.Image:
    """Losses over training steps, (name, steps (N,), losses (N,)) each: all pale, means over `smooth` on top."""
    curves = [Curve(name, steps, moving_mean(values, smooth), raw=values) for name, steps, values in losses]
    panel = Panel(
        "Learning curves", "training step", "loss: squared error of the noise", curves, log=True, markers=False
    )
    return panels([panel], columns=1)


def aliasing_spectra(
    frequency: Sequence[float], signal: Sequence[float], aliases: Sequence[float], title: str
) -> Image.Image:
    """Radial means of the power of a signal and of the aliases in it, over frequency as a fraction of Nyquist."""
    # what is far below the signal is no information but stretches the axis
    floor = max(float(np.max(signal)) * 1e-9, 1e-30)
    curves = [Curve(n, frequency, np.maximum(y, floor)) for n, y in (("signal", signal), ("aliases", aliases))]
    return panels([Panel(title, "frequency, fraction of Nyquist", "power", curves, log=True, markers=False)], columns=1)


def moving_mean(y: NDArray[Any], window: int) -> NDArray[np.float64]:
    """Centred mean over `window` points, over fewer at both ends."""
    half = max(0, (min(window, len(y)) - 1) // 2)
    total = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(y))
    mean: NDArray[np.float64] = (total[high] - total[low]) / (high - low)
    return mean


def _label_decades(axis: Any) -> None:
    """Labels of a logarithmic axis as 0.02, not 2e-02; between decades where there are few."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain(labelOnlyBase=False))
    axis.set_minor_formatter(Plain(labelOnlyBase=False, minor_thresholds=(2, 0.6)))


def _draw(cell: Any, curve: Curve, k: int, panel: Panel) -> Any:
    x, y = np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64)
    marker = MARKERS[(k + k // len(COLOURS)) % len(MARKERS)] if panel.markers else ""
    style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[(k + k // len(COLOURS)) % len(DASHES)]}
    if curve.raw is not None:
        cell.plot(x, np.asarray(curve.raw, np.float64), color=style["color"], linewidth=0.6, alpha=0.3, zorder=1)
    (line,) = cell.plot(x, y, marker=marker, markersize=4, linewidth=1.6, **style)
    if curve.low is not None and curve.high is not None and len(panel.curves) <= MOST_BANDS:
        low, high = (np.asarray(v, np.float64) for v in (curve.low, curve.high))
        cell.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return line
