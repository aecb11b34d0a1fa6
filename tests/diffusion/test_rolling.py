"""Latents rolled while they are sampled."""

from __future__ import annotations

import pytest
import torch
from test_callbacks import DRAW, REMEMBER, SCHEDULERS, relative, sample

from aliasfree.diffusion import RollCallback, callbacks
from aliasfree.errors import ArgumentError
from aliasfree.evaluation.seams import seam


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_network_without_an_edge_gives_the_image_it_gives_unrolled(name):
    assert relative(sample(name, RollCallback("xy")), sample(name)) < 1e-9


@pytest.mark.parametrize("name", [REMEMBER[0], DRAW[0]])
def test_the_latents_are_really_rolled_in_between_along_the_axes_that_were_named(name):
    seen = []

    class Looking(RollCallback):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            before = callback_kwargs["latents"]
            after = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)["latents"]
            seen.append((before, after))
            return {"latents": after}

    sample(name, Looking("x"))
    moved = [not torch.equal(a, b) for a, b in seen]
    assert sum(moved) >= len(moved) - 2
    for before, after in seen:
        assert any(torch.equal(before.roll(k, 3), after) for k in range(before.shape[3]))


def test_another_seed_rolls_by_other_offsets_and_the_same_by_the_same():
    first, again, other = (RollCallback(seed=s)._rolls for s in (0, 0, 1))
    offsets = [[rolls.offsets(k / 9, (64, 64)) for k in range(1, 9)] for rolls in (first, again, other)]
    assert offsets[0] == offsets[1] != offsets[2]


def test_it_does_not_when_the_schedulers_memory_stays_behind(monkeypatch):
    monkeypatch.setattr(callbacks, "move_history", lambda *_: 0)
    assert relative(sample("UniPC", RollCallback()), sample("UniPC")) > 1e-3


def test_bad_arguments_are_told():
    with pytest.raises(ArgumentError, match="not 'z'"):
        RollCallback("z")
    with pytest.raises(ArgumentError, match="seed"):
        RollCallback(seed=-1)


def test_a_seam_is_measured_where_it_is():
    g = torch.Generator().manual_seed(0)
    whole = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(torch.randn(64, 3, 32, 32, generator=g), (1, 1, 1, 1), mode="circular"), 3, 1
    )
    assert seam(whole, "x") == pytest.approx(1, abs=0.05)
    cut = whole[..., :24]
    assert seam(cut, "x") > 1.3
    assert seam(cut, "y") == pytest.approx(1, abs=0.05)
