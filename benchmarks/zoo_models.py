"""Small models of the classes that diffusers' own model tests do not build, and what they are called with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import diffusers
import torch
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from aliasfree.conversion.inputs import implied_inputs

__all__ = ["small_models"]

BLOCKS = {"block_out_channels": (32, 32), "norm_num_groups": 8, "layers_per_block": 2}
HEADS = {"cross_attention_dim": 8, "attention_head_dim": 4}
DOWN = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
UP = {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
VAE = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
HUNYUAN = {"latent_channels": 8, "block_out_channels": (32, 32), "layers_per_block": 1, "spatial_compression_ratio": 2}
WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [True]}
CONDITION = {"conditioning_embedding_out_channels": (4, 8)}

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "UNet2DConditionModel": ({**BLOCKS, **HEADS, **DOWN, **UP, "sample_size": 16}, None),
    "ControlNetModel": ({**BLOCKS, **HEADS, **DOWN, **CONDITION}, None),
    "T2IAdapter": ({"channels": [8, 8], "num_res_blocks": 1, "downscale_factor": 4}, None),
    "I2VGenXLUNet": (
        {
            **BLOCKS,
            **HEADS,
            "sample_size": 16,
            "num_attention_heads": 4,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        },
        {
            "sample": (1, 4, 4, 16, 16),
            "timestep": 7.0,
            "fps": (1,),
            "image_latents": (1, 4, 4, 16, 16),
            "image_embeddings": (1, 8),
            "encoder_hidden_states": (1, 8, 8),
        },
    ),
    "Kandinsky3UNet": (
        {
            "time_embedding_dim": 16,
            "groups": 4,
            "attention_head_dim": 4,
            "layers_per_block": 2,
            "block_out_channels": (16, 32),
            "cross_attention_dim": 8,
            "encoder_hid_dim": 8,
        },
        {
            "sample": (1, 4, 16, 16),
            "timestep": 7.0,
            "encoder_hidden_states": (1, 8, 8),
            "encoder_attention_mask": torch.ones(1, 8),
        },
    ),
    "StableCascadeUNet": (
        {
            "in_channels": 4,
            "out_channels": 4,
            "timestep_ratio_embedding_dim": 8,
            "conditioning_dim": 16,
            "block_out_channels": (16, 32),
            "num_attention_heads": (2, 2),
            "down_num_layers_per_block": (1, 1),
            "up_num_layers_per_block": (1, 1),
            "clip_text_pooled_in_channels": 8,
            "switch_level": (False,),
        },
        {"sample": (1, 4, 16, 16), "timestep_ratio": (1,), "clip_text_pooled": (1, 1, 8)},
    ),
    "UVit2DModel": (
        {
            "hidden_size": 16,
            "cond_embed_dim": 8,
            "micro_cond_encode_dim": 2,
            "micro_cond_embed_dim": 10,
            "encoder_hidden_size": 8,
            "vocab_size": 32,
            "codebook_size": 32,
            "in_channels": 16,
            "block_out_channels": 16,
            "num_res_blocks": 1,
            "downsample": True,
            "upsample": True,
            "block_num_heads": 2,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "sample_size": 16,
        },
        {
            "input_ids": torch.arange(256).remainder(32).reshape(1, 16, 16),
            "encoder_hidden_states": (1, 8, 8),
            "pooled_text_emb": (1, 8),
            "micro_conds": (1, 5),
        },
    ),
    "DreamLiteUNetModel": (
        {
            "block_out_channels": (32, 32, 32),
            "norm_num_groups": 8,
            "layers_per_block": 1,
            **HEADS,
            "sample_size": 16,
        },
        None,
    ),
    "AutoencoderKLQwenImage": (WAN, {"sample": (1, 3, 1, 32, 32)}),
    "AutoencoderKLHunyuanImage": ({**HUNYUAN, "in_channels": 3, "out_channels": 3, "sample_size": 32}, None),
    "AutoencoderKLHunyuanImageRefiner": (
        {**HUNYUAN, "temporal_compression_ratio": 2},
        {"sample": (1, 3, 5, 32, 32)},
    ),
    "AutoencoderKLHunyuanVideo15": ({**HUNYUAN, "temporal_compression_ratio": 2}, {"sample": (1, 3, 5, 32, 32)}),
    "AutoencoderKLFlux2": ({**BLOCKS, **VAE, "latent_channels": 4, "sample_size": 32}, None),
    "Kandinsky6SRVAE": (
        {
            "latent_channels": 4,
            "encoder_block_out_channels": (8, 16, 16),
            "decoder_block_out_channels": (8, 16, 16),
            "layers_per_block": 1,
            "temporal_compression_ratio": 2,
        },
        {"sample": (1, 3, 5, 32, 32)},
    ),
    "SanaControlNetModel": (
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 1,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 8,
            "cross_attention_dim": 16,
            "caption_channels": 8,
            "sample_size": 16,
        },
        {
            "hidden_states": (1, 4, 16, 16),
            "encoder_hidden_states": (1, 8, 8),
            "timestep": torch.tensor([7]),
            "controlnet_cond": (1, 4, 16, 16),
        },
    ),
    "Transformer2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 16, "norm_num_groups": 4},
        {"hidden_states": (1, 16, 16, 16)},
    ),
    "PaellaVQModel": ({"bottleneck_blocks": 1, "embed_dim": 16, "num_vq_embeddings": 16}, {"sample": (1, 3, 32, 32)}),
}


def small_models(wanted: list[str]) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """A model and inputs of each class, random from seed 0."""
    for name, (config, given) in MODELS.items():
        if not wanted or name in wanted:
            torch.manual_seed(0)
            cls = PaellaVQModel if name == "PaellaVQModel" else getattr(diffusers, name)
            try:
                yield _ready(cls(**config), given)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)


def _ready(model: nn.Module, given: dict[str, Any] | None) -> tuple[nn.Module, dict[str, Any]]:
    if given is None:
        given = next(v for v in implied_inputs(model) if isinstance(v, dict))
    for parameter in model.parameters():  # what starts at zero would hide the rest
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False), {name: _filled(value) for name, value in given.items()}


def _filled(value: Any) -> Any:
    """Noise for shapes and for tensors without data; whole numbers are zeros."""
    if isinstance(value, tuple) and value and all(isinstance(n, int) for n in value):
        return torch.randn(*value)
    if isinstance(value, list):
        return [_filled(v) for v in value]

    def fill(v: Any) -> Any:
        if not isinstance(v, Tensor) or not v.is_meta:
            return v
        return torch.randn(v.shape) if v.is_floating_point() else torch.zeros(v.shape, dtype=v.dtype)

    return tree_map(fill, value)
