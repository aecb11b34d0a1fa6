"""Charts: what is drawn, told apart, and labelled."""

from __future__ import annotations

import numpy as np
import pytest

from aliasfree.errors import ArgumentError
from aliasfree.reporting.charts import (
    COLOURS,
    DASHES,
    MARKERS,
    Curve,
    Panel,
    aliasing_spectra,
    learning_curves,
    moving_mean,
    panels,
)


def drawn(monkeypatch) -> list:
    """Collects the figures that are drawn from now on."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    legend = Figure.legend
    monkeypatch.setattr(Figure, "legend", lambda f, *a, **k: (figures.append(f), legend(f, *a, **k))[1])
    return figures


def test_a_plot_shows_every_curve_and_needs_a_value():
    curves = [Curve(f"c{k}", [0, 1], [k, k + 1], [k - 0.1, k], [k + 0.1, k + 2]) for k in range(9)]
    picture = np.asarray(panels([Panel("t", "x", "y", curves), Panel("t", "x", "y", curves[:1])]))
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    for wanted in ((0, 114, 178), (213, 94, 0), (0, 158, 115)):
        assert wanted in colours
    # many curves look all different
    looks = [(MARKERS[(k + k // 8) % 8], COLOURS[k % 8], DASHES[(k + k // 8) % 4]) for k in range(32)]
    assert len(set(looks)) == 32
    assert len({look[1:] for look in looks}) == 32  # without markers, too
    assert len({look[2] for look in looks[:4]}) == 4  # and the first four without colours
    with pytest.raises(ArgumentError, match="finite value"):
        panels([Panel("t", "x", "y", [Curve("a", [0], [float("nan")])])])


def test_decades_are_labelled_as_plain_numbers(monkeypatch):
    figures = drawn(monkeypatch)
    panels([Panel("t", "x", "y", [Curve("a", [0, 1, 2], [0.006, 0.02, 0.2])], log=True)])
    axis = figures[0].axes[0].yaxis
    figures[0].draw_without_rendering()
    shown = {label.get_text() for minor in (False, True) for label in axis.get_ticklabels(minor=minor)}
    assert {"0.01", "0.1"} <= shown
    assert not any("e" in text for text in shown)


def test_a_smooth_curve_is_the_moving_mean():
    y = np.array([1.0, 3.0, 2.0, 6.0, 4.0])
    np.testing.assert_allclose(moving_mean(y, 3), [2, 2, 11 / 3, 4, 5])
    np.testing.assert_allclose(moving_mean(y, 1), y)
    np.testing.assert_allclose(moving_mean(y, 99)[2], y.mean())


def test_learning_curves_show_every_step_pale_below_the_mean(monkeypatch):
    figures = drawn(monkeypatch)
    steps, noise = np.arange(1, 301), np.random.default_rng(0).uniform(0.1, 1, 300)
    learning_curves(
        [("A", steps, noise), ("B", steps[:5], np.array([0.5, 0.7, 0.6, 0.9, 0.8])), ("C", steps, noise / 2)], smooth=51
    )
    lines = figures[0].axes[0].get_lines()
    assert [line.get_alpha() for line in lines] == [0.3, None] * 3
    assert len({line.get_color() for line in lines}) == 3  # a third curve has a colour of its own
    for pale, mean in zip(lines[::2], lines[1::2], strict=True):
        assert pale.get_color() == mean.get_color()
        assert pale.get_zorder() < mean.get_zorder()
        assert np.ptp(pale.get_ydata()) >= np.ptp(mean.get_ydata())
    np.testing.assert_array_equal(lines[0].get_ydata(), noise)


def test_spectra_leave_out_what_is_far_below_the_signal(monkeypatch):
    figures = drawn(monkeypatch)
    aliasing_spectra([0.0, 0.5, 1.0], [2.0, 1.0, 0.0], [0.0, 1e-30, 0.1], "inc.act")
    signal, aliases = (line.get_ydata() for line in figures[0].axes[0].get_lines())
    np.testing.assert_allclose(signal, [2.0, 1.0, 2e-9])
    np.testing.assert_allclose(aliases, [2e-9, 2e-9, 0.1])
