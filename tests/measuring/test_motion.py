"""One seed in many motions: what is sampled, what it is compared with, and where."""

from __future__ import annotations

import math

import pytest
import torch
from rich.console import Console

from aliasfree.errors import ArgumentError
from aliasfree.measuring.motion import between, motion_film, moved_samples, moved_upright, upright_sample
from aliasfree.sampling.sampler import MotionSettings, Sampler, SampleSettings
from aliasfree.training import RunFolder, RunSettings, train

FIRST = (0.0, 0.0)


@pytest.fixture(scope="module")
def samplers(tmp_path_factory) -> dict[str, Sampler]:
    made = {}
    for config in ("A", "T"):
        settings = RunSettings(
            data="digits", config=config, out=tmp_path_factory.mktemp("runs") / config, image_size=16, base_channels=4,
            steps=3, batch_size=4, device="cpu", sample_every=None,
        )  # fmt: skip
        run: RunFolder = train(settings, console=Console(quiet=True))
        made[config] = Sampler(run, SampleSettings(steps=3, scheduler="ddpm-clipped"), "cpu")
    return made


def test_t_moved_by_a_fraction_is_the_moved_upright_sample_and_a_is_not(samplers):
    found = {}
    for name, sampler in samplers.items():
        still = upright_sample(sampler)
        motions = [MotionSettings(translate=(0.25, d), schedule=FIRST) for d in (0.5, 1.75)]
        found[name] = moved_samples(sampler, still, motions)
    assert found["T"].db > 60 > 40 > found["A"].db
    assert found["T"].mask.all()  # its plane is periodic
    assert found["A"].mask.float().mean((1, 2, 3)).tolist() == pytest.approx([15 * 15 / 256, 15 * 14 / 256])


def test_images_sampled_before_are_not_sampled_again(samplers):
    sampler, motion = samplers["A"], MotionSettings(rotate=30.0, schedule=FIRST)
    still = upright_sample(sampler)
    first = moved_samples(sampler, still, [motion])
    told: list[int] = []
    again = moved_samples(sampler, still, [motion], images=first.images, progress=lambda done, _: told.append(done))
    assert again.db == first.db
    assert told == []


def test_a_turned_image_is_compared_within_the_disc_and_a_shrunk_one_where_it_is(samplers):
    sampler = samplers["A"]
    still = upright_sample(sampler)
    turned, quarter, shrunk = (
        moved_samples(sampler, still, [m]).mask[0, 0]
        for m in (MotionSettings(rotate=30.0), MotionSettings(rotate=90.0), MotionSettings(zoom=0.5))
    )
    assert not turned[0, 0]
    assert turned[8, 8]
    assert quarter.all()
    assert shrunk.float().mean().item() == pytest.approx(0.25)


def test_motions_of_different_kinds_are_refused(samplers):
    still = upright_sample(samplers["A"])
    with pytest.raises(ArgumentError, match="must have the same"):
        moved_samples(samplers["A"], still, [MotionSettings(), MotionSettings(noise="independent")])


def test_a_film_has_a_frame_for_each_motion_and_stands_still_when_moved_back(samplers):
    motions = between(MotionSettings(schedule=FIRST), MotionSettings(translate=(0.0, 2.0)), 5)
    told: list[tuple[int, int]] = []
    film = motion_film(samplers["T"], "T", motions, progress=lambda *d: told.append(d))
    assert film.images.shape == film.back.shape == (1, 5, 16, 16, 1)
    assert (film.back.astype(int) - film.back[:, :1]).__abs__().max() <= 1
    assert (film.images[:, 4].astype(int) - film.images[:, 0]).__abs__().max() > 5
    assert film.db > 60
    assert told[-1][0] == told[-1][1]
    assert [d for d, _ in told] == sorted(d for d, _ in told)


def test_motions_between_two_are_spaced_evenly_and_zooms_by_factors():
    made = between(MotionSettings(zoom=0.5), MotionSettings(rotate=90.0, translate=(2.0, -4.0), zoom=2.0), 3)
    assert [m.rotate for m in made] == [0.0, 45.0, 90.0]
    assert made[1].translate == (1.0, -2.0)
    assert [m.zoom for m in made] == pytest.approx([0.5, 1.0, 2.0])
    with pytest.raises(ArgumentError, match="at least 2"):
        between(MotionSettings(), MotionSettings(), 1)


def test_an_upright_image_is_moved_by_whole_pixels_exactly():
    x = torch.randn(1, 1, 8, 8)
    moved = moved_upright(x, [MotionSettings(translate=(1.0, 2.0)), MotionSettings(rotate=90.0)])
    assert torch.equal(moved[:1], x.roll((1, 2), (2, 3)))
    assert torch.equal(moved[1:], x.rot90(1, (2, 3)))


def test_where_nothing_can_be_compared_there_is_no_figure(samplers):
    sampler = samplers["A"]
    still = upright_sample(sampler)
    assert math.isnan(moved_samples(sampler, still, [MotionSettings(translate=(40.0, 0.0))]).db)
