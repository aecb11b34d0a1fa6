"""Small random pipelines around UNets."""

from __future__ import annotations

import torch
from diffusers import (
    AltDiffusionImg2ImgPipeline,
    AltDiffusionPipeline,
    AutoencoderKL,
    ControlNetUnionModel,
    ControlNetXSAdapter,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    Kandinsky3Img2ImgPipeline,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    KandinskyV22Img2ImgPipeline,
    KandinskyV22InpaintPipeline,
    KandinskyV22Pipeline,
    StableCascadeDecoderPipeline,
    StableCascadePriorPipeline,
    StableCascadeUNet,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionControlNetPAGInpaintPipeline,
    StableDiffusionControlNetPAGPipeline,
    StableDiffusionControlNetXSPipeline,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionLDM3DPipeline,
    StableDiffusionPAGInpaintPipeline,
    StableDiffusionPanoramaPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPAGImg2ImgPipeline,
    StableDiffusionXLControlNetPAGPipeline,
    StableDiffusionXLControlNetUnionImg2ImgPipeline,
    StableDiffusionXLControlNetUnionInpaintPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    StableDiffusionXLControlNetXSPipeline,
    UNet2DConditionModel,
    VQModel,
    WuerstchenDecoderPipeline,
    WuerstchenPriorPipeline,
)
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel, WuerstchenDiffNeXt, WuerstchenPrior
from torch import nn

from tests.diffusion.zoo.parts import (
    ADDED,
    CONTROL,
    IMAGE,
    MASK,
    NEGATIVE,
    NO_TEXT,
    POOLED,
    PROMPT,
    autoencoder,
    controlled,
    controlnet,
    quiet,
    stable_diffusion,
    unet,
    xl,
)

SHOWN = {"image": IMAGE["image"]}


def union() -> ControlNetUnionModel:
    torch.manual_seed(0)
    net = ControlNetUnionModel(block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
                               cross_attention_dim=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                               conditioning_embedding_out_channels=(4, 8), num_control_type=2,
                               num_proj_channel=8, num_trans_channel=8, num_trans_head=2, **ADDED)  # fmt: skip
    return net.eval()


def joined(kind):
    """With the ControlNet for several kinds of conditions."""
    return xl(kind, {"controlnet": union()})


def adapted(kind, large: bool):
    """With the small ControlNet that runs beside the UNet."""
    torch.manual_seed(0)
    network = unet(**(ADDED if large else {}), use_linear_projection=True, layers_per_block=2)
    adapter = ControlNetXSAdapter.from_unet(network, size_ratio=1, conditioning_embedding_out_channels=(4, 8))
    if large:
        parts = {"text_encoder_2": None, "tokenizer_2": None, **NO_TEXT, "add_watermarker": False}
        return quiet(kind(vae=autoencoder(), unet=network, controlnet=adapter, scheduler=DDPMScheduler(), **parts))
    return quiet(kind(vae=autoencoder(), unet=network, controlnet=adapter, scheduler=DDPMScheduler(), **NO_TEXT,
                      safety_checker=None, feature_extractor=None, requires_safety_checker=False))  # fmt: skip


def deep(kind):
    parts = {"vae": autoencoder(), "unet": unet(in_channels=5, out_channels=4), "scheduler": DDPMScheduler()}
    return quiet(kind(**parts, **NO_TEXT, depth_estimator=None, feature_extractor=None))


def ldm_3d(kind):
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=6,
        out_channels=6,
        block_out_channels=(4, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    return quiet(kind(vae=vae.eval(), unet=unet(), scheduler=DDPMScheduler(), **NO_TEXT, image_encoder=None,
                      safety_checker=None, feature_extractor=None, requires_safety_checker=False))  # fmt: skip


def kandinsky_3(kind):
    torch.manual_seed(0)
    network = Kandinsky3UNet(
        in_channels=4, time_embedding_dim=8, groups=2, attention_head_dim=4, layers_per_block=2,
        block_out_channels=(8, 16), cross_attention_dim=8, encoder_hid_dim=8)  # fmt: skip
    torch.manual_seed(0)
    movq = VQModel(block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
                   up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, vq_embed_dim=4,
                   num_vq_embeddings=8)  # fmt: skip
    return quiet(kind(**NO_TEXT, unet=network.eval(), scheduler=DDPMScheduler(), movq=movq.eval()))


def kandinsky_22(kind, channels=4):
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        in_channels=channels, out_channels=8, addition_embed_type="image", encoder_hid_dim=8, cross_attention_dim=8,
        encoder_hid_dim_type="image_proj", block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=4,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), norm_num_groups=4,
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), class_embed_type=None,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", resnet_time_scale_shift="scale_shift")  # fmt: skip
    torch.manual_seed(0)
    movq = VQModel(block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
                   up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, vq_embed_dim=4,
                   num_vq_embeddings=8)  # fmt: skip
    return quiet(kind(unet=network.eval(), scheduler=DDPMScheduler(), movq=movq.eval()))


class NoText(nn.Module):
    """Stands for a text encoder where a pipeline asks it for its dtype."""

    dtype, device = torch.float32, torch.device("cpu")


def cascade(**more):
    torch.manual_seed(0)
    return StableCascadeUNet(conditioning_dim=8, block_out_channels=(8, 8), num_attention_heads=(2, 2),
                             down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1),
                             down_blocks_repeat_mappers=(1, 1), up_blocks_repeat_mappers=(1, 1),
                             block_types_per_layer=(("SDCascadeResBlock", "SDCascadeTimestepBlock",
                                                     "SDCascadeAttnBlock"),) * 2,
                             switch_level=(False,), clip_text_pooled_in_channels=8, timestep_ratio_embedding_dim=8,
                             **more).eval()  # fmt: skip


def cascade_prior():
    network = cascade(in_channels=4, out_channels=4, clip_text_in_channels=8, clip_image_in_channels=8)
    return quiet(StableCascadePriorPipeline(tokenizer=None, text_encoder=NoText(), prior=network,
                                            scheduler=DDPMWuerstchenScheduler(), resolution_multiple=2.0))  # fmt: skip


def paella():
    torch.manual_seed(0)
    return PaellaVQModel(levels=2, bottleneck_blocks=1, num_vq_embeddings=8, embed_dim=8, latent_channels=4).eval()


def cascade_decoder():
    network = cascade(in_channels=4, out_channels=4, effnet_in_channels=4)
    return quiet(StableCascadeDecoderPipeline(network, None, None, DDPMWuerstchenScheduler(), paella(),
                                              latent_dim_scale=2.0))  # fmt: skip


def wuerstchen_prior():
    torch.manual_seed(0)
    network = WuerstchenPrior(c_in=4, c=8, c_cond=8, c_r=8, depth=1, nhead=2)
    return quiet(WuerstchenPriorPipeline(None, NoText(), network.eval(), DDPMWuerstchenScheduler(), latent_mean=1.0,
                                         latent_std=0.0, resolution_multiple=2.0))  # fmt: skip


class Decoder(WuerstchenDecoderPipeline):
    """Without its text encoder, which it always asks."""

    def encode_prompt(self, *args, **kwargs):
        return torch.zeros(1, 3, 8), None


def wuerstchen_decoder():
    torch.manual_seed(0)
    network = WuerstchenDiffNeXt(c_in=4, c_out=4, c_r=8, patch_size=1, c_cond=8, c_hidden=[8, 8], nhead=[-1, 2],
                                 blocks=[1, 1], level_config=["CT", "CTA"], clip_embd=8, effnet_embd=4,
                                 inject_effnet=[False, True], kernel_size=3, dropout=0.0)  # fmt: skip
    return quiet(Decoder(None, None, network.eval(), DDPMWuerstchenScheduler(), paella(),
                                           latent_dim_scale=2.0))  # fmt: skip


SMALL = {"image": IMAGE["image"]}
EMBEDS = {"image_embeds": torch.zeros(1, 8), "negative_image_embeds": torch.zeros(1, 8)}
WIDE_IMAGE = {"image": torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)}
WIDE_MASK = {"mask_image": (torch.arange(64.0 * 64).reshape(1, 1, 64, 64) > 1500).float()}
ATTENTION = {"attention_mask": torch.ones(1, 3), "negative_attention_mask": torch.ones(1, 3)}
LOW = torch.linspace(-1, 1, 4 * 4 * 4).reshape(1, 4, 4, 4)
CASCADE = {
    "prompt_embeds": torch.zeros(1, 3, 8), "negative_prompt_embeds": torch.zeros(1, 3, 8),
    "prompt_embeds_pooled": torch.zeros(1, 1, 8), "negative_prompt_embeds_pooled": torch.zeros(1, 1, 8),
}  # fmt: skip
PIPELINES = {
    "AltDiffusionPipeline": (lambda: stable_diffusion(AltDiffusionPipeline), PROMPT),
    "AltDiffusionImg2ImgPipeline": (lambda: stable_diffusion(AltDiffusionImg2ImgPipeline), PROMPT | IMAGE),
    "StableDiffusionPanoramaPipeline": (lambda: stable_diffusion(StableDiffusionPanoramaPipeline), PROMPT),
    "StableDiffusionLDM3DPipeline": (lambda: ldm_3d(StableDiffusionLDM3DPipeline), PROMPT | {"output_type": "np"}),
    "StableDiffusionDepth2ImgPipeline": (
        lambda: deep(StableDiffusionDepth2ImgPipeline),
        PROMPT | IMAGE | {"depth_map": torch.linspace(0, 1, 16 * 16).reshape(1, 16, 16)},
    ),
    "StableDiffusionPAGInpaintPipeline": (
        lambda: stable_diffusion(StableDiffusionPAGInpaintPipeline), PROMPT | MASK,
    ),
    "StableDiffusionInpaintPipeline, any network": (
        lambda: stable_diffusion(StableDiffusionInpaintPipeline), PROMPT | MASK,
    ),
    "StableDiffusionControlNetInpaintPipeline": (
        lambda: controlled(StableDiffusionControlNetInpaintPipeline), PROMPT | MASK | CONTROL,
    ),
    "StableDiffusionControlNetPAGPipeline": (lambda: controlled(StableDiffusionControlNetPAGPipeline), PROMPT | SMALL),
    "StableDiffusionControlNetPAGInpaintPipeline": (
        lambda: controlled(StableDiffusionControlNetPAGInpaintPipeline), PROMPT | MASK | CONTROL,
    ),
    "StableDiffusionControlNetXSPipeline": (
        lambda: adapted(StableDiffusionControlNetXSPipeline, False), PROMPT | SMALL,
    ),
    "StableDiffusionXLControlNetXSPipeline": (
        lambda: adapted(StableDiffusionXLControlNetXSPipeline, True), POOLED | NEGATIVE | SMALL,
    ),
    "StableDiffusionXLControlNetPAGPipeline": (
        lambda: xl(StableDiffusionXLControlNetPAGPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | SMALL,
    ),
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": (
        lambda: xl(StableDiffusionXLControlNetPAGImg2ImgPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | IMAGE | CONTROL,
    ),
    "StableDiffusionXLControlNetInpaintPipeline": (
        lambda: xl(StableDiffusionXLControlNetInpaintPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | MASK | CONTROL,
    ),
    "StableDiffusionXLControlNetUnionPipeline": (
        lambda: joined(StableDiffusionXLControlNetUnionPipeline),
        POOLED | NEGATIVE | {"control_image": [CONTROL["control_image"]], "control_mode": [0]},
    ),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": (
        lambda: joined(StableDiffusionXLControlNetUnionImg2ImgPipeline),
        POOLED | NEGATIVE | IMAGE | {"control_image": [CONTROL["control_image"]], "control_mode": [0]},
    ),
    "StableDiffusionXLControlNetUnionInpaintPipeline": (
        lambda: joined(StableDiffusionXLControlNetUnionInpaintPipeline),
        POOLED | NEGATIVE | MASK | {"control_image": [CONTROL["control_image"]], "control_mode": [0]},
    ),
    "Kandinsky3Pipeline": (lambda: kandinsky_3(Kandinsky3Pipeline), PROMPT | ATTENTION | {"height": 64, "width": 64}),
    "Kandinsky3Img2ImgPipeline": (
        lambda: kandinsky_3(Kandinsky3Img2ImgPipeline), PROMPT | ATTENTION | WIDE_IMAGE | {"strength": 0.8},
    ),
    "KandinskyV22Pipeline": (
        lambda: kandinsky_22(KandinskyV22Pipeline), EMBEDS | {"height": 64, "width": 64},
    ),
    "KandinskyV22Img2ImgPipeline": (
        lambda: kandinsky_22(KandinskyV22Img2ImgPipeline),
        EMBEDS | WIDE_IMAGE | {"height": 64, "width": 64, "strength": 0.8},
    ),
    "KandinskyV22InpaintPipeline": (
        lambda: kandinsky_22(KandinskyV22InpaintPipeline, 9),
        EMBEDS | WIDE_IMAGE | WIDE_MASK | {"height": 64, "width": 64},
    ),
    "StableCascadePriorPipeline": (cascade_prior, CASCADE | {"height": 16, "width": 16}),
    "StableCascadeDecoderPipeline": (cascade_decoder, CASCADE | {"image_embeddings": LOW}),
    "WuerstchenPriorPipeline": (wuerstchen_prior, PROMPT | {"height": 16, "width": 16}),
    "WuerstchenDecoderPipeline": (wuerstchen_decoder, {"prompt": "x", "image_embeddings": LOW}),
}  # fmt: skip
