"""Saving, loading and sharing converted models, alone and in pipelines."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)

import aliasfree
from aliasfree import Config, FilterSpec, convert, revert
from aliasfree.errors import ArgumentError, ConfigError

CLASSES = {
    "UNet2DModel": (UNet2DModel, "AliasFreeStockUNet2DModel"),
    "UNet2DConditionModel": (UNet2DConditionModel, "AliasFreeUNet2DConditionModel"),
    "AutoencoderKL": (AutoencoderKL, "AliasFreeAutoencoderKL"),
    "ControlNetModel": (ControlNetModel, "AliasFreeControlNetModel"),
}
F32 = torch.float32


def assert_alike(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal up to the order of sums: weights that were read lie elsewhere in memory than those that were made."""
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_a_converted_model_comes_back_with_its_weights_bit_for_bit(make, run, name, tmp_path):
    model = convert(make(name, F32), "D-hq", padding_mode="circular", feed_forward=True)
    out = run(model)
    model.save_pretrained(tmp_path)
    ours = getattr(aliasfree, CLASSES[name][1])
    loaded = ours.from_pretrained(tmp_path)
    assert type(loaded) is type(model) is ours
    assert json.loads(loaded.to_json_string()) == json.loads(model.to_json_string()) | {"_name_or_path": str(tmp_path)}
    assert_alike(run(loaded.eval()), out)
    assert list(loaded.state_dict()) == list(make(name).state_dict())
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())
    assert type(revert(loaded)) is CLASSES[name][0]
    assert_alike(run(loaded), run(make(name, F32)))


@pytest.mark.parametrize("name", CLASSES)
def test_a_stock_checkpoint_loads_into_it(make, run, name, tmp_path):
    make(name, F32).save_pretrained(tmp_path)
    ours = getattr(aliasfree, CLASSES[name][1])
    loaded = ours.from_pretrained(tmp_path, alias_free="B-hq")
    assert loaded.config["alias_free"] == "B-hq"
    assert_alike(run(loaded.eval()), run(convert(make(name, F32), "B-hq")))
    assert ours.from_pretrained(tmp_path).config["alias_free"] == "D-hq"
    assert ours.from_pretrained(tmp_path, low_cpu_mem_usage=False).config["alias_free"] == "D-hq"


@pytest.mark.parametrize("name", CLASSES)
def test_plain_diffusers_loads_the_stock_model_and_says_so(make, run, name, tmp_path, caplog):
    convert(make(name, F32), "D-hq").save_pretrained(tmp_path)
    stock = CLASSES[name][0]
    logging.getLogger("diffusers").propagate = True
    with caplog.at_level(logging.WARNING, logger="diffusers"):
        loaded = stock.from_pretrained(tmp_path)
    assert "'alias_free': 'D-hq'" in caplog.text
    assert "not expected and will be ignored" in caplog.text
    assert_alike(run(loaded.eval()), run(make(name, F32)))


def test_a_config_without_a_name_is_kept(make, run, tmp_path):
    own = Config("D", FilterSpec(taps=8, kaiser_beta=3.0), FilterSpec(taps=10, kaiser_beta=5.0), oversample=4)
    model = convert(make("UNet2DModel", F32), own)
    model.save_pretrained(tmp_path)
    loaded = aliasfree.AliasFreeStockUNet2DModel.from_pretrained(tmp_path)
    assert Config.parse(loaded.config["alias_free"]) == own
    assert_alike(run(loaded.eval()), run(model))


def test_it_can_be_built_and_loaded_from_a_config(make, run):
    model = convert(make("UNet2DModel", F32), "C-hq")
    again = type(model).from_config(model.config)
    again.load_state_dict(model.state_dict())
    assert_alike(run(again.eval()), run(model))
    with pytest.raises(ConfigError, match="did you mean"):
        type(model)(alias_free="D-hp")


def test_it_builds_without_memory_for_its_weights(make):
    config = make("UNet2DModel").config
    with torch.device("meta"):
        model = aliasfree.AliasFreeStockUNet2DModel.from_config(config)
    assert all(p.is_meta for p in model.parameters())


def test_an_unconditional_pipeline_comes_back(make, tmp_path):
    pipe = DDPMPipeline(convert(make("UNet2DModel", F32), "D-hq"), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["unet"] == ["aliasfree", "AliasFreeStockUNet2DModel"]
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)

    def draw(p):
        return p(generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type="np").images

    state = pipe.unet.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in loaded.unet.state_dict().items())
    # stock pipelines too agree to the last bits only: loaded weights lie elsewhere in memory
    np.testing.assert_allclose(draw(loaded), draw(pipe), atol=1e-5)


def test_a_pipeline_with_three_converted_parts_comes_back(make, tmp_path):
    none = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    pipe = StableDiffusionControlNetPipeline(
        vae=convert(make("AutoencoderKL", F32), "B-hq"),
        unet=convert(make("UNet2DConditionModel", F32), "D-hq"),
        controlnet=convert(make("ControlNetModel", F32), "C-hq"),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        **none,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(tmp_path)
    loaded = StableDiffusionControlNetPipeline.from_pretrained(tmp_path, **none)

    def draw(p):
        p.set_progress_bar_config(disable=True)
        embeds = {k: torch.zeros(1, 3, 8) for k in ("prompt_embeds", "negative_prompt_embeds")}
        g = torch.Generator().manual_seed(0)
        return p(**embeds, image=torch.ones(1, 3, 32, 32), height=32, width=32, num_inference_steps=2, generator=g,
                 output_type="np").images  # fmt: skip

    assert [loaded.components[k].config["alias_free"] for k in ("vae", "unet", "controlnet")] == [
        "B-hq",
        "D-hq",
        "C-hq",
    ]
    np.testing.assert_allclose(draw(loaded), draw(pipe), atol=1e-5)


def test_a_process_that_does_not_know_aliasfree_gets_no_stock_model_in_silence(make, tmp_path, monkeypatch):
    DDPMPipeline(convert(make("UNet2DModel", F32), "D-hq"), DDPMScheduler()).save_pretrained(tmp_path)
    monkeypatch.delitem(sys.modules, "aliasfree")
    with pytest.raises(ValueError, match="import aliasfree before calling"):
        DiffusionPipeline.from_pretrained(tmp_path)


def test_what_is_pushed_to_a_hub_is_what_is_saved(make, run, tmp_path, monkeypatch):
    from diffusers.models import modeling_utils
    from diffusers.utils import hub_utils

    def keep(self, working_dir, repo_id, **_):
        (tmp_path / "hub").mkdir()
        for file in Path(working_dir).iterdir():
            (tmp_path / "hub" / file.name).write_bytes(file.read_bytes())

    # the two calls that reach the network
    monkeypatch.setattr(hub_utils, "create_repo", lambda repo_id, **_: type("Repo", (), {"repo_id": repo_id}))
    monkeypatch.setattr(modeling_utils.ModelMixin, "_upload_folder", keep)
    model = convert(make("UNet2DModel", F32), "D-hq")
    model.push_to_hub("someone/something")
    names = {file.name for file in (tmp_path / "hub").iterdir()}
    assert {"config.json", "diffusion_pytorch_model.safetensors"} <= names
    loaded = aliasfree.AliasFreeStockUNet2DModel.from_pretrained(tmp_path / "hub")
    assert_alike(run(loaded.eval()), run(model))


def test_a_class_of_the_users_own_is_saved_stock_and_converted_after_loading(make, run, tmp_path):
    class Mine(UNet2DModel): ...

    model = Mine.from_config(make("UNet2DModel").config).to(F32).eval()
    stock = run(model)
    converted = run(convert(model, "D-hq"))
    assert type(model) is Mine
    with pytest.raises(ArgumentError, match=r"save revert\(model\), and convert what from_pretrained"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    revert(model).save_pretrained(tmp_path)
    loaded = Mine.from_pretrained(tmp_path).eval()
    assert_alike(run(loaded), stock)
    assert_alike(run(convert(loaded, "D-hq")), converted)
