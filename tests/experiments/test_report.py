from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from aliasfree.errors import ArgumentError
from aliasfree.experiments import report
from aliasfree.experiments.report import Html, Line


class Balance(HTMLParser):
    """Fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "link", "img", "hr", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def sample_page() -> str:
    chart = report.line_chart([Line("A", [1, 2, 3], [1.0, 0.5, 0.1])], "step", "loss")
    image = Image.new("L", (9, 3))
    return report.page(
        "title",
        "headline",
        "lead",
        report.section(
            "pictures",
            report.row(report.figure(report.picture(image, "grey"), "a caption"), report.figure(chart, "another")),
            report.angle_table(["-90°", "0°", "90°"], [[("A", image, "row")], [("D", image, "row")]]),
        ),
        report.section("numbers", report.table(["", "A"], [("weights", "5")], "caption")),
        footer="footer",
    )


def test_text_is_escaped_everywhere_and_markup_is_not() -> None:
    evil = "<b onclick='x()'>&\""
    image = Image.new("L", (1, 1))
    blocks = [
        report.text(evil),
        report.figure(report.picture(image, evil), evil),
        report.table([evil], [[evil], [evil]], evil),
        report.angle_table([evil], [[(evil, image, evil)]]),
        report.section(evil),
        report.line_chart([Line(evil, [0, 1], [1, 2])], evil, evil, title=evil),
    ]
    html = report.page(evil, evil, evil, *blocks, footer=evil)
    assert "<b onclick" not in html
    assert html.count("&lt;b onclick") >= 15
    assert report.text("a < b ", Html("<em>c</em>")) == "<p>a &lt; b <em>c</em></p>"


def test_the_page_needs_nothing_from_elsewhere_and_its_tags_are_balanced() -> None:
    html = sample_page()
    assert not re.search(r"<script|@import|url\(|https?://|<iframe", html)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert "prefers-color-scheme:dark" in html
    balance = Balance()
    balance.feed(html)
    assert not balance.open


def test_every_image_has_words_for_those_who_do_not_see_it() -> None:
    html = sample_page()
    assert len(re.findall(r"<img ", html)) == len(re.findall(r'<img [^>]*alt="[^"]+"', html)) == 3
    assert re.search(r'<svg [^>]*role="img" aria-label="loss over step"', html)


def paths(chart: str, kind: str) -> list[np.ndarray]:
    """Points (N, 2) of all curves of a class."""
    root = ElementTree.fromstring(chart)
    found = [p.get("d", "") for p in root.iter("path") if (p.get("class") or "").split()[0] == kind]
    return [np.array(re.findall(r"[-\d.]+", d), float).reshape(-1, 2) for d in found if "h" not in d]


def test_curves_fall_on_their_ticks() -> None:
    chart = report.line_chart([Line("A", [0, 50, 100], [1.0, 0.1, 0.01])], "step", "loss")
    (curve,) = paths(chart, "line")
    ticks = {t.text: t for t in ElementTree.fromstring(chart).iter("text") if t.get("class") == "tick"}
    for value, point in zip(("1", "0.1", "0.01"), curve, strict=True):
        assert float(ticks[value].get("y")) - 4 == pytest.approx(point[1], abs=0.15)
    for value, point in zip(("0", "100"), curve[[0, 2]], strict=True):
        assert float(ticks[value].get("x")) == pytest.approx(point[0], abs=0.15)


def test_many_points_are_thinned_without_losing_a_spike() -> None:
    y = np.full(20_000, 0.1)
    y[12_345] = 5.0
    (curve,) = paths(report.line_chart([Line("A", np.arange(20_000), y)], "step", "loss"), "line")
    assert len(curve) <= 1000
    flat, spike = curve[0, 1], curve[:, 1].min()
    assert flat - spike > 200


def test_the_smooth_curve_is_the_moving_mean_drawn_over_the_raw_one() -> None:
    y = np.array([1.0, 3.0, 2.0, 6.0, 4.0])
    np.testing.assert_allclose(report.moving_mean(y, 3), [2, 2, 11 / 3, 4, 5])
    np.testing.assert_allclose(report.moving_mean(y, 1), y)
    np.testing.assert_allclose(report.moving_mean(y, 99)[2], y.mean())
    chart = report.line_chart([Line("A", range(5), y)], "step", "loss", smooth=3)
    (raw,), (smooth,) = paths(chart, "raw"), paths(chart, "line")
    assert np.ptp(raw[:, 1]) > np.ptp(smooth[:, 1]) > 0
    assert chart.index('class="raw') < chart.index('class="line')


@pytest.mark.parametrize("values", [[0.02, 0.025], [1e-4, 3.0], [5.0, 5.0], [0.09, 0.11]])
def test_every_range_gets_a_readable_number_of_ticks(values: list[float]) -> None:
    chart = report.line_chart([Line("A", [0, 7], values)], "step", "loss")
    ticks = [t for t in ElementTree.fromstring(chart).iter("text") if t.get("class") == "tick"]
    vertical = [t for t in ticks if t.get("text-anchor") == "end"]
    assert 1 <= len(vertical) <= 10
    assert 3 <= len(ticks) - len(vertical) <= 9


def test_a_chart_of_nothing_is_refused_and_gaps_are_left_out() -> None:
    with pytest.raises(ArgumentError, match="positive"):
        report.line_chart([Line("A", [0, 1], [float("nan"), -1.0])], "step", "loss")
    (curve,) = paths(report.line_chart([Line("A", [0, 1, 2], [1.0, float("nan"), 2.0])], "step", "loss"), "line")
    assert len(curve) == 2
