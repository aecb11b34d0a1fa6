"""The example scripts, run on models made here."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiffusionPipeline, StableDiffusionPipeline

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def script(monkeypatch):
    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    return run


def test_a_pretrained_unet_is_converted_and_saved(script, make, tmp_path, capsys):
    DDPMPipeline(make("UNet2DModel", torch.float32), DDPMScheduler()).save_pretrained(tmp_path / "stock")
    script("convert_pretrained.py", tmp_path / "stock", tmp_path / "out", "--config", "D-hq")
    assert "unet: Config D-hq: " in capsys.readouterr().out
    assert DiffusionPipeline.from_pretrained(tmp_path / "out").unet.config["alias_free"] == "D-hq"


def test_plain_training_saves_a_pipeline_that_loads(script, tmp_path):
    script("train_plain_diffusers.py", tmp_path / "out", "--steps", 2)
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    assert pipe.unet.config["alias_free"] == "D-hq"
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 1)


def test_that_script_has_forty_lines_at_most():
    assert len((EXAMPLES / "train_plain_diffusers.py").read_text().splitlines()) <= 40


def test_stable_diffusion_draws_turned_pictures(script, make, tmp_path, monkeypatch):
    from diffusers import DDIMScheduler
    from PIL import Image

    none = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    unet, vae = (make(name, torch.float32) for name in ("UNet2DConditionModel", "AutoencoderKL"))
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = StableDiffusionPipeline(vae=vae, unet=unet, scheduler=scheduler, requires_safety_checker=False, **none)
    pipe.save_pretrained(tmp_path / "stock")
    load = StableDiffusionPipeline.from_pretrained
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda name: load(name, **none))
    # there is no text encoder here to make something of a prompt
    text = torch.zeros(1, 3, 8)
    monkeypatch.setattr(StableDiffusionPipeline, "encode_prompt", lambda *_, **__: (text, text))
    script("convert_and_rotate.py", tmp_path / "stock", "a leaf", tmp_path / "leaf.png", "--steps", 3)
    assert Image.open(tmp_path / "leaf.png").size == (3 * 32, 32)
