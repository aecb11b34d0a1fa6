"""The paper's claims, asked of a sweep: do filters help fidelity and equivariance, does turning while sampling work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aliasfree.evaluation.comparison import holm, paired_difference
from aliasfree.results.columns import COLUMNS
from aliasfree.results.rotation import RotationCurve
from aliasfree.sweep.table import LEVEL, Measured

__all__ = ["Answer", "answers", "answers_text"]

LETTERS = {"B": "B (resampling filtered)", "C": "C (nonlinearities filtered)", "D": "D (both filtered)"}


@dataclass(frozen=True)
class _Scale:
    """How a figure is compared: `of` before the difference is taken, `words` of the difference."""

    key: str
    title: str
    than: str
    of: Callable[[float], float]
    words: Callable[[float], str]


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


FIDELITY = _Scale("fid", "Frechet distance", "times that of", _log, lambda log: f"{math.exp(log):.2f}")
EQUIVARIANCE = _Scale("eq_t_frac", "EQ-T_frac", "dB more than", lambda value: value, lambda value: f"{value:+.1f}")


@dataclass(frozen=True)
class Answer:
    """A question, a sentence that answers it, and the figures behind that, a line each."""

    question: str
    sentence: str
    lines: tuple[str, ...]


def answers(
    measured: Sequence[Measured], baseline: str, curves: Mapping[str, Mapping[str, Sequence[RotationCurve]]]
) -> list[Answer]:
    """The answers that a sweep's figures allow; none to a question that nothing was measured for.

    measured  what the cells found; of each cell by its first extractor
    baseline  the config that the others are compared with
    curves    data set -> config -> the curves of its turned samples

    A letter's figure is the mean over its configs. It is compared with the baseline's of the same data set and seed,
    so the pairs are data sets times seeds; p is Student's, Holm-corrected over the letters.
    """
    first: dict[tuple[str, str, int], Measured] = {}
    for m in measured:
        first.setdefault((m.data, m.config, m.seed), m)
    cells = list(first.values())
    fidelity = _compared(cells, baseline, FIDELITY)
    moved = _compared(cells, baseline, EQUIVARIANCE)
    found = [
        Answer("Do the filters help fidelity?", *fidelity) if fidelity else None,
        Answer("Do they help equivariance?", *moved) if moved else None,
        _rotation(curves),
    ]
    return [answer for answer in found if answer is not None]


def answers_text(found: Sequence[Answer]) -> str:
    """The answers as Markdown."""
    return "\n\n".join(
        "\n".join([f"**{a.question}** {a.sentence}", "", *(f"* {line}" for line in a.lines)]) for a in found
    )


def _compared(cells: Sequence[Measured], baseline: str, scale: _Scale) -> tuple[str, tuple[str, ...]] | None:
    """(answer, lines) of the letters against the baseline."""
    values = {(m.data, m.config, m.seed): scale.of(m.figures[scale.key].value) for m in cells if scale.key in m.figures}
    pairs: dict[str, list[tuple[float, float]]] = {}
    for data, seed in dict.fromkeys((m.data, m.seed) for m in cells):
        base = values.get((data, baseline, seed), math.nan)
        for letter in LETTERS:
            own = [v for (d, c, s), v in values.items() if (d, s) == (data, seed) and c.startswith(f"{letter}-")]
            if own and math.isfinite(base) and np.isfinite(own).all():
                pairs.setdefault(letter, []).append((float(np.mean(own)), base))
    if not pairs:
        return None
    tested = {letter: paired_difference(*zip(*both, strict=True)) for letter, both in pairs.items()}
    p = {letter: value for letter, (_, value) in tested.items() if value is not None}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    lines: list[str] = []
    helps: list[str] = []
    harms: list[str] = []
    for letter, (difference, _) in tested.items():
        line = f"{LETTERS[letter]}: {scale.title} {scale.words(difference.value)} {scale.than} {baseline}"
        if difference.low is not None and difference.high is not None:
            line += f" [{scale.words(difference.low)}, {scale.words(difference.high)}], p = {corrected[letter]:.2g}"
            if corrected[letter] < LEVEL:
                (helps if (difference.value < 0) == (COLUMNS[scale.key].better == "lower") else harms).append(letter)
        lines.append(f"{line}; {len(pairs[letter])} pair(s) of data set and seed")
    return _sentence(helps, harms, known=bool(corrected)), tuple(lines)


def _sentence(helps: Sequence[str], harms: Sequence[str], *, known: bool) -> str:
    if not known:
        return "One pair tells no interval."
    if not helps and not harms:
        return "Not beyond chance."
    parts = [
        f"{', '.join(who)} {verb}{'s' if len(who) == 1 else ''}"
        for who, verb in ((helps, "help"), (harms, "harm")) if who
    ]  # fmt: skip
    return ("Yes: " if not harms else "No: " if not helps else "It depends: ") + ", ".join(parts) + "."


def _rotation(curves: Mapping[str, Mapping[str, Sequence[RotationCurve]]]) -> Answer | None:
    """Of each way of turning, how many samples keep their class; the finished images, turned, are left out."""
    lines: list[str] = []
    kept: dict[str, list[float]] = {}
    every = [(data, config, curve) for data, ours in curves.items() for config, ways in ours.items() for curve in ways]
    for data, config, curve in every:
        if curve.name.startswith("x(0)"):
            continue
        turned = [k for k, theta in enumerate(curve.degrees) if theta != 0]
        shares = [100 * curve.kept[k].value for k in turned]
        distance = np.mean([curve.fd[k].value for k in turned]) / curve.fd[curve.degrees.index(0.0)].value
        kept.setdefault(curve.name, []).append(float(np.mean(shares)))
        lines.append(
            f"{data}, {config}, {curve.name}: class kept {np.mean(shares):.0f} % ({min(shares):.0f} to "
            f"{max(shares):.0f} over the angles), Frechet distance {distance:.2f} times that at 0 degrees"
        )
    if not kept:
        return None
    each = "; ".join(f"{name}, {_span(values)} %" for name, values in kept.items())
    return Answer("Does turning while sampling work?", f"Samples that keep their class: {each}.", tuple(lines))


def _span(values: Sequence[float]) -> str:
    low, high = (f"{v:.0f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
