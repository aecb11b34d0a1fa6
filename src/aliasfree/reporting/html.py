"""Parts of self-contained HTML pages: every picture, style and chart lies in the one file.

A block is an `Html` string. Plain strings given to a block are text and are escaped; only `Html` goes in as it is.
No scripts, no fonts and no addresses outside: the page opens from disk, in light and dark, at any width.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from PIL import Image

from aliasfree.pictures import data_uri

__all__ = ["Html", "angle_table", "chart", "escape", "figure", "page", "picture", "row", "section", "table", "text"]


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


def chart(content: Image.Image, alt: str) -> Html:
    """A drawn chart, its pixels half a CSS pixel wide for sharp screens; a narrow page shrinks it."""
    width = round(content.width / 2)
    return Html(f'<img class="chart" src="{data_uri(content)}" alt="{html.escape(alt)}" style="width:{width}px">')


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
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#1c1f24;--soft:#5d6470;--rule:#dcdad3}
@media(prefers-color-scheme:dark){:root{
--bg:#15171b;--card:#1d2025;--ink:#e9e7e1;--soft:#a2a8b3;--rule:#363a42}}
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
img{display:block;max-width:100%;height:auto}
img{image-rendering:pixelated;border-radius:4px}
img.chart{image-rendering:auto}
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
footer{color:var(--soft);font-size:.86rem;padding-top:6px;padding-bottom:44px}
code{font-size:.92em}
@media(max-width:560px){header,main,footer{padding-left:12px;padding-right:12px}header{padding-top:24px}
section{padding:16px 14px 8px}
.strips{gap:4px 6px}.strips b{font-size:.7rem}
th,td{padding-right:12px}}
"""
