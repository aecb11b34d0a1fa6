"""What everything is timed against computes the same as what is timed."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ArgumentError
from aliasfree.filters import FilterSpec
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.ops import downsample2d_reference, filtered_activation2d_reference, upsample2d_reference
from benchmarks.builds import make_network, training_call
from benchmarks.literal import LiteralDownsample2d, LiteralFilteredGELU2d, LiteralUpsample2d
from benchmarks.slow_unet import SlowUNet

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["0", "2N", "hq", "radial"])
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
@pytest.mark.parametrize("factor", [2, 4])
def test_the_literal_ops_are_the_references(name, size, factor):
    spec = FilterSpec.named(name).at_rate(factor)
    x = torch.randn(2, 3, *size)
    close = {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(LiteralUpsample2d(spec, factor)(x), upsample2d_reference(x, spec, factor), **close)
    torch.testing.assert_close(LiteralDownsample2d(spec, factor)(x), downsample2d_reference(x, spec, factor), **close)
    expected = filtered_activation2d_reference(x, "gelu", spec, factor=factor)
    torch.testing.assert_close(LiteralFilteredGELU2d(spec, spec, factor)(x), expected, **close)


@pytest.mark.parametrize("config", ["A", "B-2N", "C-hq", "D-2N", "D-hq", "D-radial"])
@pytest.mark.parametrize("training", [False, True])
def test_the_slow_build_gives_the_output_of_ours(config, training):
    model = AliasFreeUNet2DModel(config, 16, base_channels=8).train(training)
    slow = SlowUNet(model).train(training)
    x, t = torch.randn(3, 3, 16, 24), torch.tensor([1, 500, 999])
    with torch.set_grad_enabled(training):
        assert (slow(x, t).sample - model(x, t).sample).abs().max() < 1e-5


def test_the_slow_build_gives_the_gradients_of_ours():
    model = AliasFreeUNet2DModel("D-2N", 8, base_channels=8)
    slow = SlowUNet(model)
    x = torch.randn(2, 3, 8, 8)
    for network in (model, slow):
        network(x, 10).sample.square().mean().backward()
    for name in ("inc.conv1.weight", "down2.emb.bias", "up1.res.norm1.weight"):
        ours, theirs = model.get_parameter(name).grad, slow.get_parameter(name).grad
        assert (ours - theirs).norm() < 1e-5 * ours.norm()
    ours, theirs = model.attn1.qkv.weight.grad, slow.attn1.mha.in_proj_weight.grad
    assert (ours - theirs).norm() < 1e-5 * ours.norm()


def test_the_slow_build_asks_attention_for_its_weights():
    slow = SlowUNet(AliasFreeUNet2DModel("A", 8, base_channels=8)).eval()
    shapes = []
    slow.attn6.mha.register_forward_hook(lambda module, inputs, output: shapes.append(output[1].shape))
    with torch.no_grad():
        slow(torch.randn(2, 3, 8, 8), 5)
    assert shapes == [(2, 64, 64)]


def test_both_builds_train_alike():
    losses = {}
    for name in ("ours", "slow"):
        model = make_network("D-2N", (2, 3, 8, 8), CPU)
        network = model if name == "ours" else SlowUNet(model)
        torch.manual_seed(3)
        step = training_call(network, (2, 3, 8, 8), CPU, False)
        before = [p.detach().clone() for p in network.parameters()]
        step()
        step()
        assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
        losses[name] = network.outc.weight.detach()
    torch.testing.assert_close(losses["ours"], losses["slow"], atol=1e-6, rtol=1e-3)


def test_what_the_published_code_cannot_do_is_refused():
    with pytest.raises(ArgumentError, match="zero padding"):
        SlowUNet(AliasFreeUNet2DModel("A", 8, base_channels=8, padding_mode="circular"))
    with pytest.raises(ArgumentError, match="no taps"):
        LiteralUpsample2d(FilterSpec.named("ideal"))
