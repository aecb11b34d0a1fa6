"""A tuning run: what it leaves and what it does not touch; a stopped one ends bit for bit as one that never was."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aliasfree
from aliasfree import convert
from aliasfree.errors import CheckpointError, RunError
from aliasfree.training import RunFolder, RunSettings, RunStopped, train
from aliasfree.tuning import tune
from aliasfree.tuning.trainer import read_settings


def numbers(run: RunFolder) -> dict[str, Any]:
    """All that must be equal bit for bit."""
    checkpoint = run.load_checkpoint()
    found: dict[str, Any] = {"losses": run.losses()[1], "points": json.dumps(checkpoint.state["points"])}
    for group, tensors in checkpoint.tensors.items():
        found |= {f"{group}.{name}": tensor.numpy() for name, tensor in tensors.items()}
    return found | {f"model.{name}": tensor.numpy() for name, tensor in run.load_model().state_dict().items()}


def assert_same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not np.array_equal(a[name], b[name])]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("autoencoder", {"shift": 0.1, "scale": 0.1, "turn": 0.1, "flip": 0.1, "kl": 1e-3, "teacher": 0.1}),
        ("unet", {"flip": 0.1, "turn": 0.1, "shift": 0.1}),
        ("autoencoder", {"lora": 2}),
        ("unet", {"data": None, "samples": 16, "sample_steps": 2}),
    ],
    ids=["autoencoder", "unet", "lora", "own samples"],
)
def test_a_stopped_run_ends_bit_for_bit_as_one_that_never_was(tmp_path, make_settings, quiet, kind, changes):
    whole = tune(make_settings(tmp_path / "whole", kind, **changes), console=quiet)

    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunStopped) as stopped:
        tune(make_settings(tmp_path / "run", kind, **changes), on_step=interrupt, console=quiet)
    assert f"`aliasfree tune --resume --out {tmp_path / 'run'}`" in str(stopped.value)
    run = tune(read_settings(tmp_path / "run"), resume=True, console=quiet)
    assert run.losses()[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert_same_bits(numbers(run), numbers(whole))


@pytest.mark.parametrize("kind", ["autoencoder", "unet"])
@pytest.mark.parametrize("lora", [0, 2])
def test_the_tuned_folder_loads_with_diffusers_keys_and_computes_what_the_run_computed(
    tmp_path, make_settings, stock, quiet, kind, lora
):
    name = {"autoencoder": "AliasFreeAutoencoderKL", "unet": "AliasFreeStockUNet2DModel"}[kind]
    run = tune(make_settings(tmp_path / "run", kind, lora=lora, lr=1e-2), console=quiet)
    loaded = getattr(aliasfree, name).from_pretrained(run.model)
    part = stock[kind] / "unet" if kind == "unet" else stock[kind]
    teacher = getattr(__import__("diffusers"), name.removeprefix("AliasFree").removeprefix("Stock")).from_pretrained(
        part
    )
    assert loaded.config["alias_free"] == "D-hq"
    assert loaded.state_dict().keys() == teacher.state_dict().keys()
    ours = convert(teacher, "D-hq")
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    ours.load_state_dict(loaded.state_dict())
    x = torch.randn(2, 1, 16, 16)
    more = (torch.tensor([3, 500]),) if kind == "unet" else ()
    with torch.no_grad():
        assert torch.equal(ours.eval()(x, *more).sample, loaded.eval()(x, *more).sample)
    assert any(not torch.equal(before[k], v) for k, v in loaded.state_dict().items()), "it was trained"


def test_the_teacher_is_left_as_it_was(tmp_path, make_settings, stock, quiet):
    before = tree(stock["autoencoder"])
    tune(make_settings(tmp_path / "run", lr=1e-2), console=quiet)
    assert tree(stock["autoencoder"]) == before


def test_lora_trains_and_keeps_its_own_layers_alone(tmp_path, make_settings, quiet):
    run = tune(make_settings(tmp_path / "run", lora=2, steps=2), console=quiet)
    kept = run.load_checkpoint().tensors
    assert kept["model"].keys() == kept["ema"].keys()
    assert all("lora_" in name for name in kept["model"])
    assert run.config["trained"] == sum(t.numel() for t in kept["model"].values()) < run.config["parameters"]


def test_a_merged_lora_computes_what_the_separate_layers_do_on_a_periodic_plane():
    from aliasfree.tuning.lora import add_lora, merged
    from tests.tuning.conftest import small_autoencoder

    model = add_lora(convert(small_autoencoder(), "T"), 2).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    plain, x = merged(model), torch.randn(1, 1, 16, 16)
    assert not [name for name in plain.state_dict() if "lora" in name or "base_layer" in name]
    with torch.no_grad():
        assert torch.allclose(plain(x).sample, model(x).sample, atol=1e-5)


def test_a_run_goes_on_with_the_same_teacher_only(tmp_path, make_settings, quiet):
    from tests.tuning.conftest import small_autoencoder

    torch.manual_seed(1)
    model = small_autoencoder()
    model.save_pretrained(tmp_path / "stock")
    settings = make_settings(tmp_path / "run", model=tmp_path / "stock", steps=2)
    tune(settings, console=quiet)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(tmp_path / "stock")
    with pytest.raises(CheckpointError, match="another teacher"):
        tune(settings.replace(steps=4), resume=True, console=quiet)


def test_runs_of_train_and_tune_are_told_apart(tmp_path, make_settings, quiet):
    run = tune(make_settings(tmp_path / "run", steps=2), console=quiet)
    with pytest.raises(RunError, match="aliasfree tune --resume"):
        _ = run.settings
    small = {"image_size": 16, "base_channels": 4, "steps": 1, "sample_every": None, "device": "cpu"}
    other = train(RunSettings(data="digits", config="A", out=tmp_path / "other", **small), console=quiet)
    with pytest.raises(RunError, match="aliasfree train --resume"):
        read_settings(other.path)


def test_the_stop_rule_ends_the_run_and_the_best_point_is_the_model(tmp_path, make_settings, quiet):
    """A student that trains nothing gains nothing: with patience 2 the third point ends it."""
    settings = make_settings(tmp_path / "run", lr=1e-12, steps=100, patience=2, most_lost=50.0)
    run = tune(settings, console=quiet)
    points = json.loads((run.path / "curve.json").read_text())
    assert [p["step"] for p in points["points"]] == [2, 4, 6]
    assert points["kept"] == 2
    assert run.losses()[0][-1] == 6
    tune(settings, resume=True, console=quiet)
    assert run.losses()[0][-1] == 6, "it stays ended"
