"""Config R: a network that commutes with turns by any angle."""

from __future__ import annotations

import pytest
import torch

from aliasfree import AliasFreeUNet2DModel, convert
from aliasfree.errors import ArgumentError
from aliasfree.evaluation.equivariance import Agreement, rotation_agreement
from aliasfree.nn import Frame, measure_spectrum
from aliasfree.ops import disc_filter2d

DEGREES = [30.0, 77.0]


def network(config: str = "R", **options: object) -> AliasFreeUNet2DModel:
    torch.manual_seed(0)
    given = {"sample_size": 32, "in_channels": 1, "out_channels": 1, "base_channels": 4} | options
    model = AliasFreeUNet2DModel(config, **given).eval()
    # layers of a fresh network that start at zero would hide what they do
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def agreement(model: AliasFreeUNet2DModel, degrees: list[float], *, move_frame: bool = True) -> Agreement:
    torch.manual_seed(1)
    x = disc_filter2d(torch.randn(2, 1, 32, 32))

    def fn(v: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(v, 100).sample

    def framed(v: torch.Tensor, moved: dict) -> torch.Tensor:
        with torch.no_grad():
            return model(v, 100, frame=Frame(**moved)).sample

    knows = move_frame and bool(model.config["frame_features"])
    return rotation_agreement(fn, x, degrees=degrees, method="interpolant", framed=framed if knows else None)


def test_r_commutes_with_turns_and_the_others_do_not():
    assert agreement(network(), DEGREES).db > 35
    assert agreement(network("T"), DEGREES).db < 30
    assert agreement(network("A"), DEGREES).db < 20


def test_quarter_turns_are_exact():
    assert agreement(network(), [90.0, 180.0]).db > 90


def test_the_frame_has_to_turn_along():
    assert agreement(network(), DEGREES, move_frame=False).db < 25


def test_keys_are_those_of_a_and_convolutions_have_a_third_of_the_weights():
    ours, plain = network().state_dict(), network("A", frame_features=1).state_dict()
    assert list(ours) == list(plain)
    for name, value in plain.items():
        if value.ndim == 4 and value.shape[-1] == 3:
            assert ours[name].numel() * 3 == value.numel()
        else:
            assert ours[name].shape == value.shape


@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_other_sizes_run_and_gradients_reach_every_weight(size):
    model = network(sample_size=size, num_class_embeds=3).train()
    x = torch.randn(2, 1, *size)
    y = model(x, 10, class_labels=torch.tensor([0, 3])).sample
    assert y.shape == x.shape
    y.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert sum(float(p.grad.abs().sum()) == 0 for p in model.parameters()) == 0


def test_it_is_saved_and_comes_back(tmp_path):
    images = (255 * torch.rand(64, 1, 16, 16)).byte()
    model = network(sample_size=16, spectrum=measure_spectrum(images, radial=True))
    model.save_pretrained(tmp_path)
    back = AliasFreeUNet2DModel.from_pretrained(tmp_path).eval()
    assert back.config["alias_free"] == "R"
    assert back.spectrum == model.spectrum
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(back(x, 5).sample, model(x, 5).sample, rtol=0, atol=1e-6)


def test_weights_of_3x3_convolutions_and_other_padding_are_refused():
    with pytest.raises(ArgumentError, match="no 3x3 convolutions"):
        AliasFreeUNet2DModel.from_reference(network("A", preconditioning="none").state_dict(), "R", 32)
    with pytest.raises(ArgumentError, match="no 3x3 convolutions"):
        convert(torch.nn.SiLU(), "R")
    with pytest.raises(ArgumentError, match="must be 'circular'"):
        network(padding_mode="zeros")
