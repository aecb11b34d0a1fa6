"""Config T: a network that commutes with shifts by any fraction of a pixel, and what comes with it."""

from __future__ import annotations

import math

import pytest
import torch

from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel, Config, PaperDDPMScheduler
from aliasfree.diffusion import pipeline as pipeline_module
from aliasfree.diffusion import training_loss
from aliasfree.errors import ArgumentError
from aliasfree.nn import Frame, Spectrum
from aliasfree.nn.preconditioning import _planes
from aliasfree.ops import translate2d


def network(config: str = "T", **options: object) -> AliasFreeUNet2DModel:
    torch.manual_seed(0)
    given = {"sample_size": 16, "in_channels": 1, "out_channels": 1, "base_channels": 8} | options
    model = AliasFreeUNet2DModel(config, **given).eval()
    # layers of a fresh network that start at zero would hide what they do
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def without_nyquist(x: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.fft2(x)
    spectrum[..., x.shape[-2] // 2, :] = 0
    spectrum[..., x.shape[-1] // 2] = 0
    return torch.fft.ifft2(spectrum).real.contiguous()


def decibel(model: AliasFreeUNet2DModel, *, move_frame: bool = True, t: int = 100) -> float:
    torch.manual_seed(1)
    x = without_nyquist(torch.randn(4, 1, 16, 16))
    shift = (1.37, -0.61)
    known = bool(model.config["frame_features"]) and move_frame
    with torch.no_grad():
        wanted = translate2d(model(x, t).sample, *shift)
        given = {"frame": Frame(translate=shift)} if known else {}
        got = model(translate2d(x, *shift), t, **given).sample
    return 10 * math.log10((wanted.square().sum() / (wanted - got).square().sum()).item())


def test_t_commutes_with_fractional_shifts_and_the_others_do_not():
    assert decibel(network()) > 60
    assert decibel(network("D-hq")) < 40
    assert decibel(network("A")) < 30


def test_the_frame_has_to_move_along():
    assert decibel(network(), move_frame=False) < 30


def test_the_running_rate_is_a_setting_that_leaves_the_weights_alone():
    slow, fast = network(), network(Config("T", *[Config.parse("T").up] * 2, 2, 2).to_config())
    assert fast.load_state_dict(slow.state_dict())
    assert decibel(slow) > decibel(fast) + 10
    assert slow.config["alias_free"] == "T"


def test_parameters_and_keys_are_those_of_a_but_for_the_first_convolution():
    ours, plain = network().state_dict(), network("A").state_dict()
    assert list(ours) == list(plain)
    different = [name for name in plain if ours[name].shape != plain[name].shape]
    assert different == ["inc.conv1.weight"]
    assert network(frame_features=0).state_dict()["inc.conv1.weight"].shape == plain["inc.conv1.weight"].shape


@pytest.mark.parametrize("config", ["A", "D-hq"])
def test_frames_and_preconditioning_are_there_for_all(config):
    model = network(config, preconditioning="spectral", frame_features=2)
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        upright, turned = (model(x, 10, frame=frame).sample for frame in (None, Frame(rotate=45.0)))
    assert upright.shape == x.shape
    assert (upright - turned).abs().max() > 1e-4


def test_what_the_config_prefers_is_saved_and_comes_back(tmp_path):
    model = network(spectrum=Spectrum.natural(1, 16))
    model.save_pretrained(tmp_path)
    back = AliasFreeUNet2DModel.from_pretrained(tmp_path).eval()
    assert [back.config[n] for n in ("padding_mode", "preconditioning", "frame_features")] == [
        "circular",
        "spectral",
        1,
    ]
    assert back.spectrum == model.spectrum
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(back(x, 5).sample, model(x, 5).sample, rtol=0, atol=1e-6)


def test_weights_of_the_loss_lift_the_noisy_levels_and_make_the_linear_predictor_one():
    model = network()
    flat, half, full = (model.loss_weights(e) for e in (0.0, 0.5, 1.0))
    assert torch.allclose(flat, flat[0].expand(1000))
    assert full[900] / full[10] > half[900] / half[10] > 10
    assert network("A").loss_weights() is None
    with torch.no_grad():
        model.outc.weight.zero_()
        model.outc.bias.zero_()
    torch.manual_seed(0)
    white = torch.randn(512, 1, 16, 16)
    images = torch.fft.ifft2(torch.fft.fft2(white) * _planes(model.spectrum, 16, 16).sqrt().float()).real
    generator = torch.Generator().manual_seed(0)
    loss = training_loss(model, images, PaperDDPMScheduler(), generator, weights=full)
    assert 0.85 < loss.item() < 1.15


def test_the_sampler_moves_what_it_makes_when_noise_and_frame_move(monkeypatch):
    monkeypatch.setattr(pipeline_module, "_finish", lambda x, _: x)  # the state itself, not cut off at [0, 1]
    start = without_nyquist(torch.randn(2, 1, 16, 16))
    injected = without_nyquist(torch.randn(16, 1, 16, 16)).reshape(8, 2, 1, 16, 16)

    def agreement(config: str) -> float:
        pipeline = AliasFreePipeline(network(config), PaperDDPMScheduler())
        pipeline.set_progress_bar_config(disable=True)
        common = {"batch_size": 2, "num_inference_steps": 8, "step_noise": injected, "latents": start}
        still, moved = (
            pipeline(translate=shift, schedule=(0, 1), **common).images for shift in ((0.0, 0.0), (0.8, -1.3))
        )
        wanted = translate2d(still, 0.8, -1.3)
        return 10 * math.log10((wanted.square().sum() / (moved - wanted).square().sum()).item())

    assert agreement("T") > 50
    assert agreement("A") < 40


def test_gradients_reach_every_weight_in_training_mode():
    model = network(num_class_embeds=3).train()
    x = torch.randn(2, 1, 16, 16)
    model(x, 10, class_labels=torch.tensor([0, 3])).sample.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert sum(float(p.grad.abs().sum()) == 0 for p in model.parameters()) == 0


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ArgumentError, match="knows no frame"):
        network("A")(torch.randn(1, 1, 16, 16), 1, frame=Frame())
    with pytest.raises(ArgumentError, match="did you mean 'spectral'"):
        network(preconditioning="spektral")
    with pytest.raises(ArgumentError, match="as many channels as it sees"):
        network(out_channels=2)
    with pytest.raises(ArgumentError, match="3 channels, the model of 1"):
        network(spectrum=Spectrum.natural(3))
    with pytest.raises(ArgumentError, match="leave it out, or ask for that"):
        network("A", spectrum=Spectrum.natural(1))
