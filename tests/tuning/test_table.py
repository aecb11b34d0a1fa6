"""The command from a stock folder to the table: what it writes, and that the figures are those of the models."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from typer.testing import CliRunner

from aliasfree import convert
from aliasfree.cli import app
from aliasfree.cli import tune as command
from aliasfree.evaluation.equivariance import grid_agreement, translation_agreement
from aliasfree.experiments.tune import TableSettings
from aliasfree.settings import options
from aliasfree.tuning import TuneSettings
from aliasfree.tuning.settings import LOSSES, default_weights
from tests.tuning.conftest import small_autoencoder

TINY = ("--data", "digits", "--num-images", "32", "--steps", "2", "--batch-size", "2", "--measure-images", "4",
        "--table-images", "6", "--distance-images", "8", "--device", "cpu", "--seed", "3")  # fmt: skip


def test_the_command_ends_with_a_table_of_stock_converted_and_tuned(tmp_path, stock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["tune", str(stock["autoencoder"]), "--config", "D-hq", "--out", "run", *TINY])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "run" / "table.json").read_text())
    assert list(found["figures"]) == ["stock", "converted", "tuned"]
    named = {f"{part} {what}" for part in ("encoder", "decoder", "round trip") for what in (
        "EQ-T, plane", "EQ-T, inside", "EQ-T_frac, plane", "EQ-T_frac, inside", "flip", "rot90")}  # fmt: skip
    named |= {"PSNR", "PSNR after 10 round trips", "latent power above half of Nyquist", "rFID"}
    for figures in found["figures"].values():
        assert set(figures) == named
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {
        "table.md",
        "curve.png",
        "spectra.png",
        "curve.json",
        "model",
    }
    assert "stock" in done.stdout
    table = (tmp_path / "run" / "table.md").read_text()
    assert table.startswith("|  | stock | converted | tuned |")

    again = CliRunner().invoke(app, ["analyze", "run", "--images", "1"])
    assert again.exit_code == 0, again.output
    assert "AliasFreeAutoencoderKL" in again.stdout.replace("\n", "")


def test_of_a_unet_it_has_test_error_and_the_distance_of_its_samples(tmp_path, stock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--config", "T", "--out", "run", *TINY, "--sample-steps", "2"]
    done = CliRunner().invoke(app, ["tune", str(stock["unet"]), *options])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "run" / "table.json").read_text())["figures"]
    assert set(figures["tuned"]) == {
        "EQ-T, plane", "EQ-T, inside", "EQ-T_frac, plane", "EQ-T_frac, inside", "flip", "rot90", "test error",
        "FD against the teacher",
    }  # fmt: skip
    assert figures["tuned"]["EQ-T, plane"]["value"] > figures["stock"]["EQ-T, plane"]["value"] + 10


def test_a_decoder_is_measured_by_moving_its_latents_and_its_images_the_factor_as_far():
    model = convert(small_autoencoder(), "D-ideal", "circular").double().eval()
    z = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        whole = translation_agreement(lambda v: model.decode(v).sample, z, periodic=True, ratio=2).db
        wrong = translation_agreement(lambda v: model.decode(v).sample.flip(-1), z, periodic=True, ratio=2).db
    assert whole > 200
    assert wrong < 10


@pytest.mark.parametrize("ratio", [2, 0.5])
def test_resizing_by_the_brick_wall_commutes_with_every_shift(ratio):
    from aliasfree import downsample2d, upsample2d
    from aliasfree.evaluation.spectra import without_nyquist

    x = without_nyquist(torch.randn(4, 1, 16, 16, dtype=torch.float64))
    fn = (lambda v: upsample2d(v, "ideal")) if ratio == 2 else (lambda v: without_nyquist(downsample2d(v, "ideal")))
    for fractional in (False, True):
        assert translation_agreement(fn, x, fractional, periodic=True, ratio=ratio).db > 200


def test_flips_and_turns_of_a_map_that_changes_the_size():
    x = torch.randn(2, 1, 8, 8)
    assert grid_agreement(lambda v: v[..., ::2, ::2], x, lambda v: v.flip(-1)).db < 10
    pooled = grid_agreement(lambda v: torch.nn.functional.avg_pool2d(v, 2), x, lambda v: v.rot90(1, (2, 3)))
    assert pooled.db > 100


def test_every_setting_has_an_option_that_shows_its_default():
    shown = {name: p.annotation for name, p in inspect.signature(command.tune, eval_str=True).parameters.items()}
    assert shown.keys() == {*options(TuneSettings), *options(TableSettings), "table_images", "resume"} - {"images"}
    assert shown["lr"].__metadata__[0].show_default == "0.0001"
    assert shown["table_images"].__metadata__[0].show_default == "128"
    for name in LOSSES:
        vae, unet = (default_weights(kind).get(name, 0) for kind in ("autoencoder", "unet"))
        text = shown[name].__metadata__[0].show_default
        assert text.split("; UNet ") in ([f"{vae:g}"], [f"{vae:g}", f"{unet:g}"]), name
