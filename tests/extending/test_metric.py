"""A metric is one registration: the page's example, in metrics.json, the report, the card and the command line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.measuring.evaluate import EvaluateSettings, evaluate
from aliasfree.measuring.measures import MEASURES, Measure, register_measure
from aliasfree.results.columns import COLUMNS, RECORDS, Column
from aliasfree.results.metrics import ComparedFigure, read_metrics
from aliasfree.training import RunSettings, train

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _as_it_was():
    before = [(registry, dict(registry)) for registry in (MEASURES, COLUMNS, RECORDS)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("metric") / "run"
    settings = RunSettings(data="digits", config="A", out=folder, image_size=8, base_channels=4, steps=2, device="cpu")
    train(settings, console=Console(quiet=True))
    return folder


def test_the_metric_of_the_page_is_measured_and_shown_wherever_figures_are(run, tmp_path):
    section = PAGE.read_text().partition("## Add a metric")[2]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})
    line = ["evaluate", str(run), "--data", "digits", "--num", "80", "--features", "pixels", "--steps", "2",
            "--no-equivariance", "--no-noise-error", "--device", "cpu"]  # fmt: skip
    without = CliRunner().invoke(app, line, catch_exceptions=False)
    assert "contrast" not in without.output
    printed = CliRunner().invoke(app, [*line, "--measure", "contrast"], catch_exceptions=False).output
    assert "contrast %" in printed
    written = json.loads((run / "metrics.json").read_text())["contrast"]
    assert written["generated"]["value"] > 0
    assert 0 < written["floor"]["value"] < 1
    record = read_metrics(run).measured["contrast"]
    assert record.floor.low < record.floor.value < record.floor.high
    page = tmp_path / "report.html"
    CliRunner().invoke(app, ["report", str(run), "--out", str(page)], catch_exceptions=False)
    shown = f"(real {100 * record.floor.value:.1f})"
    assert "contrast %" in page.with_suffix(".md").read_text()
    assert shown in page.with_suffix(".md").read_text()
    assert shown.replace("real ", "real\u00a0") in page.read_text()
    (row,) = csv.DictReader(page.with_suffix(".csv").open())
    assert float(row["contrast"]) == written["generated"]["value"]
    assert "contrast %" in (run / "README.md").read_text()


def test_a_measure_of_the_network_is_kept_and_one_of_the_images_made_anew_when_others_are_measured(run):
    made = []
    column = Column(key="one", title="one", path="generated", better=None)
    for name, of_images in (("of_network", False), ("of_images", True)):

        class Record(ComparedFigure):
            columns = (column,)

        column = Column(key="two", title="two", path="generated", better=None)

        def of(_seen, _progress, name=name):
            made.append(name)
            return Record(generated=Estimate(1.0), floor=Estimate(1.0))

        register_measure(name, Measure(of=of, stage="looking", of_images=of_images), Record)
    base = {"data": "digits", "features": "pixels", "equivariance": False, "noise_error": False,
            "measures": ("of_network", "of_images")}  # fmt: skip
    for num in (80, 80, 79):
        evaluate(run, EvaluateSettings(num=num, **base), device="cpu")
    assert made == ["of_network", "of_images", "of_images"]


@pytest.mark.parametrize(("name", "column", "words"), [
    ("Sharp", {}, "small letters"),
    ("noise_error", {}, "not taken"),
    ("other", {"key": "fid"}, "not taken"),
    ("other", {"title": "FID"}, "called 'FID'"),
    ("other", {"better": "more"}, "`better`"),
    ("other", {"bounds": (1, 0)}, "bounds"),
])  # fmt: skip
def test_a_metric_that_could_not_be_shown_is_refused_when_it_is_registered(name, column, words):
    class Record(ComparedFigure):
        columns = (Column(**{"key": "other", "title": "other", "path": "generated", "better": "higher"} | column),)

    before = list(COLUMNS), list(MEASURES)
    with pytest.raises(ArgumentError, match=words):
        register_measure(name, Measure(of=lambda *_: None, stage="looking"), Record)
    assert (list(COLUMNS), list(MEASURES)) == before


def test_unknown_measures_and_figures_out_of_their_bounds_are_refused(run):
    with pytest.raises(ArgumentError, match="no measure 'contras'"):
        EvaluateSettings(data="digits", measures=("contras",))
    with pytest.raises(ArgumentError, match="`noise_error=True`"):
        EvaluateSettings(data="digits", measures=("noise_error",))

    class Share(ComparedFigure):
        columns = (Column(key="share", title="share", path="generated", better="higher", bounds=(0, 1)),)

    wrong = Share(generated=Estimate(1.5), floor=Estimate(0.5))
    register_measure("share", Measure(of=lambda *_: wrong, stage="looking"), Share)
    settings = EvaluateSettings(data="digits", num=80, features="pixels", equivariance=False, noise_error=False,
                                measures=("share",))  # fmt: skip
    with pytest.raises(ArgumentError, match=r"gave 1\.5 as share"):
        evaluate(run, settings, device="cpu")
