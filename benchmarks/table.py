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

TITLES = {
    "ops": "ops (of all variants here: literal = zero insertion and full-rate convolutions)",
    "network": "UNet (slow = literal ops, nn.MultiheadAttention with its weights)",
    "sampling": "sampling",
    "growth": "growth (log-log slopes)",
}
# column -> the figures it shows, the first that a row has
FIGURES: dict[str, tuple[str, ...]] = {
    "literal or slow / ours": ("literal / ours", "slow / ours"),
    "ours / plain or A": ("ours / plain", "ours / A"),
    "ours / 3x3 conv": ("ours / conv",),
    "ours / memory floor": ("ours / memory floor",),
    "ours / arithm. floor": ("ours / arithmetic floor",),
}
SHOWN_ELSEWHERE = {name for names in FIGURES.values() for name in names} | {"ours / copy"}


def results_table(rows: Iterable[Row], title: str) -> Table:
    """One table with a block for each section; ratios as median and, smaller, quartiles."""
    from rich.table import Table

    table = Table("what", "input", "ours", *FIGURES, "also", title=title, title_justify="left", show_lines=False)
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(f"[bold]{TITLES[section]}[/bold]")
        ours = _seconds(row.seconds["ours"].median) if "ours" in row.seconds else ""
        figures = (_first(row, names) for names in FIGURES.values())
        table.add_row(f"{row.what} {row.variant}, {row.mode}", _input(row), ours, *figures, _also(row))
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


def _also(row: Row) -> str:
    """Figures that have no column, and the note."""
    parts = [f"{name} {_ratio(value)}" for name, value in row.ratios.items() if _stands_alone(name)]
    for name, value in row.values.items():
        if name.startswith("images/s"):
            parts.append(f"{name} {value:.3g}")
        elif name.endswith("bytes"):
            parts.append(f"{name.removesuffix(' bytes')} {value / 2**20:.1f} MiB")
        elif name.endswith("over input"):
            parts.append(f"{name} {value:.2f}")
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
