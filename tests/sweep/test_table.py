"""The table of a sweep: means and intervals, ranks, significance, the paper's figures, and every format."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from aliasfree.config import PAPER_CONFIGS
from aliasfree.estimate import Estimate
from aliasfree.evaluation.comparison import holm
from aliasfree.results.columns import COLUMNS
from aliasfree.results.paper import paper_figure
from aliasfree.sweep.page import compose
from aliasfree.sweep.table import Measured, csv_text, entries, latex, markdown

CONFIGS = ("A", "B-0", "B-2N", "D-hq")
SHIFT = {"A": 0.0, "B-0": -3.0, "B-2N": -2.9, "D-hq": 0.1}


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    """Four seeds whose FID differs much from seed to seed and little within one: B is 3 better than A in all."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(4):
        base = rng.uniform(50, 90)
        for config in CONFIGS:
            fid = base + SHIFT[config] + rng.normal(0, 0.2)
            figures = {"fid": Estimate(fid, fid - 2, fid + 2), "is": Estimate(4 - SHIFT[config])}
            found.append(Measured("cifar10", config, seed, "inception", figures, {"fid": Estimate(5.0)}))
    return found


def test_a_figure_has_an_interval_over_seeds_and_one_over_images(measured):
    entry = next(e for e in entries(measured, CONFIGS) if (e.config, e.key) == ("A", "fid"))
    values = [m.figures["fid"].value for m in measured if m.config == "A"]
    assert entry.value.value == pytest.approx(np.mean(values))
    assert entry.value.half_width == pytest.approx(3.182 * np.std(values, ddof=1) / 2, rel=1e-3)
    assert entry.over_images == pytest.approx(1.0)  # 2 / sqrt(4)
    assert (entry.seeds, entry.floor, entry.paper) == (4, 5.0, 98.77)


def test_pairs_by_seed_find_small_differences_and_ranks_go_the_right_way(measured):
    found = {(e.config, e.key): e for e in entries(measured, CONFIGS)}
    assert {c: found[c, "fid"].verdict for c in CONFIGS} == {"A": "", "B-0": "better", "B-2N": "better", "D-hq": ""}
    assert found["all B", "fid"].verdict == "better"
    assert found["all B", "fid"].rank is None
    assert ("all D", "fid") not in found  # one config is no letter
    assert found["B-0", "fid"].rank == 1.0
    others = [found[config, "fid"] for config in CONFIGS[1:]]
    assert [e.corrected for e in others] == holm([e.p for e in others])
    assert found["B-0", "is"].rank == 1.0  # more is better


@pytest.mark.parametrize("key", [c.key for c in COLUMNS.values() if c.better])
def test_of_every_figure_the_better_end_ranks_first(key):
    two = [
        Measured("mnist", config, 0, "classifier", {key: Estimate(value)}, {})
        for config, value in (("A", 1.0), ("B-0", 2.0))
    ]
    first = next(e.config for e in entries(two, ("A", "B-0")) if e.rank == 1)
    less = key in ("fid", "kid") or "error" in key
    assert first == ("A" if less else "B-0")


def test_a_figure_worse_than_the_baseline_is_said_to_be(measured):
    flipped = [Measured(m.data, m.config, m.seed, m.features,
                        {"precision": Estimate(m.figures["fid"].value / 100)}, {}) for m in measured]  # fmt: skip
    verdicts = {e.config: e.verdict for e in entries(flipped, CONFIGS)}
    assert verdicts["B-0"] == verdicts["all B"] == "worse"


def test_one_seed_has_no_interval_over_seeds_and_no_significance(measured):
    found = entries([m for m in measured if m.seed == 0], CONFIGS)
    assert all(e.value.low is None and e.corrected is None and not e.verdict for e in found)
    assert "±" in markdown(found)  # over images still


def test_every_format_holds_every_config_and_the_papers_figures(measured):
    found = entries(measured, CONFIGS)
    page = compose("x", "about", [], found, {}, [["cifar10", "A", "3.0", "1.0"]], 16, 16)
    for text in (markdown(found), latex(found), page):
        assert "98.77" in text
        assert all(c in text.replace("\u2011", "-") for c in CONFIGS)
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert len(rows) == len(found)
    row = next(r for r in rows if r["config"] == "B-0" and r["figure"] == "fid")
    assert float(row["difference"]) == pytest.approx(-3.0, abs=0.4)
    assert row["verdict"] == "better"
    tex = latex(found)
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len({line.count(" & ") for line in body}) == 1
    assert r"\textbf{" in tex
    assert "**" not in page
    assert "<b>" in page


def test_the_papers_figures_are_those_that_its_text_speaks_of():
    """8.7 % better FID and 7.2 % better KID of D-1N on CIFAR-10; 3.0 % and 14.1 % of D-2N on MNIST-M."""
    for data, config, key, gain in (
        ("cifar10", "D-1N", "fid", 8.7), ("cifar10", "D-1N", "kid", 7.2), ("mnist-m", "D-2N", "fid", 3.0),
        ("mnist-m", "D-2N", "kid", 14.1),
    ):  # fmt: skip
        base, better = (paper_figure(data, c, key) for c in ("A", config))
        assert 100 * (1 - better / base) == pytest.approx(gain, abs=0.06)
    assert all(paper_figure(d, c, "is") for d in ("cifar10", "mnist", "mnist-m") for c in PAPER_CONFIGS)
    assert paper_figure("digits", "A", "fid") is None
    assert paper_figure("mnist", "D-hq", "fid") is None
    assert paper_figure("mnist", "A", "eq_r") is None
