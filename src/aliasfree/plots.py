"""Plots as Pillow images: curves with error bars in panels, radial spectra, learning curves.

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

__all__ = ["Curve", "Panel", "learning_curves", "panels", "radial_spectra"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":")
MOST_BANDS = 8
"""Panels with more curves show no bands, which would hide one another."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Curve:
    """y over x of one length; low and high are the ends of its error bars, None = no bars. NaN leaves a gap."""

    name: str
    x: Sequence[float] | NDArray[Any]
    y: Sequence[float] | NDArray[Any]
    low: Sequence[float] | NDArray[Any] | None = None
    high: Sequence[float] | NDArray[Any] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over common axes. Curves of one name look the same in all panels of a picture."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve] = field(default_factory=tuple)
    log: bool = False  # logarithmic y
    markers: bool = True


def panels(content: Sequence[Panel], columns: int = 2, dpi: int = 110) -> Image.Image:
    """Panels side by side with one legend below. Raises ArgumentError without a finite value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.name for panel in content for curve in panel.curves))
    if not any(np.isfinite(np.asarray(c.y, np.float64)).any() for panel in content for c in panel.curves):
        raise ArgumentError("a plot needs at least one finite value")
    rows = math.ceil(len(content) / columns)
    columns = min(columns, len(content))
    legend_rows = math.ceil(len(names) / columns)
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
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return image.convert("RGB")


def radial_spectra(spectra: Sequence[Curve]) -> Image.Image:
    """Power spectra (`radial_power_spectrum`) of several sets of images, the constant left out, on one panel."""
    curves = [Curve(c.name, np.asarray(c.x)[1:], np.asarray(c.y)[1:]) for c in spectra]
    panel = Panel(
        "Radial power spectra", "frequency, fraction of Nyquist", "power per pixel", curves, log=True, markers=False
    )
    return panels([panel], columns=1)


def learning_curves(losses: Sequence[tuple[str, NDArray[Any], NDArray[Any]]], smooth: int = 101) -> Image.Image:
    """Losses over training steps, (name, steps (N,), losses (N,)) each, as means over `smooth` steps."""
    curves = []
    for name, steps, values in losses:
        window = max(1, min(smooth, len(values)))
        mean = np.convolve(values, np.ones(window) / window, mode="valid")
        curves.append(Curve(name, np.asarray(steps)[window // 2 : window // 2 + len(mean)], mean))
    panel = Panel(
        "Learning curves", "training step", "loss: squared error of the noise", curves, log=True, markers=False
    )
    return panels([panel], columns=1)


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
    style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[(k // 2 + k // len(COLOURS)) % len(DASHES)]}
    (line,) = cell.plot(x, y, marker=marker, markersize=4, linewidth=1.6, **style)
    if curve.low is not None and curve.high is not None and len(panel.curves) <= MOST_BANDS:
        low, high = (np.asarray(v, np.float64) for v in (curve.low, curve.high))
        cell.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return line
