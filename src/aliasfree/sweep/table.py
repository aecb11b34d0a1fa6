"""The table of a sweep: every figure over seeds and images, ranks, and which differences are more than chance."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aliasfree.estimate import Estimate
from aliasfree.evaluation.comparison import holm, paired_difference, ranks
from aliasfree.evaluation.intervals import over_runs
from aliasfree.results.columns import COLUMNS, Column, figure, floors
from aliasfree.results.metrics import Metrics
from aliasfree.results.paper import paper_figure

__all__ = [
    "LEGEND", "Entry", "Measured", "csv_text", "difference_rows", "entries", "groups_of", "latex", "markdown",
    "table_rows",
]  # fmt: skip

LEVEL = 0.05
"""Of significance, after Holm's correction."""


@dataclass(frozen=True)
class Measured:
    """What one cell found by one extractor; figures that need none are told for the first extractor alone."""

    data: str
    config: str
    seed: int
    features: str
    figures: dict[str, Estimate]
    floor: dict[str, Estimate]  # of real test images

    @classmethod
    def of(cls, data: str, config: str, seed: int, metrics: Metrics, features: Sequence[str]) -> list[Measured]:
        """From a cell's metrics.json."""
        found = []
        for k, name in enumerate(features):
            columns = [c for c in _ranked() if k == 0 or c.record == "fidelity"]
            figures = {c.key: value for c in columns if (value := figure(c, metrics, name)) is not None}
            found.append(cls(data, config, seed, name, figures, floors(metrics, name)))
        return found


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure of one config on one data set."""

    data: str
    features: str
    config: str  # or "all B": the mean over the configs of a letter
    key: str
    seeds: int
    value: Estimate  # mean over seeds, with Student's interval over them
    over_images: float | None  # half of the 95 % interval that the images alone give the mean
    floor: float | None
    rank: float | None  # among the configs; None for a letter
    difference: Estimate | None  # to the first config, paired by seed; None for that one
    p: float | None
    corrected: float | None  # p after Holm's correction over the configs, or over the letters
    paper: float | None  # what the paper reports

    @property
    def verdict(self) -> str:
        """ "better" or "worse" than the first config, where the difference is significant, else ""."""
        if self.difference is None or self.corrected is None or self.corrected >= LEVEL:
            return ""
        return "better" if (self.difference.value < 0) == (COLUMNS[self.key].better == "lower") else "worse"


def entries(measured: Sequence[Measured], configs: Sequence[str]) -> list[Entry]:
    """The entries of a sweep's table, data set by data set, figure by figure; the first config is the baseline."""
    found: list[Entry] = []
    groups = dict.fromkeys((m.data, m.features) for m in measured)
    for data, features in groups:
        mine = [m for m in measured if (m.data, m.features) == (data, features)]
        for key in (column.key for column in _ranked()):
            known = {config: {m.seed: m for m in mine if m.config == config and key in m.figures} for config in configs}
            known = {config: seeds for config, seeds in known.items() if seeds}
            if known:
                found += _column(data, features, key, known, configs[0])
    return found


def markdown(found: Sequence[Entry]) -> str:
    """The tables as Markdown."""
    parts = []
    for (data, features), group in groups_of(found).items():
        head, rows = table_rows(group)
        parts.append(f"### {data}, features: {features}\n\n{_markdown(head, rows)}")
        head, rows = difference_rows(group)
        if rows:
            parts.append(f"Difference to {group[0].config}, paired by seed:\n\n{_markdown(head, rows)}")
    return "\n\n".join([*parts, LEGEND]) + "\n"


LEGEND = (
    "± is half of the 95 % interval over seeds (Student), in brackets what the images alone give the mean. "
    "Bold: first rank. * better and † worse than the first config at 5 %, paired by seed, Holm-corrected over the "
    "configs. “paper”: arXiv 2411.09174, one seed, 2,000 images, Inception."
)


def table_rows(group: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of one data set and extractor; a row a config, at the end real test images."""
    plain = [e for e in group if e.rank is not None]
    keys = list(dict.fromkeys(e.key for e in plain))
    configs = list(dict.fromkeys(e.config for e in plain))
    in_paper = {key for key in keys if any(e.paper is not None for e in plain if e.key == key)}
    head = ["", "seeds"]
    for key in keys:
        head += [COLUMNS[key].title, *(["paper"] if key in in_paper else [])]
    head.append("mean rank")
    rows = []
    for config in configs:
        mine = {e.key: e for e in plain if e.config == config}
        row = [config, str(max(e.seeds for e in mine.values()))]
        for key in keys:
            row.append(cell(mine[key]) if key in mine else "–")
            if key in in_paper:
                paper = mine[key].paper if key in mine else None
                row.append("–" if paper is None else _number(key, paper))
        rows.append([*row, f"{np.mean([e.rank for e in mine.values() if e.rank]):.1f}"])
    real = {e.key: e.floor for e in plain}
    if any(v is not None for v in real.values()):
        row = ["real", ""]
        for key in keys:
            value = real[key]
            row += ["" if value is None else _number(key, value), *([""] if key in in_paper else [])]
        rows.append([*row, ""])
    return head, rows


def difference_rows(group: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the differences to the first config, for every other config and for the letters."""
    others = [e for e in group if e.difference is not None]
    keys = list(dict.fromkeys(e.key for e in others))
    head = ["", *(COLUMNS[key].title for key in keys)]
    rows = []
    for config in dict.fromkeys(e.config for e in others):
        mine = {e.key: e for e in others if e.config == config}
        rows.append([config, *(_difference(mine[key]) if key in mine else "–" for key in keys)])
    return head, rows


def cell(entry: Entry) -> str:
    """A figure with its intervals and what is to be said of it."""
    words = _number(entry.key, entry.value.value)
    half = entry.value.half_width
    if half is not None and math.isfinite(half):
        words += f" ± {_number(entry.key, half)}"
    if entry.over_images is not None and math.isfinite(entry.over_images):
        words += f" (± {_number(entry.key, entry.over_images)})"
    words = f"**{words}**" if entry.rank == 1 else words
    return words + {"better": "*", "worse": "†", "": ""}[entry.verdict]


def csv_text(found: Sequence[Entry]) -> str:
    """One line an entry, raw values."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "data", "features", "config", "figure", "seeds", "value", "low", "high", "over_images", "real", "rank",
        "difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "paper",
    ])  # fmt: skip
    for e in found:
        d = e.difference or Estimate(math.nan)
        writer.writerow([
            e.data, e.features, e.config, e.key, e.seeds, e.value.value, e.value.low, e.value.high, e.over_images,
            e.floor, e.rank, None if e.difference is None else d.value, d.low, d.high, e.p, e.corrected, e.verdict,
            e.paper,
        ])  # fmt: skip
    return out.getvalue()


def latex(found: Sequence[Entry]) -> str:
    """The tables for LaTeX with the package booktabs."""
    parts = []
    for (data, features), group in groups_of(found).items():
        head, rows = table_rows(group)
        lines = [
            r"\begin{table}", r"\centering", rf"\caption{{{_tex(data)}, features: {_tex(features)}. {_tex(LEGEND)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", _tex_row(head), r"\midrule",
            *(_tex_row(row) for row in rows), r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]  # fmt: skip
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _column(data: str, features: str, key: str, known: dict[str, dict[int, Measured]], baseline: str) -> list[Entry]:
    """The entries of one figure: configs, then letters with more than one config."""
    values = {config: {seed: m.figures[key].value for seed, m in seeds.items()} for config, seeds in known.items()}
    place = dict(zip(values, ranks([_mean(list(v.values())).value for v in values.values()],
                                   higher_is_better=COLUMNS[key].better == "higher"), strict=True))  # fmt: skip
    letters = {f"all {letter}": members for letter in "BCD"
               if len(members := [c for c in values if c.startswith(f"{letter}-")]) > 1}  # fmt: skip
    for name, members in letters.items():
        seeds = set.intersection(*(set(values[c]) for c in members))
        if seeds:
            values[name] = {seed: float(np.mean([values[c][seed] for c in members])) for seed in sorted(seeds)}
    first = values.get(baseline, {})
    compared = {}
    for name, mine in values.items():
        both = sorted(set(mine) & set(first))
        if name != baseline and both and all(math.isfinite(v) for s in both for v in (mine[s], first[s])):
            compared[name] = paired_difference([mine[s] for s in both], [first[s] for s in both])
    corrected: dict[str, float] = {}
    for family in ([n for n in compared if n not in letters], [n for n in compared if n in letters]):
        tested = {name: p for name in family if (p := compared[name][1]) is not None}
        corrected |= dict(zip(tested, holm(list(tested.values())), strict=True))
    found = []
    for name, mine in values.items():
        cells = list(known.get(name, {}).values())
        halves = [m.figures[key].half_width for m in cells]
        over_images = None
        if cells and all(h is not None for h in halves):
            over_images = float(np.sqrt(np.sum(np.square(np.array(halves, np.float64)))) / len(halves))
        difference, p = compared.get(name, (None, None))
        real = cells[0].floor.get(key) if cells else None
        found.append(
            Entry(
                data=data, features=features, config=name, key=key, seeds=len(mine), value=_mean(list(mine.values())),
                over_images=over_images, floor=real.value if real else None, rank=place.get(name),
                difference=difference, p=p, corrected=corrected.get(name), paper=paper_figure(data, name, key),
            )
        )  # fmt: skip
    return found


def _ranked() -> list[Column]:
    """The columns of which one end is better."""
    return [column for column in COLUMNS.values() if column.better is not None]


def _mean(values: list[float]) -> Estimate:
    return over_runs(values) if np.isfinite(values).all() else Estimate(float(np.mean(values)))


def groups_of(found: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Entries by (data set, extractor)."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.data, entry.features), []).append(entry)
    return groups


def _number(key: str, value: float) -> str:
    return COLUMNS[key].number(value)


def _difference(entry: Entry) -> str:
    d = entry.difference
    assert d is not None
    sign = "+" if d.value > 0 else ""
    words = f"{sign}{_number(entry.key, d.value)}"
    if d.low is not None and d.high is not None:
        words += f" [{_number(entry.key, d.low)}, {_number(entry.key, d.high)}]"
    if entry.corrected is not None:
        words += f", p = {entry.corrected:.2g}"
    return words + {"better": "*", "worse": "†", "": ""}[entry.verdict]


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(_tex(c) for c in cells) + r" \\"


def _tex(text: str) -> str:
    special: dict[str, Any] = {
        "±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#",
        "“": "``", "”": "''",
    }  # fmt: skip
    bold = text.startswith("**")
    if bold:
        body, _, rest = text[2:].partition("**")
        return rf"\textbf{{{_tex(body)}}}{_tex(rest)}"
    return "".join(special.get(c, c) for c in text)
