"""Small random pipelines of diffusers: the parts and the inputs that many of them share."""

from __future__ import annotations

from functools import cache

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    ChromaImg2ImgPipeline,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxImg2ImgPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImageImg2ImgPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPAGPipeline,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3PAGImg2ImgPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGImg2ImgPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPAGImg2ImgPipeline,
    StableDiffusionXLPAGInpaintPipeline,
    StableDiffusionXLPAGPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImageImg2ImgPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)


def relative(a, b) -> float:
    return float((a - b).norm() / b.norm())


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def autoencoder(channels: int = 4) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        latent_channels=channels,
        block_out_channels=(4, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        shift_factor=0.0,
    ).eval()


def unet(**more) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **{"layers_per_block": 1} | more,
    ).eval()


NO_TEXT = {"text_encoder": None, "tokenizer": None}
NO_SAFETY = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def stable_diffusion(kind=StableDiffusionPipeline, scheduler=None, network=None):
    parts = {**NO_TEXT, **NO_SAFETY}
    return quiet(kind(vae=autoencoder(), unet=network or unet(), scheduler=scheduler or DDIMScheduler(), **parts))


PROMPT = {"prompt_embeds": torch.zeros(1, 3, 8), "negative_prompt_embeds": torch.zeros(1, 3, 8)}

ADDED = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4,
         "projection_class_embeddings_input_dim": 32}  # fmt: skip


def xl(kind, more=None, **network):
    return quiet(kind(vae=autoencoder(), unet=unet(**ADDED, **network), scheduler=EulerDiscreteScheduler(),
                      text_encoder_2=None, tokenizer_2=None, **NO_TEXT, add_watermarker=False,
                      **(more or {})))  # fmt: skip


def controlnet(**more) -> ControlNetModel:
    torch.manual_seed(0)
    net = ControlNetModel(block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
                          cross_attention_dim=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                          conditioning_embedding_out_channels=(4, 8), **more)  # fmt: skip
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def controlled(kind):
    return quiet(kind(vae=autoencoder(), unet=unet(), controlnet=controlnet(), scheduler=DDIMScheduler(), **NO_TEXT,
                      **NO_SAFETY))  # fmt: skip


def controlled_flux(kind):
    torch.manual_seed(0)
    net = FluxControlNetModel(patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
                              num_attention_heads=1, joint_attention_dim=8, pooled_projection_dim=8,
                              axes_dims_rope=(2, 2, 4))  # fmt: skip
    parts = flux(FluxPipeline).components
    return quiet(kind(**{k: v for k, v in parts.items() if "image_encoder" not in k and "feature" not in k},
                      controlnet=net.eval()))  # fmt: skip


def stable_diffusion_3(kind, channels=4, **more):
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(sample_size=8, patch_size=1, in_channels=channels, out_channels=channels,
                                        num_layers=1, attention_head_dim=8, num_attention_heads=1,
                                        joint_attention_dim=8, caption_projection_dim=8, pooled_projection_dim=8,
                                        pos_embed_max_size=16)  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(kind(transformer=transformer.eval(), scheduler=scheduler, vae=autoencoder(channels), **parts, **more))


def flux(kind):
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(patch_size=1, in_channels=16, num_layers=1, num_single_layers=1,
                                         attention_head_dim=8, num_attention_heads=1, joint_attention_dim=8,
                                         pooled_projection_dim=8, axes_dims_rope=(2, 2, 4))  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(kind(transformer=transformer.eval(), scheduler=scheduler, vae=autoencoder(), **parts))


POOLED = {"prompt_embeds": torch.zeros(1, 3, 8), "pooled_prompt_embeds": torch.zeros(1, 8)}
NEGATIVE = {"negative_prompt_embeds": torch.zeros(1, 3, 8), "negative_pooled_prompt_embeds": torch.zeros(1, 8)}
NEGATIVE_TEXT = {"negative_prompt_embeds": torch.zeros(1, 3, 8)}
IMAGE = {"image": torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16), "strength": 0.8}
DENOISED = {"callback_on_step_end_tensor_inputs": ["latents", "denoised"]}


def made(kind, transformer, vae=None, scheduler=None, **more):
    """A pipeline of a transformer, an autoencoder and a flow-matching scheduler."""
    torch.manual_seed(0)
    parts = {**NO_TEXT, **more}
    vae = autoencoder() if vae is None else vae()
    return quiet(
        kind(
            transformer=transformer().eval(), vae=vae, scheduler=scheduler or FlowMatchEulerDiscreteScheduler(), **parts
        )
    )


def chroma(kind):
    return made(kind, lambda: ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=8, axes_dims_rope=(4, 4, 8), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1))  # fmt: skip


def qwen(kind, **more):
    return made(kind, lambda: QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=8, axes_dims_rope=(8, 4, 4)),
        lambda: AutoencoderKLQwenImage(base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1,
                                       temperal_downsample=[True], latents_mean=[0.0] * 4,
                                       latents_std=[1.0] * 4), **more)  # fmt: skip


def aura(kind):
    return made(kind, lambda: AuraFlowTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=1, caption_projection_dim=8, joint_attention_dim=8, out_channels=4,
        pos_embed_max_size=64))  # fmt: skip


def sana(kind, also=None, **more):
    return made(kind, lambda: SanaTransformer2DModel(
        **more,
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=8),
        lambda: AutoencoderDC(in_channels=3, latent_channels=4, attention_head_dim=2,
                              encoder_block_types=("ResBlock",) * 2, decoder_block_types=("ResBlock",) * 2,
                              encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4),
                              encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
                              encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ())),
        **(also or {}))  # fmt: skip


def lumina(kind):
    return made(kind, lambda: Lumina2Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, hidden_size=24, num_layers=1, num_refiner_layers=1,
        num_attention_heads=3, num_kv_heads=1, multiple_of=2, axes_dim_rope=(4, 2, 2), axes_lens=(32, 32, 32),
        cap_feat_dim=8))  # fmt: skip


def cogview(kind):
    return made(kind, lambda: CogView4Transformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4,
        text_embed_dim=8, time_embed_dim=8, condition_dim=4))  # fmt: skip


def z_image(kind):
    return made(kind, lambda: ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=1,
        n_kv_heads=1, cap_feat_dim=8, axes_dims=[8, 4, 4], axes_lens=[64, 32, 32]))  # fmt: skip


def masked(prompt: str = "prompt_attention_mask", dtype: torch.dtype = torch.long) -> dict[str, torch.Tensor]:
    """Embeddings of no text, and a mask that takes all of them."""
    names = ("prompt_embeds", "negative_prompt_embeds")
    masks = (prompt, f"negative_{prompt}")
    return {n: torch.zeros(1, 3, 8) for n in names} | {m: torch.ones(1, 3, dtype=dtype) for m in masks}


BINS = {"use_resolution_binning": False, "negative_prompt": None, "height": 32, "width": 32}
WIDE = {"height": 64, "width": 64}  # an autoencoder of eight pixels a latent is assumed
CONTROL = {"control_image": IMAGE["image"].flip(3)}
MASK = {
    "image": IMAGE["image"], "mask_image": (torch.arange(256.0).reshape(1, 1, 16, 16) > 90).float(), "strength": 1.0,
}  # fmt: skip
PIPELINES = {
    "AuraFlowPipeline": (lambda: aura(AuraFlowPipeline), masked()),
    "CogView4Pipeline": (lambda: cogview(CogView4Pipeline), PROMPT | NEGATIVE_TEXT),
    "LatentConsistencyModelImg2ImgPipeline": (
        lambda: stable_diffusion(LatentConsistencyModelImg2ImgPipeline, LCMScheduler(), unet(time_cond_proj_dim=8)),
        {"prompt_embeds": torch.zeros(1, 3, 8), "original_inference_steps": 50} | IMAGE | DENOISED,
    ),
    "Lumina2Pipeline": (lambda: lumina(Lumina2Pipeline), masked() | WIDE),
    "SanaPipeline": (lambda: sana(SanaPipeline), masked() | BINS),
    "ZImagePipeline": (lambda: z_image(ZImagePipeline), {"prompt_embeds": [torch.zeros(3, 8)], "guidance_scale": 0.0}),
    "StableDiffusionPAGPipeline": (lambda: stable_diffusion(StableDiffusionPAGPipeline), PROMPT),
    "StableDiffusionPAGImg2ImgPipeline": (lambda: stable_diffusion(StableDiffusionPAGImg2ImgPipeline), PROMPT | IMAGE),
    "StableDiffusionXLPAGPipeline": (lambda: xl(StableDiffusionXLPAGPipeline), POOLED | NEGATIVE),
    "StableDiffusionXLPAGImg2ImgPipeline": (lambda: xl(StableDiffusionXLPAGImg2ImgPipeline), POOLED | NEGATIVE | IMAGE),
    "StableDiffusion3PAGImg2ImgPipeline": (
        lambda: stable_diffusion_3(StableDiffusion3PAGImg2ImgPipeline, pag_applied_layers="blocks.0"),
        POOLED | NEGATIVE | IMAGE,
    ),
    "SanaPAGPipeline": (lambda: sana(SanaPAGPipeline), masked() | BINS),
    "ZImageImg2ImgPipeline": (
        lambda: z_image(ZImageImg2ImgPipeline),
        {"prompt_embeds": [torch.zeros(3, 8)], "guidance_scale": 0.0} | IMAGE,
    ),
    "StableDiffusionInpaintPipeline": (
        lambda: stable_diffusion(StableDiffusionInpaintPipeline, network=unet(in_channels=9, out_channels=4)),
        PROMPT | MASK,
    ),
    "StableDiffusionXLInpaintPipeline": (
        lambda: xl(StableDiffusionXLInpaintPipeline, in_channels=9, out_channels=4),
        POOLED | NEGATIVE | MASK,
    ),
    "StableDiffusionXLPAGInpaintPipeline": (
        lambda: xl(StableDiffusionXLPAGInpaintPipeline, in_channels=9, out_channels=4),
        POOLED | NEGATIVE | MASK,
    ),
    "StableDiffusionInstructPix2PixPipeline": (
        lambda: stable_diffusion(StableDiffusionInstructPix2PixPipeline, network=unet(in_channels=8, out_channels=4)),
        PROMPT | {"image": IMAGE["image"]},
    ),
    "StableDiffusionControlNetPipeline": (
        lambda: controlled(StableDiffusionControlNetPipeline),
        PROMPT | {"image": IMAGE["image"]},
    ),
    "StableDiffusionControlNetImg2ImgPipeline": (
        lambda: controlled(StableDiffusionControlNetImg2ImgPipeline),
        PROMPT | IMAGE | CONTROL,
    ),
    "StableDiffusionXLControlNetPipeline": (
        lambda: xl(StableDiffusionXLControlNetPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | {"image": IMAGE["image"]},
    ),
    "StableDiffusionXLControlNetImg2ImgPipeline": (
        lambda: xl(StableDiffusionXLControlNetImg2ImgPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | IMAGE | CONTROL,
    ),
    "FluxControlNetPipeline": (lambda: controlled_flux(FluxControlNetPipeline), POOLED | CONTROL),
    "StableDiffusion3PAGPipeline": (
        lambda: stable_diffusion_3(StableDiffusion3PAGPipeline, pag_applied_layers="blocks.0"),
        POOLED | NEGATIVE,
    ),
    "ChromaPipeline": (lambda: chroma(ChromaPipeline), masked(dtype=torch.float32)),
    "ChromaImg2ImgPipeline": (lambda: chroma(ChromaImg2ImgPipeline), masked(dtype=torch.float32) | IMAGE),
    "QwenImagePipeline": (lambda: qwen(QwenImagePipeline), masked("prompt_embeds_mask")),
    "QwenImageImg2ImgPipeline": (lambda: qwen(QwenImageImg2ImgPipeline), masked("prompt_embeds_mask") | IMAGE),
    "StableDiffusionPipeline": (lambda: stable_diffusion(), PROMPT),
    "StableDiffusionImg2ImgPipeline": (lambda: stable_diffusion(StableDiffusionImg2ImgPipeline), PROMPT | IMAGE),
    "StableDiffusionXLPipeline": (lambda: xl(StableDiffusionXLPipeline), POOLED | NEGATIVE),
    "StableDiffusionXLImg2ImgPipeline": (lambda: xl(StableDiffusionXLImg2ImgPipeline), POOLED | NEGATIVE | IMAGE),
    "StableDiffusion3Pipeline": (lambda: stable_diffusion_3(StableDiffusion3Pipeline), POOLED | NEGATIVE),
    "StableDiffusion3Img2ImgPipeline": (
        lambda: stable_diffusion_3(StableDiffusion3Img2ImgPipeline),
        POOLED | NEGATIVE | IMAGE,
    ),
    "LatentConsistencyModelPipeline": (
        lambda: stable_diffusion(LatentConsistencyModelPipeline, LCMScheduler(), unet(time_cond_proj_dim=8)),
        {"prompt_embeds": torch.zeros(1, 3, 8)} | DENOISED,
    ),
    "FluxPipeline": (lambda: flux(FluxPipeline), POOLED),
    "FluxImg2ImgPipeline": (lambda: flux(FluxImg2ImgPipeline), POOLED | IMAGE),
}
