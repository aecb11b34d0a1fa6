"""Whole samplers in motion."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel
from aliasfree.diffusion import make_scheduler
from aliasfree.errors import ArgumentError
from aliasfree.files import json_value
from aliasfree.measuring.sampler_equivariance import sampler_equivariance
from aliasfree.models.unet import UNet2DOutput
from aliasfree.results.metrics import SamplerEquivariance
from aliasfree.sampling.sampler import Sampler, SampleSettings


def sampler(config: str, scheduler: str = "ddpm", clip_rate: int = 1, **options: object) -> Sampler:
    """Of a network that was not trained, with the layers that begin at zero filled."""
    torch.manual_seed(0)
    unet = AliasFreeUNet2DModel(config, 16, 1, 1, base_channels=8, num_class_embeds=3, **options).eval()
    for parameter in unet.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    made = Sampler.__new__(Sampler)
    made.settings = SampleSettings(steps=6, scheduler=scheduler, class_label="each", batch_size=2)
    made.num_classes = 3
    made.pipeline = AliasFreePipeline(unet, make_scheduler(scheduler, clip_rate=clip_rate))
    return made


def test_the_image_of_moved_noise_is_the_moved_image_for_t_and_not_for_a():
    t, a = (sampler_equivariance(sampler(config), 3) for config in ("T", "A"))
    assert (t.periodic, a.periodic) == (True, False)
    assert [m.window for m in t.motions] == [(0.0, 0.0), (0.0, 1.0)]
    for ours, theirs in zip(t.motions, a.motions, strict=True):
        assert ours.eq_t.value > 100
        assert ours.eq_t_frac.value > 50
        assert theirs.eq_t_frac.value < ours.eq_t_frac.value - 20
        # its own limit is far below what it measures
        assert ours.eq_t_lanczos.value < ours.eq_t_frac.value - 20
        assert ours.eq_r.value < ours.eq_t_frac.value
    assert SamplerEquivariance.from_dict(json_value(t)) == t


def test_a_sampler_that_is_linear_in_every_pixel_turns_with_its_noise(monkeypatch):
    one = sampler("A")
    kept = one.pipeline.scheduler.alphas_cumprod

    def best_guess_of_white_data(sample, timestep, **_):
        return UNet2DOutput(sample=sample * (1 - kept[int(torch.as_tensor(timestep).flatten()[0])]).sqrt())

    monkeypatch.setattr(one.pipeline.unet, "forward", best_guess_of_white_data)
    (at_once,) = sampler_equivariance(one, 3, windows=((0.0, 0.0),)).motions
    assert at_once.eq_r.value > 80


def test_the_frame_has_to_move_with_the_noise(monkeypatch):
    one = sampler("T")
    assert sampler_equivariance(one, 2, rotations=False, windows=((0.0, 0.0),)).motions[0].eq_r is None
    unmoved = one.pipeline.unet.forward
    monkeypatch.setattr(one.pipeline.unet, "forward", lambda *args, frame, **more: unmoved(*args, **more))
    still = sampler_equivariance(one, 2, rotations=False, windows=((0.0, 0.0),)).motions[0]
    assert still.eq_t_frac.value < 40


@pytest.mark.parametrize("name", ["ddpm-clipped", "ddim-clipped", "dpm++-clipped"])
def test_clipping_at_pixels_costs_what_clipping_between_them_gives_back(name):
    pixels, between = (
        sampler_equivariance(sampler("T", name, rate), 2, rotations=False, windows=((0.0, 0.0),)).motions[0]
        for rate in (1, 8)
    )
    assert between.eq_t_frac.value > pixels.eq_t_frac.value + 10
    assert between.eq_t_frac.value > 50


def test_the_same_shifts_and_noise_come_in_any_batch_and_progress_ends():
    told: list[tuple[int, int]] = []
    one, other = sampler("A"), sampler("A")
    other.settings = SampleSettings(steps=6, class_label="each", batch_size=3)
    first = sampler_equivariance(one, 3, windows=((0.0, 0.0),), progress=lambda *done: told.append(done))
    second = sampler_equivariance(other, 3, windows=((0.0, 0.0),))
    assert first.motions[0].eq_t_frac.value == pytest.approx(second.motions[0].eq_t_frac.value, abs=1e-3)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    with pytest.raises(ArgumentError, match="`num`"):
        sampler_equivariance(one, 0)


def test_a_run_of_an_equivariant_config_is_clipped_between_the_pixels():
    for config, rate in (("T", 8), ("A", 1), ("D-hq", 1)):
        unet = AliasFreeUNet2DModel(config, 16, 1, 1, base_channels=4)
        run = SimpleNamespace(num_train_timesteps=1000, path="run", load_model=lambda ema, unet=unet: unet)
        made = Sampler(run, SampleSettings(scheduler="ddpm-clipped"), device="cpu")
        assert made.pipeline.scheduler.config["clip_rate"] == rate
