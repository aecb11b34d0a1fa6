"""README.md of a run: the hub's own library reads it, and what somebody wrote into it stays."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.training import RunFolder, card, train


@pytest.fixture(autouse=True)
def _say_again(monkeypatch):
    monkeypatch.setattr(card, "_SAID", set())


@pytest.fixture
def run(tmp_path, digits, make_settings, quiet, monkeypatch) -> RunFolder:
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    return train(make_settings(tmp_path / "digits-8", steps=2, class_conditional=True), digits, console=quiet)


def evaluate(run: RunFolder) -> None:
    call = ("evaluate", run.path, "--data", "digits", "--features", "pixels", "--num", 66, "--steps", 1, "--device",
            "cpu", "--no-equivariance")  # fmt: skip
    done = CliRunner().invoke(app, [str(a) for a in call])
    assert done.exit_code == 0, done.output


def text(run: RunFolder) -> str:
    return (run.path / "README.md").read_text()


def test_the_hubs_own_library_reads_it(run):
    read = ModelCard.load(run.path / "README.md")
    assert read.data.library_name == "diffusers"
    assert read.data.pipeline_tag == "unconditional-image-generation"
    assert {"aliasfree", "config-D-2N", "arxiv:2411.09174"} <= set(read.data.tags)
    assert read.data.license == "unknown"  # the weights are not ours to license
    front = yaml.safe_load(text(run).split("---\n")[1])
    assert front["license"] == "unknown"
    assert "8x8 pixels, Config D-2N" in read.text
    assert "1,797 images of `digits`" in read.text
    assert "| steps | 2 |" in read.text
    assert "Not measured" in read.text


def test_its_example_runs(run, monkeypatch):
    monkeypatch.chdir(run.path.parent)
    code = text(run).split("```python\n")[1].split("```")[0]
    exec(code.replace("num_inference_steps=50", "num_inference_steps=2"), {})
    assert (run.path.parent / "sample.png").is_file()


def test_no_folder_of_this_machine_is_in_it(tmp_path, digits, make_settings, quiet):
    settings = make_settings(tmp_path / "run", steps=1, data=str(tmp_path / "secret" / "pictures"))
    run = train(settings, digits, console=quiet)
    assert "`pictures`" in text(run)
    assert str(tmp_path) not in text(run)
    assert "secret" not in text(run)


def test_evaluate_puts_its_figures_in_and_training_on_takes_them_out(run, digits, quiet):
    evaluate(run)
    found = json.loads((run.path / "metrics.json").read_text())["fidelity"]["pixels"]["generated"]["fid"]["value"]
    assert f"| FID | {found:.2f} [" in text(run)
    (fid,) = (r for r in ModelCard.load(run.path / "README.md").data.eval_results if r.metric_type == "fid")
    assert fid.metric_value == found
    assert fid.dataset_name == "digits"
    before = text(run)
    train(run.settings, digits, resume=True, console=quiet)  # finished: the same weights
    assert text(run) == before
    train(run.settings.replace(steps=4), digits, resume=True, console=quiet)
    assert "| steps | 4 |" in text(run)
    assert "FID" not in text(run)


@pytest.mark.parametrize("words", ["my own words", None])
def test_a_card_that_somebody_changed_is_left_and_that_is_said_once(run, digits, quiet, words, caplog):
    before = words or text(run).replace("license: unknown", "license: mit")
    (run.path / "README.md").write_text(before)
    with caplog.at_level(logging.WARNING, "aliasfree"):
        train(run.settings.replace(steps=5), digits, resume=True, console=quiet)
        evaluate(run)
    assert text(run) == before
    assert [r.message for r in caplog.records if "README.md" in r.message] == [
        f"{run.path / 'README.md'} was changed by hand, so it is left as it is; delete it to get a new one."
    ]
    (run.path / "README.md").unlink()
    torch.set_num_threads(1)
    evaluate(run)
    assert "FID" in text(run)


@pytest.mark.parametrize(("config", "says"), [
    ("D-2N", "Config D-2N of [arXiv 2411.09174](https://arxiv.org/abs/2411.09174) ("),
    ("T", "Config T of aliasfree ("),
    ("D-hq", "Config D-hq of aliasfree ("),
])  # fmt: skip
def test_the_letters_of_the_library_are_not_told_as_the_papers(config, says):
    assert card._config(config).startswith(says)
    assert "2411.09174" in card._config(config)
