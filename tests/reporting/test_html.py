from __future__ import annotations

import re
from html.parser import HTMLParser

from PIL import Image

from aliasfree.reporting import html
from aliasfree.reporting.html import Html


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
    chart = html.chart(Image.new("RGB", (300, 200)), "loss over step")
    image = Image.new("L", (9, 3))
    return html.page(
        "title",
        "headline",
        "lead",
        html.section(
            "pictures",
            html.row(html.figure(html.picture(image, "grey"), "a caption"), html.figure(chart, "another")),
            html.angle_table(["-90°", "0°", "90°"], [[("A", image, "row")], [("D", image, "row")]]),
        ),
        html.section("numbers", html.table(["", "A"], [("weights", "5")], "caption")),
        footer="footer",
    )


def test_text_is_escaped_everywhere_and_markup_is_not() -> None:
    evil = "<b onclick='x()'>&\""
    image = Image.new("L", (1, 1))
    blocks = [
        html.text(evil),
        html.figure(html.picture(image, evil), evil),
        html.table([evil], [[evil], [evil]], evil),
        html.angle_table([evil], [[(evil, image, evil)]]),
        html.section(evil),
        html.chart(image, evil),
    ]
    page = html.page(evil, evil, evil, *blocks, footer=evil)
    assert "<b onclick" not in page
    assert page.count("&lt;b onclick") >= 15
    assert html.text("a < b ", Html("<em>c</em>")) == "<p>a &lt; b <em>c</em></p>"


def test_the_page_needs_nothing_from_elsewhere_and_its_tags_are_balanced() -> None:
    page = sample_page()
    assert not re.search(r"<script|@import|url\(|https?://|<iframe|<svg", page)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "prefers-color-scheme:dark" in page
    balance = Balance()
    balance.feed(page)
    assert not balance.open


def test_every_image_has_words_for_those_who_do_not_see_it() -> None:
    page = sample_page()
    assert len(re.findall(r"<img ", page)) == len(re.findall(r'<img [^>]*alt="[^"]+"', page)) == 4


def test_a_chart_is_shown_at_half_its_size_and_smooth() -> None:
    chart = html.chart(Image.new("RGB", (301, 200)), "loss")
    assert 'class="chart"' in chart
    assert 'style="width:150px"' in chart
