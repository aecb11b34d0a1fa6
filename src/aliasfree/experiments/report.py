"""Building blocks of self-contained HTML reports: every picture, style and chart lies in the one file.

A block is an `Html` string. Plain strings given to a block are text and are escaped; only `Html` goes in as it is.
No scripts, no fonts and no addresses outside: the page opens from disk, in light and dark, at any width.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aliasfree.errors import ArgumentError
from aliasfree.pictures import data_uri

__all__ = [
    "Html", "Line", "angle_table", "figure", "line_chart", "page", "picture", "plot", "row", "section", "table", "text"
]  # fmt: skip

Floats = NDArray[np.float64]


class Html(str):
    """Markup that needs no escaping."""

    __slots__ = ()


def escape(content: str) -> Html:
    """Text as markup; `Html` stays as it is."""
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def text(*parts: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{_join(parts)}</p>")


def picture(content: Image.Image | bytes, alt: str, *, mime: str = "image/png", width: int | None = None) -> Html:
    """An image, or a file's bytes, as large as the page allows and at most `width` CSS pixels (None = its own)."""
    style = f' style="width:{width}px"' if width else ""
    return Html(f'<img src="{data_uri(content, mime)}" alt="{html.escape(alt)}"{style}>')


def plot(content: Image.Image, alt: str) -> Html:
    """A drawn chart as a picture: smooth at any size, where other images show their pixels."""
    return Html(f'<img class="plot" src="{data_uri(content)}" alt="{html.escape(alt)}">')


def figure(content: Html, caption: str) -> Html:
    """Content with a caption below."""
    return Html(f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>")


def row(*blocks: Html, wide: bool = False) -> Html:
    """Blocks side by side, below one another where the page is narrow; at most two if `wide`, as charts need."""
    return Html(f'<div class="row{" wide" if wide else ""}">{_join(blocks)}</div>')


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", *, first_is_name: bool = True) -> Html:
    """A table, scrolling sideways by itself on a narrow page; with `first_is_name` the first column names the rows."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = []
    for cells in rows:
        name = f'<th scope="row">{escape(cells[0])}</th>' if first_is_name else f"<td>{escape(cells[0])}</td>"
        body.append(f"<tr>{name}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>")
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="scroll"><table>{title}<thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def angle_table(labels: Sequence[str], groups: Sequence[Sequence[tuple[str, Image.Image, str]]]) -> Html:
    """Strips of images in groups, under one row of column labels; a strip is (row label, image, alt text)."""
    head = "".join(f"<span>{escape(label)}</span>" for label in labels)
    cells = [f'<span></span><div class="angles" style="--n:{len(labels)}">{head}</div>']
    for k, group in enumerate(groups):
        cells += ["<hr>"] if k else []
        cells += [f"<b>{escape(name)}</b>{picture(image, alt)}" for name, image, alt in group]
    return Html(f'<div class="strips">{"".join(cells)}</div>')


def section(title: str, *blocks: Html) -> Html:
    """A part of the page under a heading."""
    return Html(f"<section><h2>{escape(title)}</h2>{_join(blocks)}</section>")


@dataclass(frozen=True)
class Line:
    """A curve: x and y of one length; colour 0 (blue, full line) or 1 (orange, dashed)."""

    name: str
    x: Sequence[float] | NDArray[Any]
    y: Sequence[float] | NDArray[Any]
    colour: int = 0


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, *, smooth: int = 1, title: str = "") -> Html:
    """Curves over a linear x and a logarithmic y, as SVG: raw values thin and pale, their moving mean on top.

    smooth  length of the moving mean in points, shorter at both ends; 1 = the raw values alone

    Raises ArgumentError without a positive finite value.
    """
    curves = [(line, np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)) for line in lines]
    x_all = np.concatenate([x for _, x, _ in curves]) if curves else np.empty(0)
    y_all = np.concatenate([y for _, _, y in curves]) if curves else np.empty(0)
    y_all = y_all[np.isfinite(y_all) & (y_all > 0)]
    if not len(y_all):
        raise ArgumentError("a chart needs at least one positive value")
    frame = _Frame(float(x_all.min()), float(x_all.max()), float(y_all.min()), float(y_all.max()))
    parts = [frame.axes(x_label, y_label)]
    for raw in (True, False):  # all pale lines below all others
        for line, x, y in curves:
            path = frame.path(x, y) if raw else frame.path(x, moving_mean(y, smooth))
            kind = "raw" if raw and smooth > 1 else "line"
            if raw or smooth > 1:
                parts.append(f'<path class="{kind} c{line.colour % 2}" d="{path}"/>')
    for k, (line, _, _) in enumerate(curves):
        at, left = frame.top + 16 + 22 * k, frame.right - 128
        parts.append(f'<path class="line c{line.colour % 2}" d="M{left} {at}h30"/>')
        parts.append(f'<text x="{left + 38}" y="{at + 4}">{escape(line.name)}</text>')
    label = html.escape(title or f"{y_label} over {x_label}")
    return Html(
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def moving_mean(y: Floats, window: int) -> Floats:
    """Centred mean over `window` points, over fewer at both ends."""
    half = max(0, (min(window, len(y)) - 1) // 2)
    total = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(y))
    mean: Floats = (total[high] - total[low]) / (high - low)
    return mean


class _Frame:
    """The plotting area and its two scales."""

    width, height = 600, 340
    left, right, top, bottom = 62, 588, 12, 288
    points = 500
    """A path has at most two points for each of so many slices of the x axis."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float) -> None:
        self.x0, self.x1 = x0, x1 if x1 > x0 else x0 + 1
        margin = 0.04 * max(math.log10(y1 / y0), 0.1)
        self.y0, self.y1 = math.log10(y0) - margin, math.log10(y1) + margin

    def at_x(self, x: float) -> float:
        return self.left + (x - self.x0) / (self.x1 - self.x0) * (self.right - self.left)

    def at_y(self, y: float) -> float:
        share = (math.log10(max(y, 1e-300)) - self.y0) / (self.y1 - self.y0)
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)

    def path(self, x: Floats, y: Floats) -> str:
        fine = np.isfinite(y)
        x, y = x[fine], y[fine]
        if len(x) > 2 * self.points:  # keep the smallest and the largest value of every slice
            keep: list[int] = []
            for part in np.array_split(np.arange(len(x)), self.points):
                keep += sorted({int(part[y[part].argmin()]), int(part[y[part].argmax()])})
            x, y = x[keep], y[keep]
        return "M" + "L".join(f"{self.at_x(a):.1f} {self.at_y(b):.1f}" for a, b in zip(x, y, strict=True))

    def axes(self, x_label: str, y_label: str) -> str:
        parts = []
        for value in _log_ticks(self.y0, self.y1):
            y = self.at_y(value)
            parts.append(f'<path class="gridline" d="M{self.left} {y:.1f}H{self.right}"/>')
            parts.append(f'<text class="tick" x="{self.left - 7}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in _linear_ticks(self.x0, self.x1):
            x = self.at_x(value)
            parts.append(f'<path class="gridline" d="M{x:.1f} {self.top}V{self.bottom}"/>')
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{self.bottom + 18}" text-anchor="middle">{value:,g}</text>'
            )
        box = f"M{self.left} {self.top}V{self.bottom}H{self.right}"
        middle_x, middle_y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        turned = f'transform="translate(14 {middle_y}) rotate(-90)"'
        parts += [
            f'<path class="axis" d="{box}"/>',
            f'<text x="{middle_x}" y="{self.height - 8}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text {turned} text-anchor="middle">{escape(y_label)}</text>',
        ]
        return "".join(parts)


def _linear_ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10(max(high - low, 1e-12)))
    step = next(step * f for f in (0.2, 0.5, 1, 2, 5) if (high - low) / (step * f) <= 6)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    every = [f * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for f in range(1, 10)]
    inside = [v for v in every if low <= math.log10(v) <= high]
    for factors in (range(1, 10), (1, 2, 5), (1,)):
        chosen = [v for v in inside if round(v / 10 ** math.floor(math.log10(v) + 1e-9)) in factors]
        if len(chosen) <= 7:
            return chosen
    return chosen


def page(title: str, headline: str, lead: str, *sections: Html, footer: str = "") -> str:
    """The whole file: title of the window, headline, a first paragraph, sections, a last line."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body><header><h1>{escape(headline)}</h1><p class="lead">{escape(lead)}</p></header>\n'
        f"<main>{_join(sections)}</main>\n<footer>{escape(footer)}</footer></body></html>\n"
    )


def _join(parts: Sequence[str]) -> str:
    return "".join(escape(part) for part in parts)


_STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#1c1f24;--soft:#5d6470;--rule:#dcdad3;
--c0:#0067a8;--c1:#c04f00}
@media(prefers-color-scheme:dark){:root{
--bg:#15171b;--card:#1d2025;--ink:#e9e7e1;--soft:#a2a8b3;--rule:#363a42;
--c0:#5bb8f0;--c1:#ffab4a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,main,footer{max-width:1060px;margin:0 auto;padding:0 24px}
header{padding-top:44px}
h1{font-size:clamp(1.5rem,1.05rem + 2vw,2.3rem);line-height:1.2;margin:0 0 14px;letter-spacing:-.01em;text-wrap:balance}
h2{font-size:1.28rem;line-height:1.3;margin:0 0 10px}
p{margin:0 0 12px;max-width:74ch}
.lead{font-size:1.08rem;color:var(--soft)}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:22px 24px 14px;margin:20px 0}
figure{margin:8px 0 16px;min-width:0}
figcaption{color:var(--soft);font-size:.9rem;line-height:1.45;margin-top:7px;max-width:74ch;
overflow-wrap:anywhere}
img,svg{display:block;max-width:100%;height:auto}
img{image-rendering:pixelated;border-radius:4px}
img.plot{image-rendering:auto}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:4px 28px}
.wide{grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
.scroll{overflow-x:auto;margin:6px 0 16px}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.9rem;padding-bottom:6px}
th,td{padding:5px 18px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{color:var(--soft);font-weight:600}
tbody th{font-weight:500}
.strips{display:grid;grid-template-columns:auto minmax(0,1fr);gap:5px 10px;align-items:center;max-width:900px}
.strips b{font-size:.85rem;font-weight:600;text-align:right;line-height:1.25}
.strips img{width:100%}
.strips hr{grid-column:1/-1;width:100%;border:0;margin:3px 0}
.angles{display:grid;grid-template-columns:repeat(var(--n),minmax(0,1fr));text-align:center;
color:var(--soft);font-size:clamp(.55rem,2.2vw,.85rem);font-variant-numeric:tabular-nums}
svg{max-width:720px;width:100%}
svg text{fill:var(--ink);font-size:13px}
svg .tick{fill:var(--soft);font-size:12px}
svg path{fill:none}
.gridline{stroke:var(--rule)}
.axis{stroke:var(--soft)}
.raw{stroke-width:1;opacity:.28;stroke-linejoin:round}
.line{stroke-width:2.4;stroke-linejoin:round}
.c0{stroke:var(--c0)}
.c1{stroke:var(--c1)}
.line.c1{stroke-dasharray:8 4}
footer{color:var(--soft);font-size:.86rem;padding-top:6px;padding-bottom:44px}
code{font-size:.92em}
@media(max-width:560px){header,main,footer{padding-left:12px;padding-right:12px}header{padding-top:24px}
section{padding:16px 14px 8px}
.strips{gap:4px 6px}.strips b{font-size:.7rem}svg text{font-size:17px}svg .tick{font-size:16px}
th,td{padding-right:12px}}
"""
