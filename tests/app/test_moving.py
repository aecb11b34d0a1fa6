"""What the tab Move samples: runs, and folders of diffusers that are as simple."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import diffusers
import pytest
import torch

from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel
from aliasfree.app.jobs import Job
from aliasfree.app.moving import START, Controls, Mover
from aliasfree.app.networks import Networks
from aliasfree.diffusion import PaperDDPMScheduler
from aliasfree.errors import AliasfreeError, ArgumentError


def controls(*runs: str, **changes: object) -> Controls:
    """Half a pixel to the right and a quarter down before the first of three steps."""
    fields = {
        "runs": list(runs), "seed": 0, "class": "none", "steps": 3, "scheduler": "ddpm-clipped", "guidance": 3,
        "rotate": 0, "right": 0.5, "down": 0.25, "zoom": 1, "method": "fourier", "noise": "co-moving", "when": START,
        "start": 0, "end": 1,
    }  # fmt: skip
    return Controls.read({**fields, **changes})


def shown(mover: Mover, asked: Controls) -> str:
    return str(mover.view(Job("me", "move", "sampling", lambda _: None, quick=True), asked, False))


def stock(**changes: object) -> diffusers.UNet2DModel:
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    fields = {"sample_size": 16, "in_channels": 1, "out_channels": 1, "norm_num_groups": 4, "layers_per_block": 1}
    return diffusers.UNet2DModel(block_out_channels=(8, 8), **blocks, **{**fields, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models and pipelines of diffusers, some of which can be moved."""
    folder = tmp_path_factory.mktemp("diffusers")
    torch.manual_seed(0)
    t = AliasFreeUNet2DModel("T", sample_size=16, in_channels=1, out_channels=1, base_channels=4)
    AliasFreePipeline(t, PaperDDPMScheduler(num_train_timesteps=500)).save_pretrained(folder / "t")
    diffusers.DDPMPipeline(stock(), diffusers.DDPMScheduler()).save_pretrained(folder / "stock")
    stock(num_class_embeds=7).save_pretrained(folder / "classes")
    for name, other in (
        ("velocity", {"prediction_type": "v_prediction"}),
        ("cosine", {"beta_schedule": "squaredcos_cap_v2"}),
    ):
        diffusers.DDIMPipeline(stock(), diffusers.DDIMScheduler(**other)).save_pretrained(folder / name)
    diffusers.LDMPipeline(
        diffusers.VQModel(block_out_channels=(4,), norm_num_groups=2, latent_channels=1),
        stock(),
        diffusers.DDIMScheduler(),
    ).save_pretrained(folder / "latents")
    stock().save_pretrained(folder / "pickled", safe_serialization=False)
    stock(sample_size=None).save_pretrained(folder / "sizeless")
    return folder


def test_pipelines_and_models_of_diffusers_are_moved_beside_one_another(folder, monkeypatch):
    monkeypatch.chdir(folder)
    networks = Networks([Path()])
    assert {"t", "stock", "classes", "velocity"} <= set(networks.movable())
    assert "latents" not in networks.movable()
    html = shown(Mover(networks), controls("t", "stock"))
    t, plain = (float(text) for text in re.findall(r"([\d.]+) dB", html))
    assert t > 60 > 30 > plain
    assert "T (t)" in html
    assert "UNet2DModel (stock)" in html


def test_a_model_is_asked_for_a_class_that_it_has(folder, monkeypatch):
    monkeypatch.chdir(folder)
    networks = Networks([Path()])
    assert networks.classes(["classes"]) == 7
    assert networks.classes(["classes", "stock"]) == 0
    assert " dB, 3 steps" in shown(Mover(networks), controls("classes", **{"class": "6"}, guidance=1))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("velocity", "was trained with another diffusion"),
        ("cosine", "was trained with another diffusion"),
        ("latents", "is no UNet2DModel, alone or in a pipeline without another network"),
        ("pickled", "no weights as .safetensors"),
        ("sizeless", "it needs a sample_size"),
    ],
)
def test_what_cannot_be_sampled_says_why(folder, monkeypatch, name, reason):
    monkeypatch.chdir(folder)
    with pytest.raises(AliasfreeError, match=re.escape(reason)):
        shown(Mover(Networks([Path()])), controls(name))


def test_steps_beyond_those_of_the_model_s_own_diffusion_are_refused(folder, monkeypatch, tmp_path):
    pipeline = AliasFreePipeline.from_pretrained(folder / "t")
    AliasFreePipeline(pipeline.unet, PaperDDPMScheduler(num_train_timesteps=20)).save_pretrained(tmp_path / "short")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="`steps` must be at most 19"):
        shown(Mover(Networks([Path()])), controls("short", steps=20))


def test_a_model_that_was_saved_anew_is_loaded_anew(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stock().save_pretrained("model")
    mover = Mover(Networks([Path("model")]))
    before = shown(mover, controls("model"))
    assert shown(mover, controls("model")) == before
    torch.manual_seed(1)
    stock().save_pretrained("model")
    assert shown(mover, controls("model")) != before


def test_a_scheduler_that_is_none_is_told(folder, monkeypatch, tmp_path):
    shutil.copytree(folder / "stock", tmp_path / "stock")
    (tmp_path / "stock" / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AliasfreeError, match="names the class 'UNet2DModel'"):
        shown(Mover(Networks([Path("stock")])), controls("stock"))
