"""Parts that are converted, tiled or reverted inside a pipeline come back as they were saved."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    ControlNetModel,
    ControlNetXSAdapter,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    ModularPipeline,
    MotionAdapter,
    MultiAdapter,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLModularPipeline,
    T2IAdapter,
    UNet2DConditionModel,
    UNet2DModel,
    UNetControlNetXSModel,
    UNetMotionModel,
)

import aliasfree
from aliasfree import convert, revert, tile
from aliasfree.conversion.operation import conversion_of
from aliasfree.errors import ArgumentError

F32 = torch.float32
NONE = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
VIDEO = {
    "block_out_channels": (32, 32),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "sample_size": 16,
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
MOTION = {
    "block_out_channels": (32, 32),
    "motion_layers_per_block": 1,
    "motion_norm_num_groups": 4,
    "motion_num_attention_heads": 2,
}


@pytest.fixture
def diffusion(make):
    """A tiny text-to-image pipeline; `controlnet` makes it one with these."""

    def build(controlnet=None):
        parts = {
            "vae": make("AutoencoderKL", F32),
            "unet": make("UNet2DConditionModel", F32),
            "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
            "requires_safety_checker": False,
            **NONE,
        }
        if controlnet is None:
            return StableDiffusionPipeline(**parts)
        return StableDiffusionControlNetPipeline(**parts, controlnet=controlnet)

    return build


def assert_same(loaded: torch.nn.Module, saved: torch.nn.Module) -> None:
    """Class by class, weight by weight, and converted alike."""
    assert type(loaded) is type(saved)
    assert [(n, type(m)) for n, m in loaded.named_modules()] == [(n, type(m)) for n, m in saved.named_modules()]
    assert conversion_of(loaded) == conversion_of(saved)
    state = saved.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())


def draw(pipe, **more):
    pipe.set_progress_bar_config(disable=True)
    embeds = {k: torch.zeros(1, 3, 8) for k in ("prompt_embeds", "negative_prompt_embeds")}
    return pipe(
        **embeds,
        height=32,
        width=32,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **more,
    ).images


def test_parts_converted_inside_a_pipeline_come_back_converted(diffusion, tmp_path):
    pipe = diffusion()
    convert(pipe.unet, "D-hq", padding_mode="circular")
    convert(pipe.vae, "B-hq")
    pipe.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, **NONE)
    assert type(loaded.unet) is aliasfree.AliasFreeUNet2DConditionModel
    assert_same(loaded.unet, pipe.unet)
    assert_same(loaded.vae, pipe.vae)
    assert abs(draw(loaded) - draw(pipe)).max() < 1e-5


def test_an_unconditional_pipeline_converted_in_place_comes_back_converted(make, tmp_path):
    pipe = DDPMPipeline(make("UNet2DModel", F32), DDPMScheduler())
    convert(pipe.unet, "D-hq")
    pipe.save_pretrained(tmp_path)
    assert_same(DiffusionPipeline.from_pretrained(tmp_path).unet, pipe.unet)


def test_a_part_reverted_inside_a_pipeline_comes_back_stock(make, tmp_path):
    pipe = DDPMPipeline(convert(make("UNet2DModel", F32), "D-hq"), DDPMScheduler())
    revert(pipe.unet)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert type(DiffusionPipeline.from_pretrained(tmp_path).unet) is UNet2DModel


def test_a_part_that_was_compiled_after_converting_comes_back_converted(make, tmp_path):
    pipe = DDPMPipeline(make("UNet2DModel", F32), DDPMScheduler())
    convert(pipe.unet, "B-hq")
    pipe.unet = torch.compile(pipe.unet)
    pipe.save_pretrained(tmp_path)
    assert_same(DiffusionPipeline.from_pretrained(tmp_path).unet, pipe.unet._orig_mod)


def test_several_control_nets_come_back_each_as_it_was(make, diffusion, tmp_path):
    nets = [make("ControlNetModel", F32) for _ in range(3)]
    pipe = diffusion(nets)
    convert(pipe.controlnet.nets[0], "D-hq")
    tile(pipe.controlnet.nets[2], "x", prove=False)
    pipe.save_pretrained(tmp_path)
    loaded = StableDiffusionControlNetPipeline.from_pretrained(tmp_path, **NONE)
    assert isinstance(loaded.controlnet, MultiControlNetModel)
    assert [type(net) for net in loaded.controlnet.nets] == [
        aliasfree.AliasFreeControlNetModel,
        ControlNetModel,
        aliasfree.AliasFreeControlNetModel,
    ]
    for mine, theirs in zip(loaded.controlnet.nets, nets, strict=True):
        assert_same(mine, theirs)
    condition = {"image": [torch.ones(1, 3, 32, 32)] * 3, "controlnet_conditioning_scale": [1.0, 0.5, 0.5]}
    assert abs(draw(loaded, **condition) - draw(pipe, **condition)).max() < 1e-5
    again = aliasfree.AliasFreeMultiControlNetModel.from_pretrained(str(tmp_path / "controlnet"))
    assert_same(again.nets[2], nets[2])


def test_several_control_nets_reverted_are_saved_as_stock_ones(make, diffusion, tmp_path):
    pipe = diffusion([make("ControlNetModel", F32) for _ in range(2)])
    convert(pipe.controlnet.nets[1], "D-hq")
    pipe.save_pretrained(tmp_path / "converted")
    revert(pipe.controlnet.nets[1])
    pipe.save_pretrained(tmp_path / "stock")
    index = json.loads((tmp_path / "stock" / "model_index.json").read_text())
    assert index["controlnet"] == ["diffusers", "MultiControlNetModel"]


def test_several_adapters_come_back_each_as_it_was(tmp_path):
    adapters = [T2IAdapter(channels=[8, 8], num_res_blocks=1, downscale_factor=4) for _ in range(3)]
    convert(adapters[2], "B-hq")
    MultiAdapter(adapters).save_pretrained(str(tmp_path / "adapter"))
    loaded = aliasfree.AliasFreeMultiAdapter.from_pretrained(str(tmp_path / "adapter"))
    assert len(loaded.adapters) == 3
    for mine, theirs in zip(loaded.adapters, adapters, strict=True):
        assert_same(mine, theirs)
    with pytest.raises(ArgumentError, match=r"there is no folder .*nothing with a T2IAdapter"):
        aliasfree.AliasFreeMultiAdapter.from_pretrained(str(tmp_path / "nothing"))


@pytest.mark.parametrize("change", [convert, tile])
def test_several_models_in_one_are_taken_one_by_one(make, change):
    several = MultiControlNetModel([make("ControlNetModel", F32)])
    with pytest.raises(ArgumentError, match=r"MultiControlNetModel holds several models.*one by one"):
        change(several)


def test_what_stock_classes_make_of_a_converted_unet_is_converted_alike(make):
    unet = convert(make("UNet2DConditionModel", F32), "B-hq", padding_mode="circular")
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))
    assert type(made) is aliasfree.AliasFreeControlNetModel
    assert conversion_of(made).filters == conversion_of(unet).filters
    stock = ControlNetModel.from_unet(revert(unet), conditioning_embedding_out_channels=(4, 8))
    assert type(stock) is ControlNetModel
    copied = [k for k in stock.state_dict() if k.startswith(("conv_in", "time_", "down_blocks", "mid_block"))]
    assert copied
    assert all(torch.equal(made.state_dict()[k], stock.state_dict()[k]) for k in copied)


def test_a_modular_pipeline_converted_in_place_comes_back_converted(make, tmp_path):
    pipe = StableDiffusionXLModularPipeline()
    pipe.update_components(unet=make("UNet2DConditionModel", F32))
    convert(pipe.unet, "D-hq")
    pipe.save_pretrained(str(tmp_path), overwrite_modular_index=True)
    loaded = ModularPipeline.from_pretrained(str(tmp_path))
    loaded.load_components(names=["unet"])
    assert_same(loaded.unet, pipe.unet)


def test_a_unet_with_a_control_net_between_its_blocks_is_converted_as_the_unet_was(tmp_path):
    unet = UNet2DConditionModel(**VIDEO | {"layers_per_block": 2})
    adapter = ControlNetXSAdapter.from_unet(unet, size_ratio=0.5)
    made = UNetControlNetXSModel.from_unet(convert(unet, "B-hq", padding_mode="circular"), adapter)
    assert type(made) is aliasfree.AliasFreeUNetControlNetXSModel
    assert conversion_of(made).filters == conversion_of(unet).filters
    made.save_pretrained(tmp_path)
    assert_same(aliasfree.AliasFreeUNetControlNetXSModel.from_pretrained(tmp_path), made)


def test_a_video_pipeline_makes_its_unet_of_a_converted_one_converted(tmp_path):
    unet = UNet2DConditionModel(**VIDEO)
    convert(unet, "D-hq", padding_mode="circular")
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    pipe = AnimateDiffPipeline(vae, None, None, unet, MotionAdapter(**MOTION), DDIMScheduler())
    assert type(pipe.unet) is aliasfree.AliasFreeUNetMotionModel
    assert conversion_of(pipe.unet).filters == conversion_of(unet).filters
    pipe.unet.save_pretrained(tmp_path)
    assert_same(aliasfree.AliasFreeUNetMotionModel.from_pretrained(tmp_path), pipe.unet)
    assert type(UNetMotionModel.from_unet2d(revert(unet), MotionAdapter(**MOTION))) is UNetMotionModel
