"""Every model class of diffusers comes back from disk as it was converted, or a word is said."""

from __future__ import annotations

import pickle
import warnings

import diffusers
import pytest
import torch
from diffusers import ControlNetModel, DiffusionPipeline, UNet2DConditionModel, VQModel
from torch import nn

import aliasfree
from aliasfree import convert, revert
from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.measuring.targets import SubjectSettings, open_subject

BLOCKS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
VAE = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
TINY = {
    "VQModel": {**BLOCKS, **VAE, "latent_channels": 4, "num_vq_embeddings": 16, "sample_size": 16},
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    },
    "AsymmetricAutoencoderKL": {
        **VAE,
        "down_block_out_channels": (8, 16),
        "up_block_out_channels": (8, 16),
        "norm_num_groups": 4,
    },
    "AutoencoderKLTemporalDecoder": {"block_out_channels": (32, 32), "down_block_types": VAE["down_block_types"]},
    "AutoencoderKLWan": {
        "base_dim": 4,
        "z_dim": 4,
        "dim_mult": [1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [True],
    },
    "T2IAdapter": {"channels": [8, 8], "num_res_blocks": 1, "downscale_factor": 4},
    "UNetMotionModel": {
        **BLOCKS,
        "sample_size": 16,
        "cross_attention_dim": 8,
        "num_attention_heads": 2,
        "motion_num_attention_heads": 2,
        "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
        "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
    },
    "SD3Transformer2DModel": {
        "sample_size": 16,
        "in_channels": 4,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 8,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 8,
        "out_channels": 4,
    },
}
CHANGED = [name for name in TINY if name != "SD3Transformer2DModel"]  # which has nothing but tokens


def tiny(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(diffusers, name)(**TINY[name]).eval()


@pytest.mark.parametrize("name", TINY)
def test_a_converted_model_of_any_class_comes_back_converted(name, tmp_path):
    stock = type(tiny(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert(tiny(name), "D-hq", padding_mode="circular")
    model.save_pretrained(tmp_path)
    ours = getattr(aliasfree, f"AliasFree{name}")
    assert type(model) is ours
    loaded = ours.from_pretrained(tmp_path)
    assert [(n, type(m)) for n, m in loaded.named_modules()] == [(n, type(m)) for n, m in model.named_modules()]
    assert loaded._conversion == model._conversion
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    assert pickle.loads(pickle.dumps(ours)) is ours
    assert type(revert(loaded)) is stock
    assert [(n, type(m)) for n, m in loaded.named_modules()] == [(n, type(m)) for n, m in tiny(name).named_modules()]


@pytest.mark.parametrize("name", CHANGED)
def test_something_of_it_was_converted(name):
    assert any("_stock_state" in m.__dict__ for m in convert(tiny(name), "D-hq").modules())


def test_the_inputs_it_was_watched_with_are_remembered(tmp_path):
    inputs = {"sample": torch.randn(1, 3, 24, 40)}
    model = convert(tiny("VQModel"), "D-hq", inputs=inputs)
    assert model.config["alias_free_inputs"] == {"arguments": {"sample": {"shape": [1, 3, 24, 40], "dtype": "float32"}}}
    model.save_pretrained(tmp_path)
    assert aliasfree.AliasFreeVQModel.from_pretrained(tmp_path)._conversion == model._conversion


def test_a_pipeline_with_a_part_of_any_class_comes_back(tmp_path, make):
    pipe = diffusers.LDMSuperResolutionPipeline(
        vqvae=convert(tiny("VQModel"), "D-hq"),
        unet=make("UNet2DModel", torch.float32),
        scheduler=diffusers.DDIMScheduler(),
    )
    pipe.save_pretrained(tmp_path)
    assert type(DiffusionPipeline.from_pretrained(tmp_path).vqvae) is aliasfree.AliasFreeVQModel


def test_names_that_no_model_has_are_no_attributes():
    for name in ("AliasFreeNothing", "AliasFreeDDPMScheduler", "AliasFreeFrozenDict"):
        with pytest.raises(AttributeError, match=name):
            getattr(aliasfree, name)


def test_a_control_net_of_a_converted_unet_is_converted_alike(make):
    unet = convert(make("UNet2DConditionModel", torch.float32), "B-hq", padding_mode="circular")
    made = aliasfree.AliasFreeControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))
    assert type(made) is aliasfree.AliasFreeControlNetModel
    assert (made.config["alias_free"], made.config["alias_free_padding_mode"]) == ("B-hq", "circular")
    assert made._conversion.filters == unet._conversion.filters
    assert type(revert(made)) is ControlNetModel
    with pytest.raises(ArgumentError, match="the unet is not converted"):
        aliasfree.AliasFreeControlNetModel.from_unet(revert(unet))


def test_saving_a_whole_of_which_a_part_was_converted_says_so(make, tmp_path):
    model: UNet2DConditionModel = make("UNet2DConditionModel", torch.float32)
    convert(model.mid_block, "D-hq")
    with pytest.warns(UserWarning, match="mid_block was converted by itself"):
        model.save_pretrained(tmp_path)
    revert(model.mid_block)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.state_dict()


@pytest.mark.parametrize("name", ["VQModel", "AutoencoderTiny"])
def test_analyze_opens_what_was_converted(name, tmp_path):
    convert(tiny(name), "D-hq", padding_mode="circular").save_pretrained(tmp_path)
    subject = open_subject(str(tmp_path), SubjectSettings())
    assert type(subject.model).__name__ == f"AliasFree{name}"
    assert subject.periodic
    assert subject.call(subject.images).shape == subject.images.shape


@pytest.mark.parametrize(
    ("name", "reason"), [("UNetMotionModel", "takes videos"), ("T2IAdapter", "T2IAdapter does not take")]
)
def test_analyze_refuses_what_makes_no_images_of_images(name, reason, tmp_path):
    tiny(name).save_pretrained(tmp_path)
    with pytest.raises((CheckpointError, ArgumentError), match=reason):
        open_subject(str(tmp_path), SubjectSettings())


def test_a_converted_model_is_no_stock_one():
    assert isinstance(convert(tiny("VQModel"), "B-hq"), VQModel)
