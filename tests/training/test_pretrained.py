"""Training a diffusers UNet2DModel, converted, in the same loop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from aliasfree import AliasFreeStockUNet2DModel
from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.training import RunFolder, train

SMALL = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
NO_WIDTH = {"base_channels": None, "steps": 3}


@pytest.fixture
def stock() -> UNet2DModel:
    return UNet2DModel(sample_size=32, **SMALL)


def test_a_saved_unet_is_fine_tuned_and_sampled_from(stock, tmp_path, digits, make_settings, quiet):
    stock.save_pretrained(tmp_path / "stock")
    settings = make_settings(tmp_path / "run", model=tmp_path / "stock", config="D-hq", **NO_WIDTH, sample_every=3,
                             sample_num=1, sample_steps=2, lr=1e-6)  # fmt: skip
    folder = train(settings, data=digits, console=quiet)
    model = folder.load_model()
    assert type(model) is AliasFreeStockUNet2DModel
    assert (model.config["alias_free"], model.config["sample_size"]) == ("D-hq", 8)
    before = stock.state_dict()
    moved = [float((v - before[k]).abs().max()) for k, v in model.state_dict().items()]
    assert 0 < max(moved) < 1e-4  # it began from these weights
    assert type(folder.load_model(ema=False)) is AliasFreeStockUNet2DModel
    more = train(RunFolder(tmp_path / "run").settings.replace(steps=5), data=digits, console=quiet, resume=True)
    assert list(more.losses()[0])[-1] == 5


@pytest.mark.parametrize("steps", [0, 2])
def test_it_goes_on_without_the_folder_it_began_from(stock, tmp_path, digits, make_settings, quiet, steps):
    stock.save_pretrained(tmp_path / "stock")
    settings = make_settings(tmp_path / "whole", model=tmp_path / "stock", config="D-hq", **NO_WIDTH)
    whole = train(settings, data=digits, console=quiet).load_model()

    def stop(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    settings = settings.replace(out=tmp_path / "run", steps=steps or 3, checkpoint_every=2)
    if steps:
        train(settings, data=digits, console=quiet)
    else:  # stopped before its first checkpoint
        with pytest.raises(KeyboardInterrupt):
            train(settings, data=digits, console=quiet, on_step=stop)
    shutil.rmtree(tmp_path / "stock")
    resumed = train(RunFolder(tmp_path / "run").settings.replace(steps=3), data=digits, console=quiet, resume=True)
    for name, value in resumed.load_model().state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
    with pytest.raises(CheckpointError, match="another architecture"):
        train(resumed.settings.replace(config="B-hq"), data=digits, console=quiet, resume=True)


def test_a_config_alone_is_trained_from_random_weights(stock, tmp_path, digits, make_settings, quiet):
    stock.save_config(tmp_path / "stock")
    settings = make_settings(tmp_path / "run", model=tmp_path / "stock", config="C-hq", **NO_WIDTH)
    assert train(settings, data=digits, console=quiet).load_model().config["alias_free"] == "C-hq"


def test_the_unet_of_a_pipeline_is_found(stock, tmp_path, digits, make_settings, quiet):
    DDPMPipeline(stock, DDPMScheduler()).save_pretrained(tmp_path / "pipe")
    settings = make_settings(tmp_path / "run", model=tmp_path / "pipe", padding_mode="circular", **NO_WIDTH)
    model = train(settings, data=digits, console=quiet).load_model()
    assert model.config["alias_free_padding_mode"] == "circular"


def test_what_does_not_fit_is_refused(stock, tmp_path, digits, make_settings, quiet):
    def refused(folder: Path, says: str, **changes) -> None:
        with pytest.raises(ArgumentError, match=says):
            train(make_settings(tmp_path / "run", model=folder, **NO_WIDTH | changes), data=digits, console=quiet)

    refused(tmp_path / "nothing", "has a config.json")
    stock.save_config(tmp_path / "stock")
    refused(tmp_path / "stock", "`base_channels` is of the paper's network", base_channels=8)
    refused(tmp_path / "stock", "`class_conditional` is of the paper's network", class_conditional=True)
    UNet2DModel(**SMALL | {"in_channels": 3}).save_config(tmp_path / "colour")
    refused(tmp_path / "colour", "in_channels 3 and the data have 1")
    deep = SMALL | {name: (SMALL[name][0],) * 5 for name in ("block_out_channels",)}
    deep |= {"down_block_types": ("DownBlock2D",) * 5, "up_block_types": ("UpBlock2D",) * 5}
    UNet2DModel(**deep).save_config(tmp_path / "deep")
    refused(tmp_path / "deep", "multiple of 16, not 8x8")
    UNet2DModel(**SMALL, num_class_embeds=3).save_config(tmp_path / "classes")
    refused(tmp_path / "classes", "class-conditional")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    refused(tmp_path / "text", "holds a UNet2DConditionModel")
    assert not (tmp_path / "run").exists()


def test_the_same_seed_gives_the_same_weights(stock, tmp_path, digits, make_settings, quiet):
    stock.save_config(tmp_path / "stock")
    a, b = (
        train(make_settings(tmp_path / name, model=tmp_path / "stock", **NO_WIDTH), data=digits, console=quiet)
        for name in "ab"
    )
    states = [run.load_model(ema=False).state_dict() for run in (a, b)]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_a_network_of_ours_is_gone_on_with_from_its_weights(tmp_path, digits, make_settings, quiet):
    first = train(make_settings(tmp_path / "first", steps=2, preconditioning="spectral"), digits, console=quiet)
    settings = make_settings(
        tmp_path / "run", model=first.model, base_channels=None, steps=1, lr=1e-6, ema_decay=0.0, config="D-hq"
    )
    run = train(settings, digits, console=quiet)
    before, model = first.load_model().state_dict(), run.load_model()
    assert (model.config["alias_free"], model.config["preconditioning"]) == ("D-hq", "spectral")
    moved = [float((v - before[k]).abs().max()) for k, v in model.state_dict().items()]
    assert 0 < max(moved) < 1e-4
    shutil.rmtree(first.path)
    train(RunFolder(run.path).settings.replace(steps=2), digits, resume=True, console=quiet)


def test_weights_and_settings_that_do_not_fit_a_network_of_ours_are_told(tmp_path, digits, make_settings, quiet):
    first = train(make_settings(tmp_path / "first", steps=1), digits, console=quiet)

    def refused(error: type[Exception], says: str, **changes) -> None:
        given = {"model": first.model, "base_channels": None, **changes}
        with pytest.raises(error, match=says):
            train(make_settings(tmp_path / "run", **given), digits, console=quiet)
        assert not (tmp_path / "run").exists()

    refused(ArgumentError, "has `base_channels` 8, not 16", base_channels=16)
    refused(ArgumentError, "has `num_train_timesteps` 1000, not 500", num_train_timesteps=500)
    refused(ArgumentError, "knows no classes and this run 10", class_conditional=True)
    refused(CheckpointError, "do not fit config R", config="R", padding_mode="circular")
    weights = first.model / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(CheckpointError, "do not fit")
