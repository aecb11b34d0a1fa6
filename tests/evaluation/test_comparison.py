"""Paired differences, Holm's correction and ranks against worked examples and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliasfree.errors import ArgumentError
from aliasfree.evaluation.comparison import holm, paired_difference, ranks


def test_a_paired_difference_is_students():
    """Student's sleep data (1908): two drugs on ten patients; t = 4.06 on 9 degrees of freedom, p = 0.0028."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    difference, p = paired_difference(two, one)
    assert difference.value == pytest.approx(1.58)
    assert p == pytest.approx(0.00283, abs=1e-5)
    assert (difference.low, difference.high) == pytest.approx((0.7001, 2.4599), abs=1e-3)


def test_pairs_find_what_unpaired_figures_hide():
    seeds = np.array([10.0, 20.0, 30.0, 40.0])
    _, p = paired_difference((seeds + np.array([1.0, 1.1, 0.9, 1.0])).tolist(), seeds.tolist())
    assert p < 0.001


def test_a_single_pair_proves_nothing_and_equal_figures_least_of_all():
    assert paired_difference([1.0], [2.0])[1] is None
    assert paired_difference([1.0], [2.0])[0].low is None
    assert paired_difference([1.0, 2.0], [1.0, 2.0])[1] == 1.0
    with pytest.raises(ArgumentError):
        paired_difference([1.0], [1.0, 2.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferronis_and_keeps_the_order(p):
    corrected = holm(p)
    for one, two in zip(p, corrected, strict=True):
        assert one <= two <= min(1.0, len(p) * one) + 1e-12
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    assert min(corrected) == pytest.approx(min(1.0, len(p) * min(p)))


def test_holm_keeps_chance_findings_of_many_comparisons_below_the_level():
    rng = np.random.default_rng(0)
    tables = rng.uniform(size=(2000, 12))
    assert np.mean([min(t) < 0.05 for t in tables]) > 0.4
    assert np.mean([min(holm(t.tolist())) < 0.05 for t in tables]) < 0.065


def test_ranks_share_ties():
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert ranks([3.0, 1.0], higher_is_better=True) == [1.0, 2.0]
