"""A control: the stock model trained on as long, on its own task, as one more column of the table."""

from __future__ import annotations

import json

import pytest
import torch

import aliasfree
from aliasfree.errors import ArgumentError
from aliasfree.experiments.tune import CONTROL, TableSettings, measure, tune_and_measure
from aliasfree.tuning import tune
from tests.tuning.conftest import small_autoencoder

TABLE = {"images": 4, "distance_images": 0}


@pytest.fixture
def control(tmp_path, make_settings, quiet):
    return tune(make_settings(tmp_path / "control", config="A", lr=1e-2, patience=1), console=quiet)


def test_a_control_trains_the_stock_model_on_its_own_task_to_the_last_step(control, make_settings, quiet):
    assert make_settings("x", config="A").weights("unet") == {"reconstruction": 1.0}
    points = json.loads((control.path / "curve.json").read_text())
    assert [p["step"] for p in points["points"]] == [2, 4, 6]
    assert points["kept"] == 6
    model = aliasfree.AliasFreeAutoencoderKL.from_pretrained(control.model)
    assert model.config["alias_free"] == "A"
    assert not [m for m in model.modules() if "_stock_state" in m.__dict__], "nothing is filtered"
    kept = control.load_checkpoint().tensors["ema"]
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items()), "the last weights"
    stock = small_autoencoder().state_dict()
    assert any(not torch.equal(v, stock[k]) for k, v in model.state_dict().items()), "it was trained"


def test_a_control_that_gains_nothing_is_not_stopped(tmp_path, make_settings, quiet):
    for config, steps in (("A", [2, 4, 6]), ("D-hq", [2, 4])):
        run = tune(make_settings(tmp_path / config, config=config, lr=1e-5, patience=1), console=quiet)
        points = json.loads((run.path / "curve.json").read_text())["points"]
        assert [p["step"] for p in points] == steps


def test_it_stands_beside_the_other_models_in_the_table(tmp_path, control, make_settings, quiet):
    settings = make_settings(tmp_path / "run", lr=1e-2)
    run, table = tune_and_measure(settings, TableSettings(**TABLE, control=control.path), console=quiet)
    assert list(table.figures) == ["stock", "converted", "tuned", CONTROL]
    text = (run / "table.md").read_text()
    assert text.startswith(f"|  | stock | converted | tuned | {CONTROL} |")
    assert "after 6 more steps on its own task, with the same optimizer" in text
    own = measure(control.path, TableSettings(**TABLE))
    assert own.figures["converted"]["PSNR"].value == own.figures["stock"]["PSNR"].value, "nothing was converted"
    assert (
        table.figures[CONTROL]["PSNR"].value
        == own.figures["tuned"]["PSNR"].value
        != table.figures["stock"]["PSNR"].value
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"lr": 1e-3}, "the control in .* has `lr` 0.01, this run 0.001"),
        ({"steps": 8}, "has `steps` 6, this run 8"),
        ({"model": "other"}, "another teacher"),
    ],
)
def test_a_control_that_is_not_alike_is_refused_before_anything_is_trained(
    tmp_path, control, make_settings, quiet, changes, what
):
    if "model" in changes:
        other = small_autoencoder()
        torch.nn.init.normal_(next(other.parameters()))
        other.save_pretrained(tmp_path / "other")
        changes = {"model": tmp_path / "other"}
    settings = make_settings(tmp_path / "run", **{"lr": 1e-2, **changes})
    with pytest.raises(ArgumentError, match=rf"(?i){what}"):
        tune_and_measure(settings, TableSettings(**TABLE, control=control.path), console=quiet)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_config_is_no_control(tmp_path, make_settings, quiet):
    run = tune(make_settings(tmp_path / "run", steps=2), console=quiet)
    with pytest.raises(ArgumentError, match=r"a run of config D-hq; a control is tuned with `config` A"):
        tune_and_measure(make_settings(tmp_path / "more", steps=2), TableSettings(**TABLE, control=run.path))
