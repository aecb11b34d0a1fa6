"""What cannot be tuned is refused in one sentence, and nothing is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, DiTTransformer2DModel, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from typer.testing import CliRunner

from aliasfree import convert
from aliasfree.cli import app
from aliasfree.errors import AliasfreeError, ArgumentError, ConfigError, RunError
from aliasfree.tuning import TuneSettings, tune
from tests.tuning.conftest import small_autoencoder, small_unet


def refusal(settings: TuneSettings, quiet: Any) -> str:
    """The sentence; nothing may be there afterwards that was not before."""
    here = settings.out.parent
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    with pytest.raises(AliasfreeError) as found:
        tune(settings, console=quiet)
    after = {p: p.read_bytes() for p in here.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == before
    return str(found.value)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (
            lambda: DiTTransformer2DModel(num_attention_heads=1, attention_head_dim=4, num_layers=1, norm_num_groups=2),
            "holds a DiTTransformer2DModel; UNet2DModel, UNet2DConditionModel and autoencoders like AutoencoderKL",
        ),
        (lambda: VQModel(block_out_channels=(8,), norm_num_groups=4), "has no distribution of latents"),
        (
            lambda: AutoencoderTiny(
                encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4),
                num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
            ),
            "has no distribution of latents",
        ),
        (lambda: convert(small_autoencoder(), "D-hq"), "holds a converted model"),
        (lambda: small_unet(num_class_embeds=3), "num_class_embeds"),
        (lambda: small_unet(in_channels=5), "sees more channels than it predicts"),
        (lambda: small_unet(in_channels=4, out_channels=4), "which no image has; give the autoencoder"),
    ],
    ids=["transformer", "VQ", "tiny", "converted", "classes", "inpainting", "latents"],
)  # fmt: skip
def test_a_model_of_another_kind(tmp_path, make_settings, quiet, model, what):
    model().save_pretrained(tmp_path / "model")
    assert what in refusal(make_settings(tmp_path / "run", model=tmp_path / "model"), quiet)


def test_a_folder_without_a_model(tmp_path, make_settings, quiet):
    assert "is no folder of a diffusers model" in refusal(make_settings(tmp_path / "run", model=tmp_path / "no"), quiet)


def test_a_conditional_unet_without_embeddings_or_with_others(tmp_path, make_settings, quiet):
    small = {
        "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16, "in_channels": 1,
        "out_channels": 1, "cross_attention_dim": 6, "attention_head_dim": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    UNet2DConditionModel(**small).save_pretrained(tmp_path / "model")
    settings = make_settings(tmp_path / "run", model=tmp_path / "model", steps=1, measure_every=1)
    assert "give a safetensors file of encoder_hidden_states (M, L, 6)" in refusal(settings, quiet)
    save_file({"a": torch.randn(3, 4, 5)}, tmp_path / "wrong.safetensors")
    assert "holds a (3, 4, 5)" in refusal(settings.replace(embeddings=tmp_path / "wrong.safetensors"), quiet)
    save_file({"a": torch.randn(3, 4, 6)}, tmp_path / "right.safetensors")
    run = tune(settings.replace(embeddings=tmp_path / "right.safetensors"), console=quiet)
    assert type(run.load_model()).__name__ == "AliasFreeUNet2DConditionModel"


def test_losses_that_a_unet_does_not_have_and_no_loss_at_all(tmp_path, make_settings, quiet):
    assert "`kl` is a loss of autoencoders" in refusal(make_settings(tmp_path / "run", "unet", kl=1.0), quiet)
    nothing = {"latents": 0, "reconstruction": 0, "fractional": 0}
    assert "Every loss has the weight 0" in refusal(make_settings(tmp_path / "run", **nothing), quiet)


def test_an_out_that_holds_something_or_the_teacher(tmp_path, make_settings, quiet):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    assert "exists; give another `out`" in refusal(make_settings(tmp_path / "full"), quiet)
    assert (tmp_path / "full" / "note").read_text() == "mine"
    small_autoencoder().save_pretrained(tmp_path / "model")
    assert "`out`" in refusal(make_settings(tmp_path / "model", model=tmp_path / "model"), quiet)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"fractional": -1.0}, "`fractional` is the weight of a loss"),
        ({"kl": float("nan")}, "`kl` must be a finite number"),
        ({"config": "R"}, "a network of its own"),
        ({"config": "D-3N"}, "did you mean"),
        ({"lora": -1}, "`lora` must be a whole number"),
        ({"most_lost": 0}, "`most_lost` must be a positive number"),
        ({"part": "text_encoder"}, "There is no `part`"),
    ],
)
def test_a_value_out_of_range(changes, what):
    with pytest.raises((ArgumentError, ConfigError), match=what):
        TuneSettings(**{"model": "m", "config": "T", "out": Path("o"), **changes})


def test_the_command_line_says_it_with_its_options(tmp_path, monkeypatch, stock):
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["tune", *arguments])
        assert done.exit_code == 2, done.output
        assert not list(tmp_path.iterdir())
        return done.stderr.strip()

    model = str(stock["autoencoder"])
    assert said() == "error: Tuning needs the folder of a model and --config and --out; see `aliasfree tune --help`."
    assert "--fractional is the weight of a loss" in said(model, "--config", "T", "--out", "x", "--fractional", "-1")
    assert "nothing" in said(model, "--config", "T", "--out", "x", "--data", "nothing")


def test_sizes_that_the_autoencoder_does_not_divide(tmp_path, make_settings, quiet):
    said = refusal(make_settings(tmp_path / "run", image_size=(16, 15)), quiet)
    assert "must be a multiple of 2, not 16x15; try 16x16" in said


def test_more_than_fits_into_memory_or_onto_the_disk(tmp_path, make_settings, quiet):
    assert "GB of memory and this machine has" in refusal(make_settings(tmp_path / "run", batch_size=10**12), quiet)
    assert "of losses.csv" in refusal(make_settings(tmp_path / "run", steps=10**30), quiet)


def test_a_tuned_run_without_its_checkpoints_is_not_begun_again(tmp_path, make_settings, quiet):
    run = tune(make_settings(tmp_path / "run", steps=1, measure_every=1), console=quiet)
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunError, match=r"no checkpoint to go on from in checkpoints/.*start anew in another `out`"):
        tune(make_settings(tmp_path / "run", steps=2, measure_every=1), resume=True, console=quiet)
