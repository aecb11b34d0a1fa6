"""The filters of configs, drawn and tabulated: kernel, magnitude response, gains of the four phases."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.config import Config
from aliasfree.errors import ArgumentError, ConfigError
from aliasfree.files import write_file
from aliasfree.filters import FilterSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["FilterRow", "draw_filters", "filter_picture", "filter_table"]

FLOOR_DB = -80.0
INK, WARN = "#0b5fa5", "#c2410c"  # told apart in all common kinds of colour blindness


@dataclass(frozen=True)
class FilterRow:
    """The figures of one config's filter. Gains are factors, frequencies fractions of Nyquist."""

    name: str
    kind: str  # "jinc 3x3, Kaiser beta 2, sum 1"
    dc_gain: float
    nyquist_gain: float
    stopband_attenuation_db: float  # positive dB below the DC gain; inf for "ideal"
    phase_gains: tuple[
        float, float, float, float
    ]  # after zero insertion, at (even, even) (even, odd) (odd, even) (odd, odd)


def filter_table(names: Sequence[str]) -> list[FilterRow]:
    """One row a config. Raises ConfigError for an unknown name and for A, which has no filter."""
    rows = []
    for name in names:
        spec = _spec(name)
        a, b, c, d = spec.phase_gains().ravel().tolist()
        rows.append(
            FilterRow(
                name,
                _described(spec),
                spec.dc_gain,
                spec.nyquist_gain,
                -spec.stopband_attenuation_db,
                (a, b, c, d),
            )
        )
    return rows


def draw_filters(names: Sequence[str], path: str | Path) -> None:
    """`filter_picture` as a file, written in one go."""
    write_file(path, filter_picture(names))


def filter_picture(names: Sequence[str]) -> bytes:
    """The filters of configs ("D-2N", "D-hq") drawn, one row each: a PNG.

    Raises ConfigError for an unknown name and for A, ArgumentError for no name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not names:
        raise ArgumentError("name at least one config with a filter, such as D-2N")
    specs = [_spec(name) for name in names]
    figure = Figure(figsize=(17, 3.7 * len(names) + 0.2), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    cells: Any = figure.subplots(len(names), 5, squeeze=False, width_ratios=(1, 1.15, 1.15, 1, 0.9))
    top = max(1.0, *(float(s.response()[1].max()) for s in specs))
    for name, spec, (kernel, linear, decibel, plane, phases) in zip(names, specs, cells, strict=True):
        _draw_kernel(kernel, spec)
        kernel.set_ylabel(f"{name}\n{_described(spec)}", fontsize=10, fontweight="bold", labelpad=10)
        _draw_response(linear, spec, top)
        _draw_decibel(decibel, spec)
        figure.colorbar(_draw_plane(plane, spec), ax=plane, label="dB", shrink=0.85)
        _draw_phases(phases, spec)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _spec(name: str) -> FilterSpec:
    spec = Config.parse(name).up
    if spec is None:
        raise ConfigError(f"config {name} filters nothing: name one with a filter, such as D-2N or D-hq")
    return spec


def _described(spec: FilterSpec) -> str:
    if spec.kind == "ideal":
        return "brick wall, periodic"
    total = ", sum 1" if spec.normalize else ", not normalised"
    window = "no window" if spec.window.startswith("kaiser") else f"{spec.window} window"
    beta = window if spec.kaiser_beta is None else f"Kaiser beta {spec.kaiser_beta:g}"
    return f"{spec.kind} {spec.taps}x{spec.taps}, {beta}{total}"


def _response_2d(spec: FilterSpec, n: int = 201) -> NDArray[np.float64]:
    """Magnitude (n, n) over frequencies -1 .. 1 of Nyquist along both axes."""
    frequency = np.linspace(-1, 1, n)
    if spec.kind == "ideal":
        line = (np.abs(frequency) <= spec.cutoff).astype(np.float64)
        return np.outer(line, line)
    position = np.arange(spec.taps) - (spec.taps - 1) / 2
    wave = np.exp(-1j * np.pi * np.outer(frequency, position))
    magnitude: NDArray[np.float64] = np.abs(wave @ spec.kernel() @ wave.T)
    return magnitude


def _db(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    return 20 * np.log10(np.maximum(magnitude, 10 ** ((FLOOR_DB - 20) / 20)))


def _draw_kernel(axes: Axes, spec: FilterSpec) -> None:
    axes.set_title("kernel", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if spec.kind == "ideal":
        words = "no taps:\ndefined in the\nFourier domain"
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
        axes.set_box_aspect(1)
        return
    k = spec.kernel()
    size = float(np.abs(k).max())
    axes.imshow(k, cmap="PuOr_r", vmin=-size, vmax=size, interpolation="nearest")
    if spec.taps <= 5:
        for (row, column), value in np.ndenumerate(k):
            colour = "white" if abs(value) > 0.6 * size else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=10)
    axes.set_xlabel(f"{spec.taps} x {spec.taps} taps, sum {k.sum():.3f}, largest {k.max():.3f}", fontsize=9)


def _frequency_axis(axes: Axes, spec: FilterSpec) -> None:
    axes.axvline(spec.cutoff, color=WARN, linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("frequency (fraction of Nyquist)", fontsize=9)
    axes.grid(alpha=0.3)


def _draw_response(axes: Axes, spec: FilterSpec, top: float) -> None:
    axes.plot(*spec.response(1025), color=INK, linewidth=1.8)
    _frequency_axis(axes, spec)
    axes.set_title("magnitude along one axis", fontsize=10)
    axes.set_ylabel("gain", fontsize=9)
    axes.set_ylim(0, top * 1.14)
    axes.text(spec.cutoff, top * 1.08, f" cutoff {spec.cutoff:g}", color=WARN, fontsize=9, va="center")
    for at, gain in ((0.0, spec.dc_gain), (1.0, spec.nyquist_gain)):
        axes.plot([at], [gain], "o", color=INK, markersize=5, clip_on=False)
    axes.annotate(f"DC {spec.dc_gain:.3f}", (0, spec.dc_gain), (8, 7), textcoords="offset points", fontsize=9)
    axes.annotate(
        f"Nyquist {spec.nyquist_gain:.3f}",
        (1, spec.nyquist_gain),
        (-6, -15 if spec.nyquist_gain > 0.15 * top else 14),
        textcoords="offset points",
        fontsize=9,
        ha="right",
    )


def _draw_decibel(axes: Axes, spec: FilterSpec) -> None:
    frequency, magnitude = spec.response(1025)
    axes.plot(frequency, _db(magnitude), color=INK, linewidth=1.8)
    _frequency_axis(axes, spec)
    axes.set_title("the same in dB", fontsize=10)
    axes.set_ylabel("gain (dB)", fontsize=9)
    axes.set_ylim(FLOOR_DB, 6)
    edge, level = (1 + spec.cutoff) / 2, spec.stopband_attenuation_db
    axes.axvspan(edge, 1, color=INK, alpha=0.08, linewidth=0)
    words = "nothing\npasses" if np.isinf(level) else f"at most\n{level:.1f} dB"
    low = np.isinf(level) or level < -20
    axes.text((1 + edge) / 2, -6 if low else -70, words, ha="center", va="top" if low else "bottom", fontsize=9)


def _draw_plane(axes: Axes, spec: FilterSpec) -> Any:
    picture = axes.imshow(
        _db(_response_2d(spec)), extent=(-1, 1, -1, 1), cmap="cividis", vmin=-60, vmax=0, origin="lower"
    )
    axes.set_title("response in the plane", fontsize=10)
    axes.set_xlabel("horizontal frequency", fontsize=9)
    axes.set_ylabel("vertical frequency", fontsize=9)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    return picture


def _draw_phases(axes: Axes, spec: FilterSpec) -> None:
    gains = spec.phase_gains()
    axes.imshow(gains, cmap="Blues", vmin=0, vmax=1.3)
    for (row, column), value in np.ndenumerate(gains):
        colour = "white" if value > 0.8 else "black"
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=13, color=colour)
    even = np.allclose(gains, gains[0, 0], atol=1e-6)
    axes.set_title("a constant 1, upsampled 2x", fontsize=10)
    axes.set_xticks([0, 1], ["even", "odd"])
    axes.set_yticks([0, 1], ["even", "odd"])
    verdict = "stays constant" if even else "becomes a checkerboard"
    axes.set_xlabel(f"{verdict}\nmean {gains.mean():.3f}", fontsize=9, color="black" if even else WARN)
