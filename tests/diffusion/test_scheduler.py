"""The paper's schedule and sampler, and samplers that must hit their marks for any number of steps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from aliasfree.diffusion import SCHEDULERS, PaperDDPMScheduler, Rotation, make_scheduler, sample_generators
from aliasfree.diffusion.scheduler import AnyStepDDIMScheduler, ClippedDDIMScheduler, ClippedDDPMScheduler
from aliasfree.errors import ArgumentError

STEPS = (1, 2, 3, 7, 50, 60, 333, 500, 501, 667, 998, 999)


@pytest.mark.parametrize("total", [50, 1000])
def test_the_noise_schedule_is_the_published_one(golden, total: int) -> None:
    g, s = golden("schedule"), PaperDDPMScheduler(total)
    for ours, key in ((s.betas, "beta"), (s.alphas, "alpha"), (s.alphas_cumprod, "alpha_hat")):
        torch.testing.assert_close(ours, g[f"T{total}.{key}"], rtol=1e-5, atol=0)


def test_noising_is_the_published_one(golden) -> None:
    g = golden("schedule")
    noisy = PaperDDPMScheduler().add_noise(g["forward.x0"], g["forward.eps"], g["forward.t"])
    assert (noisy - g["forward.xt"]).abs().max() < 1e-6


def test_full_length_visits_all_times_but_zero() -> None:
    s = PaperDDPMScheduler(50)
    assert s.timesteps.tolist() == list(range(49, 0, -1))
    s.set_timesteps(49)
    assert s.timesteps.tolist() == list(range(49, 0, -1))


@pytest.mark.parametrize("run", ["v0.theta_none", "v0.theta_45", "v3.theta_none", "v3.theta_45"])
def test_the_published_chain_of_steps_and_turns_is_reproduced(golden, run: str) -> None:
    """Predictions and noise are the stored ones, the state is ours from the first step to the last."""
    g, s = golden("sampling_c1_s16"), PaperDDPMScheduler(50)
    motion = Rotation(45.0 if run.endswith("45") else 0.0, "spline")
    x = g["x_T"]
    for i, t in enumerate(s.timesteps.tolist()):
        x = s.step(g[f"{run}.eps"][t], t, x, noise=g["noise"][t]).prev_sample
        x = motion.move(x, i / s.motion_steps, (i + 1) / s.motion_steps)
        assert (x - g[f"{run}.x"][t]).abs().max() < 5e-5, t
    assert (x - g[f"{run}.x_final_f64"]).abs().max() < 5e-5


def test_the_last_step_adds_no_noise_and_the_one_before_does() -> None:
    s, x = PaperDDPMScheduler(10), torch.ones(1, 1, 2, 2)
    for t, same in ((1, True), (2, False)):
        a, b = (s.step(x, t, x, noise=torch.full_like(x, v)).prev_sample for v in (0.0, 5.0))
        assert torch.equal(a, b) == same


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", STEPS)
def test_any_number_of_steps_falls_from_the_noisiest_time_without_repeats_or_time_zero(name: str, steps: int) -> None:
    s = make_scheduler(name)
    s.set_timesteps(steps)
    times = s.timesteps.tolist()
    assert len(times) == steps
    assert times[0] == 999
    assert times[-1] >= 1
    gaps = [a - b for a, b in itertools.pairwise(times)]
    assert all(g >= 1 for g in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("ddpm", lambda steps: 2.4 / steps + 0.004),  # first order
        ("ddim", lambda steps: 3.0 / steps + 0.004),  # first order; diffusers' own is off by 0.32 at 600 steps
        ("dpm++", lambda steps: 0.004),  # second order
    ],
)
def test_with_the_exact_network_of_gaussian_data_the_spread_comes_out(name: str, bar) -> None:
    """Data N(0, sigma^2) have the exact noise prediction eps = x sqrt(1-ahat) / (ahat sigma^2 + 1 - ahat)."""
    sigma, ahat = 0.5, PaperDDPMScheduler().alphas_cumprod.tolist()
    for steps in (50, 61, 300, 600, 999):
        s = make_scheduler(name)
        s.set_timesteps(steps)
        x = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
        x /= x.std()
        generator = torch.Generator().manual_seed(1)
        for t in s.timesteps:
            a = ahat[int(t)]
            eps = x * math.sqrt(1 - a) / (a * sigma**2 + 1 - a)
            x = s.step(eps, t, x, **({"generator": generator} if name == "ddpm" else {})).prev_sample
        assert float(x.std()) / sigma == pytest.approx(1, abs=bar(steps) + 0.005 * (name == "ddpm")), steps


def test_an_ancestral_step_between_any_two_times_keeps_pure_noise_standard_normal() -> None:
    """For data that are white noise themselves the true eps is sqrt(1 - ahat) x, and x_t stays standard normal."""
    s = PaperDDPMScheduler()
    s.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 1, 32, 32, generator=generator, dtype=torch.float64)
    for t in s.timesteps.tolist()[:-1]:
        eps = (1 - s.alphas_cumprod[t]).sqrt() * x
        x = s.step(eps, t, x, generator=generator).prev_sample
        # "fixed large" noise adds a little more than the posterior holds
        assert 0.97 < x.var().item() < 1.25


def test_ddim_is_diffusers_where_the_number_of_steps_divides_the_training_steps() -> None:
    theirs = DDIMScheduler(1000, clip_sample=False, timestep_spacing="trailing")
    mine = make_scheduler("ddim")
    x, eps, noise = (torch.randn(2, 1, 4, 4, dtype=torch.float64) for _ in range(3))
    for steps in (10, 50):
        mine.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert mine.timesteps.tolist() == theirs.timesteps.tolist()
        for t in mine.timesteps:
            torch.testing.assert_close(
                mine.step(eps, t, x).prev_sample, theirs.step(eps, t, x).prev_sample, atol=1e-5, rtol=1e-5
            )
            if t != mine.timesteps[-1]:
                a = mine.step(eps, t, x, eta=0.7, noise=noise).prev_sample
                b = theirs.step(eps, t, x, eta=0.7, variance_noise=noise).prev_sample
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_ddim_with_eta_one_has_the_small_posterior_variance() -> None:
    s = AnyStepDDIMScheduler(1000)
    s.set_timesteps(100)
    x, zero = torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    t, after = s.timesteps[3:5].tolist()
    ahat, ahat_after = s.alphas_cumprod[t].item(), s.alphas_cumprod[after].item()
    spread = s.step(zero, t, x, eta=1.0, noise=torch.ones_like(x)).prev_sample.mean().item()
    assert spread**2 == pytest.approx((1 - ahat_after) / (1 - ahat) * (1 - ahat / ahat_after), rel=1e-6)


def test_one_generator_a_sample_makes_the_step_independent_of_the_batch() -> None:
    s, x, eps = PaperDDPMScheduler(20), torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    together = s.step(eps, 10, x, generator=sample_generators(3, [0, 1, 2])).prev_sample
    alone = s.step(eps[2:], 10, x[2:], generator=sample_generators(3, [2])).prev_sample
    torch.testing.assert_close(together[2:], alone, rtol=1e-6, atol=1e-6)


def test_the_motion_is_cut_into_one_share_more_at_full_length_only() -> None:
    s = PaperDDPMScheduler(50)
    assert s.motion_steps == 50
    s.set_timesteps(48)
    assert s.motion_steps == 48


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_saved_scheduler_comes_back(name: str, tmp_path) -> None:
    s = make_scheduler(name, num_train_timesteps=77)
    s.save_pretrained(tmp_path)
    again = type(s).from_pretrained(tmp_path)
    again.set_timesteps(9)
    s.set_timesteps(9)
    assert again.timesteps.tolist() == s.timesteps.tolist()
    torch.testing.assert_close(again.alphas_cumprod, s.alphas_cumprod)


def test_other_schedulers_take_the_noise_schedule_over() -> None:
    other = DPMSolverMultistepScheduler.from_config(PaperDDPMScheduler(num_train_timesteps=50, beta_end=0.03).config)
    torch.testing.assert_close(other.alphas_cumprod, PaperDDPMScheduler(50, beta_end=0.03).alphas_cumprod)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: make_scheduler("dmp++"), r"did you mean 'dpm\+\+'"),
        (lambda: PaperDDPMScheduler(50).set_timesteps(50), "1..49, not 50"),
        (lambda: PaperDDPMScheduler(50).set_timesteps(0), "1..49, not 0"),
        (lambda: make_scheduler("dpm++", 50).set_timesteps(0), "1..49, not 0"),
        (lambda: PaperDDPMScheduler(50).step(torch.zeros(1), 0, torch.zeros(1)), "timestep 0 is not visited"),
        (lambda: PaperDDPMScheduler(1), "at least 2"),
        (lambda: PaperDDPMScheduler(50, beta_start=0.1, beta_end=0.02), "beta must rise"),
    ],
)
def test_bad_arguments_get_a_sentence_that_names_the_cure(call, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        call()


def test_clipped_ddim_is_diffusers_own_where_the_steps_divide_the_schedule() -> None:
    ours = ClippedDDIMScheduler()
    theirs = DDIMScheduler(beta_schedule="linear", clip_sample=True, timestep_spacing="trailing")
    x = 3 * torch.randn(2, 1, 8, 8)
    for s in (ours, theirs):
        s.set_timesteps(50)
    for t in (999, 499, 19):
        eps = torch.randn_like(x)
        expected = theirs.step(eps, t, x, use_clipped_model_output=True).prev_sample
        assert (ours.step(eps, t, x).prev_sample - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["ddim", "dpm++"])
def test_clipping_changes_nothing_of_predictions_within_range_and_bounds_others(name: str) -> None:
    x0 = 2 * torch.rand(1, 1, 8, 8) - 1
    ends = []
    for factor in (1.0, 3.0):  # of the true image, which a network predicts
        for clipped in ("", "-clipped"):
            s = make_scheduler(name + clipped)
            s.set_timesteps(10)
            x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
            for t in s.timesteps:
                ahat = float(s.alphas_cumprod[int(t)])
                x = s.step((x - ahat**0.5 * factor * x0) / (1 - ahat) ** 0.5, t, x).prev_sample
            ends.append(x)
    torch.testing.assert_close(ends[0], ends[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(ends[2], 3 * x0, atol=1e-2, rtol=0)
    torch.testing.assert_close(ends[3], (3 * x0).clamp(-1, 1), atol=1e-2, rtol=0)


def test_the_clipped_sampler_is_diffusers_own_where_the_steps_divide_the_schedule() -> None:
    ours = ClippedDDPMScheduler()
    theirs = DDPMScheduler(
        beta_schedule="linear", clip_sample=True, timestep_spacing="trailing", variance_type="fixed_small"
    )
    x = 3 * torch.randn(2, 1, 8, 8)
    for s in (ours, theirs):
        s.set_timesteps(50)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    for t in (999, 499, 19):
        eps = torch.randn_like(x)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        expected = theirs.step(eps, t, x, generator=torch.Generator().manual_seed(1)).prev_sample
        assert (ours.step(eps, t, x, noise=noise).prev_sample - expected).abs().max() < 1e-4
    assert ours.step(10 * x, 19, x).prev_sample.abs().max() <= 1
