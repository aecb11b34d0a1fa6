"""Small random pipelines that pack their latents into tokens."""

from __future__ import annotations

import functools
import sys
from unittest import mock

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    BriaFiboEditPipeline,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    BriaPipeline,
    BriaTransformer2DModel,
    ChromaInpaintPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinInpaintPipeline,
    Flux2KleinKVPipeline,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxControlImg2ImgPipeline,
    FluxControlInpaintPipeline,
    FluxControlNetImg2ImgPipeline,
    FluxControlNetInpaintPipeline,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxInpaintPipeline,
    FluxKontextInpaintPipeline,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageControlNetInpaintPipeline,
    QwenImageControlNetModel,
    QwenImageControlNetPipeline,
    QwenImageEditInpaintPipeline,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageInpaintPipeline,
    QwenImagePipeline,
)
from PIL import Image

from tests.diffusion.zoo.parts import (
    CONTROL,
    IMAGE,
    MASK,
    POOLED,
    autoencoder,
    chroma,
    controlled_flux,
    flux,
    made,
    masked,
    quiet,
    qwen,
)


def wide_flux(kind, channels: int):
    """With images in the channels behind the latents."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(patch_size=1, in_channels=channels, out_channels=16, num_layers=1,
                                         num_single_layers=1, attention_head_dim=8, num_attention_heads=1,
                                         joint_attention_dim=8, pooled_projection_dim=8,
                                         axes_dims_rope=(2, 2, 4))  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(kind(transformer=transformer.eval(), scheduler=scheduler, vae=autoencoder(), **parts))


def flux_2(kind, **more):
    return made(
        kind,
        lambda: Flux2Transformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=1, joint_attention_dim=8, timestep_guidance_channels=8, axes_dims_rope=[4, 4, 4, 4],
            **more),
        lambda: AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2).eval(),
    )  # fmt: skip


def guided(pipe):
    """The pipeline asks for an entry that its transformer does not have."""
    pipe.transformer.register_to_config(guidance_embeds=False)
    return pipe


def bria(kind):
    return made(kind, lambda: BriaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=1,
        joint_attention_dim=8, pooled_projection_dim=None, axes_dims_rope=[0, 4, 4]))  # fmt: skip


def wan():
    return AutoencoderKLWan(base_dim=4, decoder_base_dim=4, num_res_blocks=1, out_channels=12, in_channels=12,
                            patch_size=2, z_dim=16, dim_mult=[1, 1, 1, 1], scale_factor_spatial=16,
                            scale_factor_temporal=4, temperal_downsample=[False, True, True], is_residual=True,
                            latents_mean=[0.0] * 16, latents_std=[1.0] * 16).eval()  # fmt: skip


def at_hand(kind, returned=(16, 16)):
    """A pipeline that takes images at the size they have, not at a million pixels."""
    module = sys.modules[kind.__module__]

    @functools.wraps(kind.__call__)
    def call(self, *args, **kwargs):
        with mock.patch.object(module, "calculate_dimensions", return_value=returned):
            return kind.__call__(self, *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": call})


class NoText:
    """Without the text encoder, which these always ask."""

    def encode_prompt(self, *args, **kwargs):
        embeds = torch.zeros(1, 3, 16)
        layers = [torch.zeros(1, 3, 8)]
        return embeds, embeds, torch.zeros(3, 3), torch.ones(1, 3), torch.ones(1, 3), layers, layers


def fibo(kind):
    kind = type(kind.__name__, (NoText, kind), {})
    return made(kind, lambda: BriaFiboTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=1,
        joint_attention_dim=16, text_encoder_dim=8, pooled_projection_dim=None, axes_dims_rope=[0, 4, 4]),
        wan)  # fmt: skip


def ovis(kind):
    return made(kind, lambda: OvisImageTransformer2DModel(
        patch_size=1, in_channels=16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=1, joint_attention_dim=8, axes_dims_rope=(4, 4, 8)))  # fmt: skip


def qwen_vae(channels=4):
    return AutoencoderKLQwenImage(base_dim=4, z_dim=channels, dim_mult=[1, 1], num_res_blocks=1,
                                  temperal_downsample=[True], latents_mean=[0.0] * channels,
                                  latents_std=[1.0] * channels).eval()  # fmt: skip


def krea(kind):
    return made(kind, lambda: Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, timestep_embed_dim=8, text_hidden_dim=8, num_text_layers=1, text_num_attention_heads=2,
        text_num_key_value_heads=1, text_intermediate_size=8, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2), rope_theta=1000.0), qwen_vae, text_encoder_select_layers=(0,))  # fmt: skip


def nucleus(kind):
    torch.manual_seed(0)
    return quiet(kind(scheduler=FlowMatchEulerDiscreteScheduler(), vae=qwen_vae(), text_encoder=None, processor=None,
                      transformer=NucleusMoEImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4,
        joint_attention_dim=8, axes_dims_rope=(8, 4, 4), moe_enabled=False,
        capacity_factors=[8.0, 8.0]).eval()))  # fmt: skip


class Processor:
    """Stands for a processor of texts, which is asked about its template."""

    def apply_chat_template(self, *_, **__):
        return [[0, 0]]

    @property
    def tokenizer(self):
        return self

    def encode(self, _):
        return [0]


def qwen_21(kind):
    torch.manual_seed(0)
    network = QwenImage21Transformer2DModel(in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16,
                                            num_attention_heads=1, context_in_dim=8,
                                            axes_dims_rope=(8, 4, 4))  # fmt: skip
    torch.manual_seed(0)
    vae = AutoencoderKLQwenImage21(base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1] * 5, num_res_blocks=1,
                                   latents_mean=[0.0] * 4, latents_std=[1.0] * 4)  # fmt: skip
    return quiet(kind(FlowMatchEulerDiscreteScheduler(), vae.eval(), None, Processor(), network.eval()))


def qwen_controlled(kind, extra=0):
    torch.manual_seed(0)
    net = QwenImageControlNetModel(patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16,
                                   num_attention_heads=1, joint_attention_dim=8, axes_dims_rope=(8, 4, 4),
                                   extra_condition_channels=extra)  # fmt: skip
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    parts = qwen(QwenImagePipeline).components
    return quiet(kind(**parts, controlnet=net.eval()))


TEXT = masked("prompt_embeds_mask")
TOKENS = {"prompt_embeds": torch.zeros(1, 3, 8), "negative_prompt_embeds": torch.zeros(1, 3, 8)}
LAYERS = masked("prompt_embeds_mask", torch.bool) | {
    "prompt_embeds": torch.zeros(1, 3, 1, 8), "negative_prompt_embeds": torch.zeros(1, 3, 1, 8),
}  # fmt: skip
FLOAT = masked(dtype=torch.float32)
PICTURE = Image.new("RGB", (16, 16), (90, 30, 200))
SMALL = {"image": IMAGE["image"], "height": 16, "width": 16}
PIPELINES = {
    "FluxControlPipeline": (lambda: wide_flux(FluxControlPipeline, 32), POOLED | CONTROL),
    "FluxControlImg2ImgPipeline": (lambda: wide_flux(FluxControlImg2ImgPipeline, 32), POOLED | CONTROL | IMAGE),
    "FluxControlInpaintPipeline": (lambda: wide_flux(FluxControlInpaintPipeline, 32), POOLED | CONTROL | MASK),
    "FluxFillPipeline": (lambda: wide_flux(FluxFillPipeline, 48), POOLED | MASK),
    "FluxInpaintPipeline": (lambda: flux(FluxInpaintPipeline), POOLED | MASK),
    "FluxKontextPipeline": (
        lambda: flux(FluxKontextPipeline), POOLED | SMALL | {"max_area": 256, "_auto_resize": False},
    ),
    "FluxKontextInpaintPipeline": (
        lambda: flux(FluxKontextInpaintPipeline), POOLED | MASK | {"max_area": 256, "_auto_resize": False},
    ),
    "FluxControlNetImg2ImgPipeline": (
        lambda: controlled_flux(FluxControlNetImg2ImgPipeline), POOLED | CONTROL | IMAGE,
    ),
    "FluxControlNetInpaintPipeline": (
        lambda: controlled_flux(FluxControlNetInpaintPipeline), POOLED | CONTROL | MASK,
    ),
    "ChromaInpaintPipeline": (lambda: guided(chroma(ChromaInpaintPipeline)), FLOAT | MASK),
    "Flux2Pipeline": (lambda: flux_2(Flux2Pipeline), {"prompt_embeds": torch.zeros(1, 3, 8)}),
    "Flux2KleinPipeline": (lambda: flux_2(Flux2KleinPipeline, guidance_embeds=False), TOKENS),
    "Flux2KleinKVPipeline": (
        lambda: flux_2(Flux2KleinKVPipeline, guidance_embeds=False),
        {"prompt_embeds": torch.zeros(1, 3, 8), "image": Image.new("RGB", (64, 64))},
    ),
    "Flux2KleinInpaintPipeline": (lambda: flux_2(Flux2KleinInpaintPipeline, guidance_embeds=False), TOKENS | MASK),
    "BriaPipeline": (lambda: bria(BriaPipeline), TOKENS),
    "BriaFiboPipeline": (lambda: fibo(BriaFiboPipeline), {"prompt": "{}", "height": 64, "width": 64}),
    "BriaFiboEditPipeline": (
        lambda: fibo(BriaFiboEditPipeline),
        {"prompt": '{"edit_instruction": "x"}', "height": 64, "width": 64, "image": Image.new("RGB", (64, 64))},
    ),
    "OvisImagePipeline": (lambda: ovis(OvisImagePipeline), TOKENS | {"negative_prompt": None}),
    "Krea2Pipeline": (lambda: krea(Krea2Pipeline), LAYERS),
    "NucleusMoEImagePipeline": (lambda: nucleus(NucleusMoEImagePipeline), TEXT),
    "QwenImageInpaintPipeline": (lambda: qwen(QwenImageInpaintPipeline), TEXT | MASK),
    "QwenImageEditPipeline": (
        lambda: qwen(at_hand(QwenImageEditPipeline, (16, 16, None)), processor=None),
        TEXT | {"image": PICTURE},
    ),
    "QwenImageEditPlusPipeline": (
        lambda: qwen(at_hand(QwenImageEditPlusPipeline), processor=None),
        TEXT | {"image": PICTURE},
    ),
    "QwenImageEditInpaintPipeline": (
        lambda: qwen(at_hand(QwenImageEditInpaintPipeline, (16, 16, None)), processor=None),
        TEXT | MASK | {"image": PICTURE},
    ),
    "QwenImageControlNetPipeline": (lambda: qwen_controlled(QwenImageControlNetPipeline), TEXT | CONTROL),
    "QwenImageControlNetInpaintPipeline": (
        lambda: qwen_controlled(QwenImageControlNetInpaintPipeline, 4),
        TEXT | CONTROL | {"control_mask": MASK["mask_image"]},
    ),
    "QwenImage21Pipeline": (lambda: qwen_21(QwenImage21Pipeline), TEXT | {"height": 128, "width": 128}),
}  # fmt: skip
