"""The table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.bars import Verdict
from benchmarks.results import Row
from benchmarks.timing import Quartiles

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["bars_table", "results_table"]

CAPTION = (
    "median (quartiles) of the rounds; literal: zero insertion and full-rate convolutions; slow: the UNet of literal "
    "ops and nn.MultiheadAttention giving its weights; floors: see docs/benchmarks.md"
)
# column -> the figures it shows, the first that a row has
FIGURES: dict[str, tuple[str, ...]] = {
    "literal or slow / ours": ("literal / ours", "slow / ours"),
    "ours / plain or A": ("ours / plain", "ours / A"),
    "ours / 3x3 conv": ("ours / conv",),
    "ours / memory floor": ("ours / memory floor",),
    "ours / arithm. floor": ("ours / arithmetic floor",),
}
SHOWN_ELSEWHERE = {name for names in FIGURES.values() for name in names}


def results_table(rows: Iterable[Row], title: str) -> Table:
    """One table with a block for each section; ratios as median and quartiles."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left")
    for header in ("what", "input", "ours", *FIGURES):
        table.add_column(header, no_wrap=header in ("what", "input"))
    table.add_column("also")
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(f"[bold]{section}[/bold]")
        figures = (_first(row, names) for names in FIGURES.values())
        table.add_row(f"{row.what} {row.variant}, {row.mode}", _input(row), _ours(row), *figures, _also(row))
    return table


def bars_table(verdicts: Iterable[Verdict], device: str) -> Table:
    """Measured value, bar, met or missed; bars of another device are left out."""
    from rich.table import Table

    table = Table("what", "measured", "bar", "", title=f"bars ({device})", title_justify="left")
    for verdict in verdicts:
        if verdict.device != device:
            continue
        measured = "" if verdict.measured is None else f"{verdict.measured:.3g}"
        outcome = {None: "not measured", True: "[green]met[/green]", False: "[red]missed[/red]"}[verdict.met]
        table.add_row(verdict.what, measured, f"{verdict.sense} {verdict.limit:g}", outcome)
    return table


def _input(row: Row) -> str:
    return f"{','.join(map(str, row.shape))} {row.dtype.replace('bfloat', 'bf').replace('float', 'fp')}"


def _first(row: Row, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row.ratios:
            return _ratio(row.ratios[name])
        if name in row.values:
            return f"{row.values[name]:.3g}"
    return ""


def _ours(row: Row) -> str:
    """Time or memory of ours."""
    if "ours" in row.seconds:
        return _seconds(row.seconds["ours"].median)
    return f"{row.values['ours bytes'] / 2**20:.1f} MiB" if "ours bytes" in row.values else ""


def _also(row: Row) -> str:
    """Figures that have no column, and the note."""
    parts = [f"{name} {_ratio(value)}" for name, value in row.ratios.items() if _stands_alone(name)]
    rates = {name: value for name, value in row.values.items() if name.startswith(("images/s", "ours over"))}
    parts += [f"{name} {value:.3g}" for name, value in rates.items()]
    return "; ".join([*parts, *([row.note] if row.note else [])])


def _stands_alone(name: str) -> bool:
    """Of the growth rows only the slopes are shown, not each size's ratio."""
    return name not in SHOWN_ELSEWHERE and not any(part.isdigit() for part in name.split())


def _ratio(q: Quartiles) -> str:
    return f"{q.median:.3g} [dim]({q.lower:.3g}..{q.upper:.3g})[/dim]"


def _seconds(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
