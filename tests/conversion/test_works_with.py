"""Converted models with what people do to models: compile, export, half precision, checkpointing, offloading, LoRA."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, UNet2DModel
from peft import LoraConfig

from aliasfree import AliasFreePipeline, convert, revert
from aliasfree.errors import ArgumentError

MODELS = ("UNet2DModel", "UNet2DConditionModel", "AutoencoderKL", "ControlNetModel")


def relative(a, b) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("name", ["UNet2DModel", "UNet2DConditionModel"])
def test_it_compiles_in_one_piece(make, run, name):
    model = convert(make(name, torch.float32), "D-hq", feed_forward=True)
    out = run(model)
    torch._dynamo.reset()
    model.compile(fullgraph=True, backend="aot_eager")  # inductor gives the same, and takes minutes
    assert relative(run(model), out) < 1e-5


def test_a_training_step_compiles_in_one_piece():
    torch._dynamo.reset()
    block = convert(torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, 2, 1), torch.nn.SiLU(), torch.nn.AvgPool2d(2)), "D-hq")
    x = torch.randn(2, 2, 16, 16)
    block(x).square().sum().backward()
    expected = block[0].weight.grad.clone()
    block.zero_grad()
    torch.compile(block, fullgraph=True, backend="aot_eager")(x).square().sum().backward()
    assert relative(block[0].weight.grad, expected) < 1e-5


@pytest.mark.parametrize("name", ["UNet2DModel", "UNet2DConditionModel"])
def test_it_exports(make, run, name):
    model = convert(make(name, torch.float32), "D-hq", feed_forward=True)
    inputs = {"sample": torch.randn(1, model.config["in_channels"], 16, 16), "timestep": torch.tensor(7)}
    if name == "UNet2DConditionModel":
        inputs["encoder_hidden_states"] = torch.randn(1, 5, 8)
    program = torch.export.export(model, (), inputs | {"return_dict": False})
    out = model(**inputs).sample
    assert relative(program.module()(**inputs, return_dict=False)[0], out) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision(make, run, name, dtype):
    model = convert(make(name), "D-hq", feed_forward=True)
    size = (8, 8)
    exact = run(model, size)
    out = run(model.to(dtype), size)
    assert out.dtype == dtype
    stock_error = relative(run(make(name).to(dtype), size), run(make(name), size))
    assert relative(out, exact) < 3 * stock_error + 0.01


@pytest.mark.parametrize("name", MODELS)
def test_channels_last(make, run, name):
    model = convert(make(name), "D-hq")
    out = run(model)
    assert relative(run(model.to(memory_format=torch.channels_last)), out) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_gradient_checkpointing_changes_no_gradient(make, run, name):
    model = convert(make(name), "D-hq", feed_forward=True).train().requires_grad_(True)

    def gradients():
        model.zero_grad()
        run(model).square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    model.enable_gradient_checkpointing()
    checkpointed = gradients()
    assert len(plain) == len(checkpointed) > 10
    assert all(relative(a, b) < 1e-10 for a, b in zip(checkpointed, plain, strict=True) if b.any())


def test_offloading_a_part_at_a_time(make):
    from accelerate import cpu_offload_with_hook

    model = convert(make("UNet2DModel", torch.float32), "D-hq")
    pipe = AliasFreePipeline(model, DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)

    def draw():
        return pipe(1, 3, generator=torch.Generator().manual_seed(0), output_type="pt").images

    plain = draw()
    # what enable_model_cpu_offload hooks onto each part; without an accelerator it moves from the CPU to the CPU
    _, hook = cpu_offload_with_hook(model, "cpu")
    assert torch.equal(draw(), plain)
    hook.offload()
    hook.remove()
    assert torch.equal(draw(), plain)


LAYERS = ["to_q", "to_k", "conv1", "conv", "ff.net.0.proj"]


def lora(model):
    torch.manual_seed(3)
    model.add_adapter(LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False))
    return model.double()


@pytest.mark.parametrize("name", ["UNet2DConditionModel", "UNet2DModel", "ControlNetModel"])
def test_lora_is_added_after_conversion(make, run, name):
    model = convert(make(name), "D-hq", feed_forward=True)
    if name == "UNet2DModel":  # diffusers gives it no add_adapter
        from peft import inject_adapter_in_model

        out = run(model)
        torch.manual_seed(3)
        inject_adapter_in_model(LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False), model)
        assert relative(run(model.double()), out) > 1e-3
        return
    out, keys = run(model), set(model.state_dict())
    lora(model)
    adapted = run(model)
    assert any("downsamplers.0.conv.lora_A" in k for k in set(model.state_dict()) - keys)
    assert relative(adapted, out) > 1e-3
    model.fuse_lora()
    assert relative(run(model), adapted) < 1e-9  # so the adapter saw the same filters as the weight
    model.unfuse_lora()
    model.disable_adapters()
    assert relative(run(model), out) < 1e-9


def test_a_model_with_lora_is_refused(make):
    model = lora(make("UNet2DConditionModel"))
    with pytest.raises(ArgumentError, match="LoRA"):
        convert(model, "D-hq")
    converted = lora(convert(make("UNet2DConditionModel"), "D-hq"))
    with pytest.raises(ArgumentError, match="LoRA"):
        revert(converted)
    assert isinstance(converted, UNet2DConditionModel)


def test_it_trains(make):
    model: UNet2DModel = convert(make("UNet2DModel", torch.float32), "D-hq").train().requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x = torch.randn(4, 3, 16, 16)
    losses = []
    for _ in range(8):
        loss = (model(x, 5).sample - x.roll(1, 2)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_an_accelerated_kernel_gives_what_the_reference_gives(make, run):
    """Whatever backend the ops choose, the converted model computes the same."""
    from aliasfree.ops import filtered_activation2d, filtered_activation2d_reference

    x = torch.randn(2, 8, 12, 20)
    act = convert(torch.nn.Sequential(torch.nn.SiLU()), "C-hq")
    for y in (act(x), filtered_activation2d(x, "silu", "hq", padding="reflect")):
        exact = filtered_activation2d_reference(x.double(), "silu", act[0]._filters.config.up, padding="reflect")
        assert relative(y, exact) < 1e-5
