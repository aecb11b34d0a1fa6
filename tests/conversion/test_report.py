"""The report: everything touched, everything left and why, and what it costs."""

from __future__ import annotations

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from diffusers import DiTTransformer2DModel
from peft import LoraConfig
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from aliasfree import conversion_report, convert, revert
from aliasfree.errors import ArgumentError

MODELS = ("UNet2DModel", "UNet2DModel, skip blocks", "UNet2DConditionModel", "AutoencoderKL", "ControlNetModel")
SPATIAL = (nn.Conv2d, nn.AvgPool2d, nn.SiLU)


@pytest.mark.parametrize("name", MODELS)
def test_every_spatial_module_is_in_it_once(make, name):
    model = make(name)
    spatial = {n for n, m in model.named_modules() if isinstance(m, SPATIAL)}
    classes = {n: type(m).__name__ for n, m in model.named_modules()}
    report = conversion_report(convert(model, "D-hq", padding_mode="circular"))
    touched, left = {e.name for e in report.touched}, {e.name for e in report.left}
    assert spatial <= touched | left
    assert not touched & left
    assert all(classes[e.name] == e.kind for e in (*report.touched, *report.left))
    changed = {n for n, m in model.named_modules() if n and type(m).__name__ != classes[n]}
    assert changed <= touched
    assert all(e.text for e in (*report.touched, *report.left))


def test_a_stock_model_is_all_left(make):
    report = conversion_report(make("UNet2DModel"))
    assert report.config == "A"
    assert report.touched == ()
    assert report.flops_before == report.flops_after


@pytest.mark.parametrize("name", MODELS)
def test_parameters_stay_and_operations_grow(make, name):
    model = make(name)
    parameters = sum(p.numel() for p in model.parameters())
    reports = {c: conversion_report(convert(model, c)) for c in ("B-hq",)}
    revert(model)
    reports["D-hq"] = conversion_report(convert(model, "D-hq"))
    b, d = reports["B-hq"], reports["D-hq"]
    assert b.parameters == d.parameters == parameters
    assert b.flops_before == d.flops_before
    assert b.flops_after < d.flops_after
    if name != "UNet2DModel, skip blocks":  # whose stock filters cost more
        assert b.flops_before < b.flops_after


def test_operations_before_are_those_torch_counts(make):
    model = make("UNet2DModel")
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    # which kernel of attention is counted depends on the build of torch; matrix products always are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x, 3)
    convert(model, "D-hq")
    report = conversion_report(model, {"sample": x, "timestep": 3})
    assert report.flops_before == counter.get_total_flops()
    assert conversion_report(model, [x, 3]) == report
    assert conversion_report(model).flops_before * 2 == pytest.approx(report.flops_before, rel=0.05)


def test_filters_count_what_polyphase_filtering_needs():
    model = nn.Sequential(nn.SiLU())
    report = conversion_report(convert(model, "C-hq"), [torch.zeros(2, 3, 8, 8)])
    # up and down, each a line of 12 taps at half of the samples of 8 x 16 and of 16 x 16
    assert report.flops_after - report.flops_before == 2 * 6 * 2 * (8 * 16 + 16 * 16) * 6
    # the radial filter is a sum of six such products, the paper's of two
    for config, taps, terms in (("C-radial", 12, 6), ("C-2N", 3, 2)):
        model = nn.Sequential(nn.SiLU())
        report = conversion_report(convert(model, config), [torch.zeros(2, 3, 8, 8)])
        assert report.flops_after - report.flops_before == 2 * 6 * 2 * terms * (8 * 16 + 16 * 16) * taps / 2
    model = nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, padding=1))
    report = conversion_report(convert(model, "B-hq"), [torch.zeros(1, 3, 8, 8)])
    assert report.flops_before == 2 * 9 * 9 * 16
    assert report.flops_after == 2 * 9 * 9 * 64 + 2 * 3 * (4 * 8 + 8 * 8) * 13 / 2


def test_counting_leaves_the_model_as_it_is(make, run):
    model = convert(make("UNet2DModel, skip blocks"), "D-hq")
    out = run(model)
    conversion_report(model)
    assert torch.equal(run(model), out)


def test_it_reads_as_a_table(make):
    text = str(conversion_report(convert(make("UNet2DModel"), "D-hq", padding_mode="circular")))
    assert text.startswith("Config D-hq, circular padding:")
    assert "GFLOP a call" in text
    assert "conv_act" in text
    assert "4 Attention: softmax over positions, no resampling (down_blocks.1.attentions.0, " in text


def test_unknown_models_need_inputs_and_wrong_ones_are_refused():
    model = convert(nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.SiLU()), "D-hq")
    assert conversion_report(model).flops_after is None
    assert conversion_report(model, [torch.zeros(1, 3, 9, 9)]).flops_after > 0
    with pytest.raises(ArgumentError, match="does not take the inputs"):
        conversion_report(model, [torch.zeros(1, 5, 9, 9)])


def with_lora(model):
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "conv1", "conv"]))
    return model


def offloaded(model):
    cpu_offload_with_hook(model, "cpu")  # as enable_model_cpu_offload does
    return model


LATER = {
    "LoRA": with_lora,
    "compile": lambda model: model.compile() or model,
    "torch.compile": torch.compile,
    "model offload": offloaded,
    "offload of every layer": lambda model: cpu_offload(model, torch.device("cpu")),
    "layerwise casting": lambda model: model.enable_layerwise_casting(torch.bfloat16, torch.float32) or model,
}


@pytest.mark.parametrize("later", LATER)
def test_what_is_put_on_a_model_afterwards_does_not_change_its_report(make, later):
    model = convert(make("UNet2DConditionModel", torch.float32), "D-hq", feed_forward=True)
    report = conversion_report(model)
    assert report.flops_before < report.flops_after
    assert conversion_report(LATER[later](model)) == report


def test_a_part_that_is_converted_alone_is_reported_as_such(make):
    model = make("UNet2DConditionModel")
    stock = conversion_report(model)
    convert(model.mid_block, "B-hq", feed_forward=True)
    convert(model.up_blocks[1], "C-hq")
    report = conversion_report(model)
    assert report.config == "A, C-hq in up_blocks.1, B-hq in mid_block"
    assert {e.name.split(".resnets")[0] for e in report.touched} == {"up_blocks.1"}
    assert report.flops_before == stock.flops_before < report.flops_after
    reasons = {e.name: e.text for e in report.left}
    assert reasons["mid_block.resnets.0.nonlinearity"] == "config B"
    assert reasons["down_blocks.0.resnets.0.nonlinearity"] == "config A"
    with pytest.raises(ArgumentError, match="revert its part up_blocks"):
        revert(model)
    revert(model.mid_block)
    revert(model.up_blocks[1])
    assert conversion_report(model) == stock


def test_nonlinearities_of_tokens_are_named():
    model = DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=4,
                                  num_layers=1, sample_size=8, num_embeds_ada_norm=10, norm_num_groups=2)  # fmt: skip
    left = {e.name: e.text for e in conversion_report(model).left}
    assert left["transformer_blocks.0.ff.net.0"] == "acts on tokens"


class Counting(nn.Module):
    """Counts what it is given, which takes data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.SiLU()

    def forward(self, x):
        if torch.bincount(x.flatten().long().clamp(0, 3), minlength=4).sum() > 10_000:
            raise ValueError("too many\nof them")
        return self.act(self.conv(x))


def test_a_model_that_counts_its_data_is_converted_and_reported_without_flops():
    inputs = [torch.zeros(1, 1, 16, 16)]
    report = conversion_report(convert(Counting(), "D-hq", inputs=inputs), inputs)
    assert [entry.name for entry in report.touched] == ["act"]
    assert report.flops_before is None


def test_a_model_that_refuses_its_inputs_is_reported_in_one_line():
    with pytest.raises(ArgumentError, match=r"does not take the `inputs` given: too many$"):
        convert(Counting(), "D-hq", inputs=[torch.zeros(1, 1, 128, 128)])
