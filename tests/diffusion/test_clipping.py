"""Clipping with and without aliasing."""

from __future__ import annotations

import pytest
import torch

from aliasfree.diffusion import make_scheduler
from aliasfree.diffusion.clipping import clip
from aliasfree.errors import ArgumentError
from aliasfree.evaluation import eq_t
from aliasfree.evaluation.spectra import without_nyquist


def smooth(n: int = 8) -> torch.Tensor:
    """Images with overshoot whose spectrum falls, as that of a predicted image."""
    torch.manual_seed(0)
    f = torch.fft.fft2(torch.randn(n, 1, 16, 16))
    k = (torch.fft.fftfreq(16)[:, None] ** 2 + torch.fft.fftfreq(16) ** 2).sqrt() * 16
    x = torch.fft.ifft2(f / k.clamp(min=1)).real
    return without_nyquist(1.5 * x / x.std())


def test_at_the_pixels_it_is_a_clamp():
    x = smooth()
    assert torch.equal(clip(x), x.clamp(-1, 1))
    assert torch.equal(clip(x, 1), x.clamp(-1, 1))


def test_the_finer_it_looks_the_better_it_commutes_with_shifts():
    rates = (1, 2, 4, 8, 16)
    found = [eq_t(lambda v, r=r: clip(v, r), smooth(), fractional=True, periodic=True) for r in rates]
    assert found == sorted(found)
    assert found[0] < 30
    assert found[-2] > 50


def test_the_overshoot_goes_and_the_rest_stays():
    x = smooth()
    fine, pixels = clip(x, 8), x.clamp(-1, 1)
    assert (x.abs() - 1).clamp(min=0).square().mean() > 20 * (fine.abs() - 1).clamp(min=0).square().mean()
    assert (fine - pixels).square().mean() < 0.05 * (x - pixels).square().mean()
    small = 0.7 * x / x.abs().max()
    torch.testing.assert_close(clip(small, 8), small, rtol=0, atol=1e-6)
    checkerboard = 0.1 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    torch.testing.assert_close(clip(x + checkerboard, 8) - clip(x, 8), checkerboard.expand_as(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ddpm-clipped", "ddim-clipped", "dpm++-clipped"])
def test_every_clipped_scheduler_takes_the_rate_and_keeps_it_on_disk(name, tmp_path):
    x, eps = smooth(4).split(2)
    stepped: dict[int, torch.Tensor] = {}
    for rate in (1, 8):
        scheduler = make_scheduler(name, clip_rate=rate)
        scheduler.save_pretrained(tmp_path / str(rate))
        for s in (scheduler, type(scheduler).from_pretrained(tmp_path / str(rate))):
            s.set_timesteps(20)
            got = s.step(eps, s.timesteps[-1], x).prev_sample  # the clean image
            torch.testing.assert_close(stepped.setdefault(rate, got), got, rtol=0, atol=0)
    assert stepped[1].abs().max() <= 1.001
    assert 1 < stepped[8].abs().max() < 1.6  # what is low-passed overshoots a little


@pytest.mark.parametrize("rate", [0, -1, 1.5])
def test_other_rates_are_refused(rate):
    for call in (lambda: clip(smooth(), rate), lambda: make_scheduler("ddpm-clipped", clip_rate=rate)):
        with pytest.raises(ArgumentError, match="rate of clipping"):
            call()
