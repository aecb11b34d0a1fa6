"""The answers of a sweep: letters against the baseline over data sets and seeds, and how turned samples fare."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from aliasfree.estimate import Estimate
from aliasfree.evaluation.comparison import paired_difference
from aliasfree.results.rotation import RotationCurve
from aliasfree.sweep.answers import answers, answers_text
from aliasfree.sweep.table import Measured

FACTOR = {"A": 1.0, "B-0": 0.8, "B-2N": 0.9, "C-0": 1.0, "D-0": 1.5}
MORE = {"A": 0.0, "B-0": 1.0, "B-2N": 3.0, "C-0": 0.1, "D-0": 6.0}


def cells(seeds: int) -> list[Measured]:
    """Distances of two data sets that differ tenfold, the same factor to A in both but for a little chance."""
    rng = np.random.default_rng(0)
    found = []
    for data, base in (("mnist", 10.0), ("cifar10", 100.0)):
        for seed in range(seeds):
            own = base * rng.uniform(0.5, 2)
            for config, factor in FACTOR.items():
                chance = rng.normal(0, 0.02)
                figures = {
                    "fid": Estimate(own * factor * math.exp(chance)),
                    "eq_t_frac": Estimate(20 + seed + MORE[config] + rng.normal(0, 0.3)),
                }
                found.append(Measured(data, config, seed, "classifier", figures, {}))
                found.append(Measured(data, config, seed, "pixels", {"fid": Estimate(-1.0)}, {}))
    return found


def figures(line: str) -> list[float]:
    """The figure of a line and the ends of its interval."""
    found = re.search(r"(?:distance|EQ-T_frac) (\S+) .* A \[(\S+), (\S+)\]", line)
    assert found is not None, line
    return [float(number) for number in found.groups()]


def curve(name: str, kept: list[float]) -> RotationCurve:
    degrees = (-90.0, 0.0, 90.0)
    shares, nothing = tuple(Estimate(k) for k in kept), (None,) * 3
    fd = (Estimate(6.0), Estimate(2.0), Estimate(4.0))
    return RotationCurve(name, degrees, shares, fd, shares, nothing, nothing, torch.zeros(3, 1, 1, 2, 2))


def test_letters_are_compared_by_ratio_over_data_sets_and_seeds_and_the_first_extractor_counts():
    fidelity, moved = answers(cells(3), "A", {})
    assert (fidelity.question, moved.question) == ("Do the filters help fidelity?", "Do they help equivariance?")
    assert fidelity.sentence == "It depends: B helps, D harms."
    told = {line[0]: figures(line) for line in fidelity.lines}
    for letter, factor in (("B", math.sqrt(0.8 * 0.9)), ("C", 1.0), ("D", 1.5)):  # the mean over a letter's configs
        ratio, low, high = told[letter]
        assert ratio == pytest.approx(factor, abs=0.03)
        assert low <= ratio <= high
    assert all("6 pair(s) of data set and seed" in line for line in fidelity.lines)
    assert moved.sentence == "Yes: B, D help."  # more is better there
    assert figures(moved.lines[2])[0] == pytest.approx(6.0, abs=0.5)


def test_three_letters_are_three_questions_so_a_small_p_alone_is_not_enough():
    values = {"A": (10, 10, 10, 10), "B-0": (9.0, 9.1, 9.5, 9.7), "C-0": (10, 11, 9, 10), "D-0": (9, 11, 10, 10)}
    measured = [Measured("mnist", config, seed, "classifier", {"fid": Estimate(float(value))}, {})
                for config, seeds in values.items() for seed, value in enumerate(seeds)]  # fmt: skip
    (answer,) = answers(measured, "A", {})
    alone = paired_difference(np.log(values["B-0"]).tolist(), np.log(values["A"]).tolist())[1]
    assert alone is not None
    assert 0.017 < alone < 0.05 < 3 * alone
    assert f"p = {3 * alone:.2g};" in answer.lines[0]
    assert answer.sentence == "Not beyond chance."


def test_what_is_chance_is_called_chance_and_one_pair_gets_no_interval():
    rng = np.random.default_rng(1)
    equal = [Measured(m.data, m.config, m.seed, m.features, {"fid": Estimate(10 * math.exp(rng.normal()))}, {})
             for m in cells(2)]  # fmt: skip
    (answer,) = answers(equal, "A", {})
    assert answer.sentence == "Not beyond chance."
    (answer,) = answers([m for m in equal if (m.data, m.seed) == ("mnist", 0)], "A", {})
    assert answer.sentence == "One pair tells no interval."
    assert "[" not in answer.lines[0]
    assert answers([], "A", {}) == []


def test_a_config_that_failed_everywhere_or_gave_no_number_is_left_out():
    broken = [Measured(m.data, m.config, m.seed, m.features, {"fid": Estimate(math.nan)}, {})
              if m.config == "D-0" else m for m in cells(2)]  # fmt: skip
    fidelity = answers(broken, "A", {})[0]
    assert [line[0] for line in fidelity.lines] == ["B", "C"]


def test_turned_samples_are_told_by_way_without_the_finished_image():
    ways = [curve("ours", [0.9, 1.0, 1.0]), curve("paper", [0.2, 1.0, 0.4]), curve("x(0) turned", [1.0, 1.0, 1.0])]
    curves = {"mnist": {"A": ways}}
    (answer,) = answers([], "A", curves)
    assert answer.sentence == "Samples that keep their class: ours, 95 %; paper, 30 %."
    assert answer.lines[0] == (
        "mnist, A, ours: class kept 95 % (90 to 100 over the angles), Frechet distance 2.50 times that at 0 degrees"
    )
    assert len(answer.lines) == 2
    text = answers_text([answer])
    assert text.startswith("**Does turning while sampling work?** Samples")
    assert text.count("\n* ") == 2
