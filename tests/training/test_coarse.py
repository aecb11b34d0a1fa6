"""The first steps at half the side: the lower half of the frequencies of the same process."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from aliasfree import AliasFreePipeline
from aliasfree.data import open_images
from aliasfree.diffusion import make_scheduler, sample_generators
from aliasfree.nn import Frame
from aliasfree.pictures import grid, to_uint8
from aliasfree.training import RunFolder, train
from aliasfree.training.coarse import coarse_frame, coarse_images
from aliasfree.training.losses import read_losses


def pink(n: int, side: int) -> torch.Tensor:
    """Periodic images whose power falls over frequency as that of photographs."""
    f = torch.fft.fftfreq(side)
    radius = (f[:, None] ** 2 + f[None, :] ** 2).sqrt().clamp(min=1 / side)
    noise = torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    return torch.fft.ifft2(torch.fft.fft2(noise) / radius).real


def power_over_white_noise(x: torch.Tensor) -> torch.Tensor:
    """Of images (N, 1, S, S), by whole cycles over the picture, 0 .. S/2 - 1; white noise of unit variance has 1."""
    side = x.shape[-1]
    f = torch.fft.fftfreq(side) * side
    cycles = (f[:, None] ** 2 + f[None, :] ** 2).sqrt().round()
    power = (torch.fft.fft2(x.double()).abs() ** 2 / side**2).mean((0, 1))
    return torch.stack([power[cycles == k].mean() for k in range(side // 2)])


def test_each_frequency_has_the_power_over_white_noise_that_the_whole_image_has():
    x = pink(64, 64)
    white = torch.randn(64, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert power_over_white_noise(white)[1:].numpy() == pytest.approx(1, abs=0.25)
    whole, coarse = power_over_white_noise(x), power_over_white_noise(coarse_images(x))
    # up to where the filter's slope begins, below the coarse images' Nyquist frequency of 16
    assert coarse[1:10].numpy() == pytest.approx(whole[1:10].numpy(), rel=0.03)


def test_a_frame_is_told_in_pixels_of_twice_the_size():
    frame = coarse_frame(Frame(torch.tensor([30.0]), (torch.tensor([4.0]), torch.tensor([-2.0])), 1.0))
    assert [float(v) for v in frame.translate] == [2.0, -1.0]
    assert float(frame.rotate) == 30.0
    assert coarse_frame(None) is None


COARSE = {"image_size": 16, "base_channels": 4, "steps": 4, "preconditioning": "spectral", "checkpoint_every": 1}


@pytest.fixture
def digits_16(tmp_path):
    return open_images("digits", image_size=16, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_stopped_before_at_and_after_the_switch_ends_with_the_same_bits(
    tmp_path, digits_16, make_settings, quiet, final_numbers, assert_same_bits, stop_after
):
    whole = train(make_settings(tmp_path / "whole", coarse_steps=2, **COARSE), digits_16, console=quiet)
    parts = make_settings(tmp_path / "parts", coarse_steps=2, **COARSE)

    def stop(step: int, loss: float) -> None:
        if step == stop_after + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts, digits_16, on_step=stop, console=quiet)
    resumed = train(parts, digits_16, resume=True, console=quiet)
    assert_same_bits(final_numbers(resumed), final_numbers(whole))


def test_a_step_after_the_switch_is_an_ordinary_one(tmp_path, digits_16, make_settings, quiet):
    run = train(make_settings(tmp_path / "run", coarse_steps=2, **COARSE | {"steps": 2}), digits_16, console=quiet)
    shutil.copytree(run.path, tmp_path / "other")
    first = train(run.settings.replace(steps=4), digits_16, resume=True, console=quiet)
    other = RunFolder(tmp_path / "other")
    second = train(other.settings.replace(steps=4, coarse_steps=0), digits_16, resume=True, console=quiet)
    losses = [[row["loss"] for row in read_losses(r.losses_file)] for r in (first, second)]
    assert losses[0] == losses[1]
    weights = [load_file(r.model / "diffusion_pytorch_model.safetensors") for r in (first, second)]
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    assert first.load_model().config["spectrum"] == second.load_model().config["spectrum"]


def test_a_grid_of_samples_waits_for_the_whole_side_and_is_clipped(tmp_path, digits_16, make_settings, quiet):
    settings = make_settings(
        tmp_path / "run", image_size=16, steps=3, coarse_steps=2, sample_every=1, sample_num=2, sample_steps=4
    )
    run = train(settings, digits_16, console=quiet)
    assert [path.name for path in run.samples.iterdir()] == ["step-00000003.png"]
    pipeline = AliasFreePipeline(run.load_model(), make_scheduler("ddpm-clipped"))
    images = pipeline(
        2, num_inference_steps=4, generator=sample_generators(settings.seed, range(2)), output_type="pt"
    ).images
    expected = grid(to_uint8(images * 2 - 1))
    drawn = Image.open(run.samples / "step-00000003.png", formats=["PNG"])
    assert np.abs(np.asarray(drawn, float) - np.asarray(expected, float)).max() <= 1
