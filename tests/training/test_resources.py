"""What no machine holds is refused in one sentence before any work, and what one holds is not."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ArgumentError
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.training import RunSettings, resources, train
from aliasfree.training.resources import check_resources, step_bytes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 10**9}, "GB of memory and this machine has"),
        ({"image_size": 100_000}, "more than a million GB"),
        ({"image_size": 100_000, "base_channels": None}, "more than a million GB"),
        ({"config": "T", "image_size": 64, "frame_features": 10**6}, "`frame_features`"),
        ({"base_channels": 10**6}, "more than a million GB"),
        ({"steps": 10**30}, "of losses.csv"),
        ({"epochs": 1e30, "steps": None}, "choose fewer `steps` or `epochs`"),
        ({"epochs": 1e308, "steps": None}, "more steps than can be counted"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path, digits, make_settings, quiet, changes, says, monkeypatch
):
    monkeypatch.setattr(resources, "_memory", lambda device: 16 * 10**9)
    with pytest.raises(ArgumentError, match=says):
        train(make_settings(tmp_path / "run", **changes), digits, console=quiet)
    assert not (tmp_path / "run").exists()


def test_the_papers_own_size_is_not():
    check_resources(RunSettings(data="digits", config="D-2N", out="x", batch_size=16, image_size=32))


def test_the_estimate_is_what_the_backward_pass_keeps():
    with torch.device("meta"):
        small = AliasFreeUNet2DModel("A", 16, 1, 1, 8)
    times = torch.zeros(4, dtype=torch.long, device="meta")
    one, two = (step_bytes(small, torch.empty(n, 1, 16, 16, device="meta"), times[:n]) for n in (2, 4))
    state = 20 * sum(p.numel() for p in small.parameters())
    assert two - state == pytest.approx(2 * (one - state), rel=0.05), "in proportion to the batch"
    model, kept = AliasFreeUNet2DModel("A", 16, 1, 1, 8), {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model(torch.randn(4, 1, 16, 16), torch.zeros(4, dtype=torch.long))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    real = sum(s.nbytes() for at, s in kept.items() if at not in weights)
    assert two - state == pytest.approx(real, rel=0.5)
