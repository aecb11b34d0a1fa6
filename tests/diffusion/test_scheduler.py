from __future__ import annotations

import pytest
import torch

from aliasfree.diffusion import PaperDDPMScheduler, make_scheduler, training_loss
from aliasfree.errors import ArgumentError
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.nn import time_encoding
from aliasfree.ops import rotate2d


@pytest.mark.parametrize("total", [1000, 50])
def test_the_noise_schedule_is_the_published_one(golden, total):
    g, scheduler = golden("schedule"), PaperDDPMScheduler(total)
    for ours, key in ((scheduler.betas, "beta"), (scheduler.alphas, "alpha"), (scheduler.alphas_cumprod, "alpha_hat")):
        assert torch.equal(ours, g[f"T{total}.{key}"])
    assert scheduler.timesteps.tolist() == list(range(total - 1, 0, -1))


def test_noising_and_time_encoding_are_the_published_ones(golden):
    g = golden("schedule")
    noisy = PaperDDPMScheduler().add_noise(g["forward.x0"], g["forward.eps"], g["forward.t"])
    assert (noisy - g["forward.xt"]).abs().max() < 1e-6
    assert (time_encoding(g["pos.t"]) - g["pos.enc256"]).abs().max() < 2e-4


@pytest.mark.parametrize("run", ["v0.theta_none", "v0.theta_45", "v3.theta_none", "v3.theta_45"])
def test_every_step_of_the_published_sampler_is_reproduced(golden, run):
    """The predictions are the stored ones, so that each of the 49 steps (and rotations) is checked on its own."""
    g, scheduler = golden("sampling_c1_s16"), PaperDDPMScheduler(50)
    x = scheduler.step(g[f"{run}.eps"][49], 49, _first_state(g), noise=g["noise"][49]).prev_sample
    for t in scheduler.timesteps.tolist():
        if t < 49:
            x = scheduler.step(g[f"{run}.eps"][t], t, g[f"{run}.x"][t + 1], noise=g["noise"][t]).prev_sample
        if run.endswith("45"):
            x = rotate2d(x, 45 / scheduler.motion_steps, method="spline")
        assert (x - g[f"{run}.x"][t]).abs().max() < 5e-5


def _first_state(g):
    torch.manual_seed(424242)
    return torch.randn(2, 1, 16, 16)


def test_the_last_step_adds_no_noise_and_the_others_do():
    scheduler, x = PaperDDPMScheduler(50), torch.randn(2, 1, 8, 8)

    def step(t, noise):
        return scheduler.step(x, t, x, noise=noise * torch.ones_like(x)).prev_sample

    assert torch.equal(step(1, 0), step(1, 5))
    assert not torch.allclose(step(2, 0), step(2, 5))


@pytest.mark.parametrize("steps", [1, 2, 20, 49])
def test_fewer_steps_visit_evenly_spaced_times_down_to_one(steps):
    scheduler = PaperDDPMScheduler(50)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    assert len(times) == steps == len(set(times))
    assert times[0] == 49
    assert steps == 1 or times[-1] == 1
    assert scheduler.motion_steps == (50 if steps == 49 else steps)


def test_a_step_between_any_two_times_keeps_the_variance_of_pure_noise():
    """For data that are themselves white noise the true eps is sqrt(1 - ahat) x, and x_t stays standard normal."""
    scheduler = PaperDDPMScheduler(1000)
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 32, 32, generator=generator, dtype=torch.float64)
    for t in scheduler.timesteps.tolist()[:-1]:
        eps = (1 - scheduler.alphas_cumprod[t]).sqrt() * x
        x = scheduler.step(eps, t, x, generator=generator).prev_sample
        # "fixed large" noise adds a little more than the posterior holds
        assert 0.98 < x.var().item() < 1.25


def test_the_loss_is_the_error_of_the_predicted_noise_at_times_one_to_the_last():
    seen = []

    class Network:
        def __init__(self, scheduler):
            self.scheduler = scheduler

        def __call__(self, noisy, t):
            seen.append(t)
            ahat = self.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
            return type("Output", (), {"sample": noisy / (1 - ahat).sqrt()})

    scheduler = PaperDDPMScheduler(4)
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(256, 1, 8, 8)
    assert training_loss(Network(scheduler), zeros, scheduler, generator).item() == pytest.approx(0, abs=1e-10)
    assert training_loss(Network(scheduler), zeros + 1, scheduler, generator).item() > 0.1
    assert set(torch.cat(seen).tolist()) == {1, 2, 3}


def test_dropped_labels_become_the_null_class():
    model = AliasFreeUNet2DModel("A", 8, 1, 1, base_channels=8, num_class_embeds=3)
    x, labels, scheduler = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), PaperDDPMScheduler()

    def loss(labels, dropout):
        return training_loss(model, x, scheduler, torch.Generator().manual_seed(1), labels, dropout).item()

    assert loss(labels, 1.0) == pytest.approx(loss(torch.full((4,), 3), 1.0), abs=1e-7)
    assert loss(labels, 1.0) != pytest.approx(loss(labels, 0.0), abs=1e-7)


def test_unknown_schedulers_and_impossible_step_numbers_are_refused():
    with pytest.raises(ArgumentError, match="did you mean 'ddim'"):
        make_scheduler("ddin")
    with pytest.raises(ArgumentError, match=r"1\.\.999"):
        PaperDDPMScheduler().set_timesteps(1000)
    scheduler = PaperDDPMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ArgumentError, match="not visited"):
        scheduler.step(torch.zeros(1, 1, 8, 8), 998, torch.zeros(1, 1, 8, 8))
