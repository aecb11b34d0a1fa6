"""The table of several runs: seeds joined, intervals, floors; Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from aliasfree.errors import ArgumentError
from aliasfree.reporting.runs import csv_text, markdown, write_report
from aliasfree.reporting.runs import summarise as summarise_metrics
from aliasfree.results.metrics import Metrics


def facts(config: str, seed: int, fid: float, kid: float = 0.002) -> dict[str, Any]:
    estimate = lambda v: {"value": v, "low": v - 0.5, "high": v + 0.5}  # noqa: E731
    figures = {"is": None, "fid": estimate(fid), "kid": {"value": kid, "low": None, "high": None}}
    return {
        "source": f"runs/{config}-{seed}", "config": config, "training_seed": seed, "num": 100, "protocol": "default",
        "fingerprint": "f", "image_size": [8, 8], "parameters": 1234,
        "sampling": {"seed": seed, "steps": 50, "guidance": 1.0},
        "images_per_second": 10.0 + seed,
        "equivariance": {"overall": {"eq_t": estimate(20.0), "eq_r": {"value": None, "low": None, "high": None}}},
        "fidelity": {"pixels": {"generated": figures, "floor": {"fid": estimate(1.0), "is": None}}},
    }  # fmt: skip


def summarise(found: list[dict[str, Any]]):
    return summarise_metrics([Metrics.from_dict(one) for one in found])


def test_runs_that_differ_in_their_seed_become_one_row_with_an_interval_over_runs():
    rows = summarise([facts("A", 0, 10.0), facts("D-hq", 0, 8.0), facts("A", 1, 12.0)])
    assert [(r.name, r.runs) for r in rows] == [("A", 2), ("D-hq", 1)]
    fid = rows[0].figures["fid"]
    # t of one degree of freedom
    assert (fid.value, fid.half_width) == pytest.approx((11.0, 12.7062 * 2**0.5 / 2**0.5), rel=1e-4)
    assert rows[1].figures["fid"].half_width == pytest.approx(0.5)
    assert rows[0].floor["fid"].value == 1.0
    assert "is" not in rows[0].figures
    assert "eq_r" not in rows[0].figures


def test_runs_that_differ_in_more_than_their_seed_stay_apart_and_say_in_what():
    plain, turned = facts("A", 0, 10.0), facts("A", 1, 12.0)
    plain["training"] = {"augment": "none", "lr": 1e-3, "data": "mnist"}
    turned["training"] = {"augment": "rotate", "lr": 1e-3, "data": "mnist"}
    rows = summarise([plain, turned, facts("D-hq", 0, 8.0)])
    assert [(r.name, r.runs) for r in rows] == [("A, augment none", 1), ("A, augment rotate", 1), ("D-hq", 1)]
    # guidance of the same network, too
    guided = facts("A", 0, 9.0)
    guided["sampling"]["guidance"] = 2.0
    assert [r.name for r in summarise([facts("A", 0, 10.0), guided])] == ["A, guidance 1.0", "A, guidance 2.0"]


def test_what_was_not_recorded_is_no_difference():
    old, new = facts("A", 0, 10.0), facts("A", 0, 11.0)
    new["training"] = {"augment": "none"}
    new["sampling"]["guidance"] = 2.0
    assert [r.name for r in summarise([old, new])] == ["A, guidance 1.0", "A, guidance 2.0"]


def test_figures_without_an_interval_show_their_spread_over_subsets():
    paper = facts("A", 0, 10.0)
    paper["fidelity"]["pixels"]["generated"]["kid"]["spread"] = 0.0005
    assert "| 2.00, spread 0.50 |" in markdown(summarise([paper]))


def test_the_markdown_table_has_the_floor_on_the_same_line():
    lines = markdown(summarise([facts("A", 0, 10.0), facts("D-hq", 0, 8.0)])).splitlines()
    assert len(lines) == 4
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "| A | pixels | 100 | 10.00 ± 0.50 (real 1.00) | 2.00 |" in lines[2]
    assert "1,234" in lines[2]
    assert "IS" not in lines[0]


def test_the_csv_has_the_raw_values():
    (row,) = csv.DictReader(io.StringIO(csv_text(summarise([facts("A", 0, 10.0)]))))
    assert (row["name"], row["fid"], row["fid_low"], row["fid_floor"]) == ("A", "10.0", "9.5", "1.0")
    assert (row["kid"], row["kid_low"], row["is"]) == ("0.002", "", "")


def test_a_report_of_nothing_and_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="at least one run"):
        write_report([], tmp_path / "a.html")
    with pytest.raises(ArgumentError, match=r"\.html"):
        write_report([tmp_path], tmp_path / "a.pdf")


def test_an_equivariance_without_error_is_exact_and_one_that_is_not_known_is_a_dash():
    exact, unknown = facts("D-ideal", 0, 8.0), facts("A", 0, 9.0)
    exact["equivariance"]["overall"]["eq_t"] = {"value": "Infinity", "low": "Infinity", "high": "Infinity"}
    unknown["equivariance"]["overall"]["eq_t"] = {"value": None, "low": None, "high": None}  # as older files have it
    lines = markdown(summarise([exact, unknown])).splitlines()
    assert "| exact |" in lines[2]
    assert "| – |" in lines[3]
