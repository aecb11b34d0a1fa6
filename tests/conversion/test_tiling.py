"""Tiled models have no edge: what is rolled before a model is rolled after it, to rounding."""

from __future__ import annotations

import copy
import pickle
import warnings

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import nn

import aliasfree
from aliasfree import conversion_report, convert, revert, tile, untile
from aliasfree.conversion import rolled_db
from aliasfree.errors import ArgumentError, ShapeError

BLOCKS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
CODER = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
VAES = {
    "AutoencoderKL": {**BLOCKS, **CODER, "sample_size": 16},
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
    },
    "VQModel": {**BLOCKS, **CODER, "latent_channels": 4, "num_vq_embeddings": 16, "sample_size": 16},
    "AsymmetricAutoencoderKL": {
        **CODER,
        "down_block_out_channels": (8, 16),
        "up_block_out_channels": (8, 16),
        "norm_num_groups": 4,
    },
    "AutoencoderKLTemporalDecoder": {"block_out_channels": (32, 32), "down_block_types": CODER["down_block_types"]},
    "AutoencoderKLFlux2": {**BLOCKS, **CODER, "latent_channels": 4, "sample_size": 16},
    "AutoencoderKLWan": {
        "base_dim": 4,
        "z_dim": 4,
        "dim_mult": [1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [True],
    },
    "AutoencoderKLQwenImage": {
        "base_dim": 4,
        "z_dim": 4,
        "dim_mult": [1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False],
        "latents_mean": [0.0] * 4,
        "latents_std": [1.0] * 4,
    },
    "AutoencoderDC": {
        "latent_channels": 4,
        "attention_head_dim": 2,
        "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "encoder_qkv_multiscales": ((), (5,)),
        "decoder_qkv_multiscales": ((), (5,)),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "downsample_block_type": "conv",
        "upsample_block_type": "interpolate",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "silu",
        "scaling_factor": 0.41407,
    },
}
UNETS = {
    "as DDPM's": {"downsample_padding": 0},
    "pooling": {"downsample_type": "resnet", "upsample_type": "resnet"},
    "FIR": {
        "block_out_channels": (32, 64),
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    },
}


def made(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval().requires_grad_(False)
        for p in model.parameters():
            if not p.any():  # where the residuals of a ControlNet come out, for one
                nn.init.normal_(p, std=0.1)
    return model


def vae(name="AutoencoderKL"):
    return made(lambda: getattr(diffusers, name)(**VAES[name]))


def unet(**more):
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    return made(lambda: UNet2DModel(**{**BLOCKS, **blocks, "sample_size": 16, "attention_head_dim": 4, **more}))


CONDITION = {**BLOCKS, "attention_head_dim": 4, "cross_attention_dim": 8}


def conditioned():
    return made(
        lambda: UNet2DConditionModel(
            **CONDITION, sample_size=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
    )  # fmt: skip


def controlnet():
    widths = {"conditioning_embedding_out_channels": (4, 8)}
    return made(
        lambda: ControlNetModel(**CONDITION, **widths, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"))
    )


def pipeline(kind=StableDiffusionPipeline, **more):
    parts = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    pipe = kind(
        vae=vae(), unet=conditioned(), scheduler=DDIMScheduler(), **parts, **more, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def decibels(expected, found):
    return float(10 * torch.log10((expected - expected.mean()).square().sum() / (expected - found).square().sum()))


@pytest.mark.parametrize("axes", ["x", "xy"])
@pytest.mark.parametrize("name", VAES)
def test_the_common_autoencoders_are_tiled_to_100_db(name, axes):
    model, frames = vae(name), (1,) if name in ("AutoencoderKLWan", "AutoencoderKLQwenImage") else ()
    inputs = [torch.empty(1, 3, *frames, 16, 16)]
    assert rolled_db(model, axes, inputs) < 20
    assert rolled_db(tile(model, axes, inputs, prove=False), axes, inputs) > 100


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
@pytest.mark.parametrize("build", [*UNETS, "conditional", "ControlNet"])
def test_networks_are_tiled_to_100_db_and_no_further_than_asked(build, axes):
    model = {"conditional": conditioned, "ControlNet": controlnet}.get(build, lambda: unet(**UNETS[build]))()
    tile(model, axes)
    assert rolled_db(model, axes) > 100
    for other in {"x", "y"} - set(axes):
        assert rolled_db(model, other) < 20


@pytest.mark.parametrize("config", ["B-hq", "C-hq", "D-hq", "D-2N", "D-radial", "D-ideal", "T"])
@pytest.mark.parametrize("axes", ["x", "xy"])
def test_a_converted_network_is_tiled_too_and_its_filters_with_it(config, axes):
    model = convert(unet(downsample_padding=0), config)
    if axes == "x" and config in ("D-ideal", "T"):
        with pytest.raises(ArgumentError, match=r"'ideal' filters.* periodic along both axes: tile it along xy"):
            tile(model, axes)
        assert "alias_free_tile" not in model.config or model.config["alias_free_tile"] == ""
        return
    assert rolled_db(tile(model, axes), axes) > 100
    assert model.config["alias_free"] == config
    assert model.config["alias_free_tile"] == axes


def test_a_tiled_axis_leaves_the_inside_of_the_other_as_it_was():
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 4, 4, stride=2, padding=1))
    x = torch.randn(1, 3, 16, 16)
    before = conv(x)
    after = tile(conv, "x")(x)
    torch.testing.assert_close(after[..., 1:-1], before[..., 1:-1])
    assert not torch.allclose(after[..., 0], before[..., 0])


def test_a_whole_pipeline_decodes_rolled_latents_to_the_rolled_image():
    pipe = tile(pipeline())
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    image = pipe.vae.decode(z).sample
    for k in (1, 3, 5):
        rolled = pipe.vae.decode(z.roll((k, -k), (2, 3))).sample
        assert decibels(image.roll((2 * k, -2 * k), (2, 3)), rolled) > 100


def test_what_a_tiled_pipeline_samples_has_no_place_that_is_the_edge():
    pipe = tile(pipeline(), "x")
    g = torch.Generator().manual_seed(3)
    z, text = torch.randn(1, 4, 8, 8, generator=g), torch.randn(1, 3, 8, generator=g)

    def sample(latents):
        return pipe(prompt_embeds=text, latents=latents, guidance_scale=1.0, num_inference_steps=3, height=16, width=16,
                    output_type="pt").images  # fmt: skip

    assert decibels(sample(z).roll(4, 3), sample(z.roll(2, 3))) > 80  # 8 bits of an image are 50


def test_every_part_of_a_pipeline_is_tiled_and_the_pipeline_is_saved_so(tmp_path):
    pipe = tile(pipeline(StableDiffusionControlNetPipeline, controlnet=controlnet()))
    assert {type(pipe.components[n]).__name__ for n in ("unet", "vae", "controlnet")} == {
        "AliasFreeUNet2DConditionModel", "AliasFreeAutoencoderKL", "AliasFreeControlNetModel",
    }  # fmt: skip
    pipe.save_pretrained(tmp_path)
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    loaded = DiffusionPipeline.from_pretrained(tmp_path, local_files_only=True, **absent)
    for name in ("unet", "vae", "controlnet"):
        assert rolled_db(loaded.components[name]) > 100
    assert type(untile(loaded).unet) is UNet2DConditionModel


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderTiny", "VQModel", "AutoencoderKLWan"])
def test_a_tiled_model_comes_back_from_disk_tiled_and_untiles_to_the_stock_one(name, tmp_path):
    stock = vae(name)
    model = tile(copy.deepcopy(stock), "x", prove=False)
    model.save_pretrained(tmp_path)
    loaded = getattr(aliasfree, f"AliasFree{name}").from_pretrained(tmp_path).eval()
    shape = (1, 3, 1, 16, 16) if name == "AutoencoderKLWan" else (1, 3, 16, 16)
    x = torch.randn(shape)
    assert torch.equal(loaded(x).sample, model(x).sample)
    assert not torch.equal(model(x).sample, stock(x).sample)
    untile(loaded)
    assert type(loaded) is type(stock)
    assert not any(key.startswith("alias_free") for key in loaded.config)
    assert torch.equal(loaded(x).sample, stock(x).sample)


def test_untiling_a_converted_model_leaves_its_conversion():
    model, x = convert(unet(), "D-hq"), torch.randn(1, 3, 16, 16)
    converted = model(x, 7).sample
    tile(tile(model, "x"), "y")  # other axes take the place of the first
    assert model.config["alias_free_tile"] == "y"
    assert rolled_db(model, "x") < 20
    untile(model)
    assert torch.equal(model(x, 7).sample, converted)
    assert revert(model).config.get("alias_free") is None


def test_a_tiled_model_can_be_copied_pickled_compiled_and_reported_on():
    model, x = tile(unet(), "x"), torch.randn(1, 3, 16, 16)
    expected = model(x, 7).sample
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x, 7).sample, expected)
    exported = torch.export.export(model, (x, torch.tensor(7))).module()
    torch.testing.assert_close(exported(x, torch.tensor(7)).sample, expected)
    report = conversion_report(model)
    assert report.tile == "x"
    assert "tiled along x" in str(report)


def test_vae_tiling_is_refused_before_and_after():
    model = vae()
    model.enable_tiling()
    with pytest.raises(ArgumentError, match=r"disable_tiling\(\) first"):
        tile(model)
    model.disable_tiling()
    tile(model).enable_slicing()
    model.decode(torch.randn(2, 4, 8, 8))
    with pytest.raises(ArgumentError, match="blends them"):
        model.enable_tiling()
    model.use_tiling, model.tile_latent_min_size = True, 4
    with pytest.raises(ArgumentError, match="blends them"):
        model.decode(torch.randn(1, 4, 8, 8))
    untile(model).enable_tiling()
    model.decode(torch.randn(1, 4, 8, 8))


def test_vae_tiling_of_a_converted_model_that_is_a_torus_is_refused_too():
    model = convert(vae("AutoencoderTiny"), "D-hq", padding_mode="circular")
    with pytest.raises(ArgumentError, match="blends them"):
        model.enable_tiling()
    convert(vae("AutoencoderTiny"), "D-hq").enable_tiling()


def test_what_keeps_a_seam_is_refused_and_left_as_it_was():
    positions = made(
        lambda: diffusers.SD3Transformer2DModel(
            sample_size=16, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=8, caption_projection_dim=16, pooled_projection_dim=8, out_channels=4,
        )
    )  # fmt: skip
    with pytest.raises(ArgumentError, match=r"SD3Transformer2DModel would keep a seam: .*tile\(pipe\.vae\)"):
        tile(positions)
    assert type(positions) is diffusers.SD3Transformer2DModel
    tokens = made(
        lambda: diffusers.FluxTransformer2DModel(
            in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=1,
            joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(2, 2, 4),
        )
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="no planes but tokens"):
        tile(tokens)


def test_a_pipeline_is_tiled_as_a_whole_or_not_at_all():
    pipe = pipeline()
    pipe.vae.enable_tiling()
    with pytest.raises(ArgumentError, match="vae: VAE tiling is on"):
        tile(pipe)
    assert type(pipe.unet) is UNet2DConditionModel
    assert type(pipe.vae) is AutoencoderKL


def test_sides_that_do_not_divide_are_refused_along_tiled_axes_only():
    model = tile(conditioned(), "x")
    text = torch.zeros(1, 3, 8)
    model(torch.randn(1, 4, 9, 8), 7, text)
    with pytest.raises(ShapeError, match="8x9 is not seamless along x"):
        model(torch.randn(1, 4, 8, 9), 7, text)


def test_bad_arguments_are_told():
    with pytest.raises(ArgumentError, match=r"x .columns., y .rows. or xy, not 'z'"):
        tile(unet(), "z")
    with pytest.raises(ArgumentError, match="not tiled"):
        untile(unet())
    with pytest.raises(ArgumentError, match="paper's network"):
        tile(aliasfree.AliasFreeUNet2DModel("A", 16, base_channels=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = unet()
        convert(part.mid_block, "D-hq")
    with pytest.raises(ArgumentError, match="converted by itself"):
        tile(part)
    with pytest.raises(ArgumentError, match="no weights yet"), torch.device("meta"):
        tile(UNet2DModel(**BLOCKS, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2))
