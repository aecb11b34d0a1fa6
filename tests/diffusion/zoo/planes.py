"""Small random pipelines of transformers that keep their latents as planes."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    AutoencoderKLHunyuanImageRefiner,
    AutoencoderKLWan,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4ControlPipeline,
    CogView4Transformer2DModel,
    Cosmos2TextToImagePipeline,
    CosmosTransformer3DModel,
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DControlNetModel,
    HunyuanDiT2DModel,
    HunyuanDiTControlNetPipeline,
    HunyuanDiTPAGPipeline,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageRefinerPipeline,
    HunyuanImageTransformer2DModel,
    JoyImageEditPipeline,
    JoyImageEditTransformer3DModel,
    Kandinsky5I2IPipeline,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    OmniGenPipeline,
    OmniGenTransformer2DModel,
    PRXPipeline,
    PRXPixelPipeline,
    PRXTransformer2DModel,
    SanaControlNetModel,
    SanaControlNetPipeline,
    SD3ControlNetModel,
    StableDiffusion3ControlNetInpaintingPipeline,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3InpaintPipeline,
    ZImageControlNetInpaintPipeline,
    ZImageControlNetModel,
    ZImageControlNetPipeline,
    ZImageInpaintPipeline,
    ZImageOmniPipeline,
    ZImageTransformer2DModel,
)
from PIL import Image
from torch import nn

from tests.diffusion.zoo.parts import (
    BINS,
    CONTROL,
    IMAGE,
    MASK,
    NEGATIVE,
    NO_TEXT,
    POOLED,
    PROMPT,
    autoencoder,
    made,
    masked,
    quiet,
    sana,
    stable_diffusion_3,
    z_image,
)


def without_text(kind, *returned):
    """A pipeline whose text encoder, which it always asks, gives this."""
    return type(kind.__name__, (kind,), {"encode_prompt": lambda self, *_, **__: returned})


def embeds(width=8, length=3):
    return torch.zeros(1, length, width)


def cogview_3(kind):
    return made(kind, lambda: CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4,
        text_embed_dim=8, time_embed_dim=8, condition_dim=2, pos_embed_max_size=8, sample_size=8),
        scheduler=CogVideoXDDIMScheduler())  # fmt: skip


def cogview_control(kind):
    return made(kind, lambda: CogView4Transformer2DModel(
        patch_size=2, in_channels=8, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4,
        text_embed_dim=8, time_embed_dim=8, condition_dim=4))  # fmt: skip


class Harmless(nn.Module):
    """Stands for the guard of Cosmos, which looks at texts and finished images."""

    dtype, device = torch.float32, torch.device("cpu")

    def check_text_safety(self, prompt):
        return True

    def check_video_safety(self, video):
        return video


def small_wan(channels=4):
    return AutoencoderKLWan(base_dim=3, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                            temperal_downsample=[False, True, True], latents_mean=[0.0] * channels,
                            latents_std=[1.0] * channels).eval()  # fmt: skip


def cosmos(kind):
    return made(kind, lambda: CosmosTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=1, attention_head_dim=16, num_layers=1, mlp_ratio=2,
        text_embed_dim=8, adaln_lora_dim=4, max_size=(4, 32, 32), patch_size=(1, 2, 2), rope_scale=(2.0, 1.0, 1.0),
        concat_padding_mask=True, extra_pos_embed_type="learnable"), small_wan,
        FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True), safety_checker=Harmless())  # fmt: skip


def flux_2_vae():
    return AutoencoderKLFlux2(down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                              block_out_channels=(4, 4), layers_per_block=1, latent_channels=4,
                              norm_num_groups=2).eval()  # fmt: skip


def ernie(kind):
    return made(kind, lambda: ErnieImageTransformer2DModel(
        hidden_size=16, num_attention_heads=1, num_layers=1, ffn_hidden_size=16, in_channels=16, out_channels=16,
        text_in_dim=8, rope_axes_dim=(4, 6, 6)), flux_2_vae)  # fmt: skip


def fibo_2(kind):
    kind = without_text(kind, torch.zeros(1, 2, 3, 8), torch.ones(1, 3, dtype=torch.bool))
    torch.manual_seed(0)
    network = BriaFibo2Transformer2DModel(
        in_channels=4, patch_size=1, dim=16, n_layers=1, n_refiner_layers=1, n_heads=1, cap_feat_dim=8,
        injection_layer_ids=(0,), perceiver_num_layers=1, min_num_gist_tokens=2, max_num_gist_tokens=4, gist_step=1,
        gist_min_text_len=1, gist_max_text_len=8, axes_dims=(8, 4, 4), axes_lens=(64, 32, 32))  # fmt: skip
    return quiet(kind(network.eval(), FlowMatchEulerDiscreteScheduler(), flux_2_vae(), None, None))


def eight():
    """An autoencoder of eight pixels a latent."""
    torch.manual_seed(0)
    return AutoencoderKL(block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
                         up_block_types=("UpDecoderBlock2D",) * 4, latents_mean=[0.0] * 4,
                         latents_std=[1.0] * 4).eval()  # fmt: skip


def glm(kind):
    torch.manual_seed(0)
    network = GlmImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        text_embed_dim=8, time_embed_dim=16, condition_dim=8, prior_vq_quantizer_codebook_size=16)  # fmt: skip
    return quiet(kind(**NO_TEXT, processor=None, vision_language_encoder=None, vae=eight(),
                      transformer=network.eval(), scheduler=FlowMatchEulerDiscreteScheduler()))  # fmt: skip


def hidream(kind):
    torch.manual_seed(0)
    network = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, caption_channels=[8, 8], text_emb_dim=16, num_routed_experts=2, num_activated_experts=1,
        axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=(0, 0))  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3", "_4")}
    pipe = quiet(kind(transformer=network.eval(), scheduler=FlowMatchEulerDiscreteScheduler(), vae=autoencoder(),
                      **parts))  # fmt: skip
    pipe.default_sample_size = 8  # other sizes are scaled to as many pixels
    return pipe


def hunyuan_dit(kind, **more):
    torch.manual_seed(0)
    network = HunyuanDiT2DModel(sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=1,
                                in_channels=4, cross_attention_dim=8, cross_attention_dim_t5=8, hidden_size=8,
                                pooled_projection_dim=8, text_len=3, text_len_t5=3)  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2")}
    return quiet(kind(vae=autoencoder(), transformer=network.eval(), scheduler=DDPMScheduler(), safety_checker=None,
                      feature_extractor=None, requires_safety_checker=False, **parts, **more))  # fmt: skip


def hunyuan_control():
    torch.manual_seed(0)
    net = HunyuanDiT2DControlNetModel(sample_size=8, transformer_num_layers=2, patch_size=2, attention_head_dim=8,
                                      num_attention_heads=1, in_channels=4, cross_attention_dim=8, hidden_size=8,
                                      cross_attention_dim_t5=8, pooled_projection_dim=8, text_len=3,
                                      text_len_t5=3)  # fmt: skip
    return net.eval()


def hunyuan_image(kind, refiner=False):
    torch.manual_seed(0)
    network = HunyuanImageTransformer2DModel(
        in_channels=16 if refiner else 4, out_channels=8 if refiner else 4, num_attention_heads=2,
        attention_head_dim=8, num_layers=1, num_single_layers=1, num_refiner_layers=1,
        patch_size=(1, 1, 1) if refiner else (1, 1), text_embed_dim=8,
        text_embed_2_dim=None if refiner else 8, rope_axes_dim=(4, 2, 2) if refiner else (4, 4),
        guidance_embeds=refiner)  # fmt: skip
    torch.manual_seed(0)
    if refiner:
        vae = AutoencoderKLHunyuanImageRefiner(
            latent_channels=4, block_out_channels=(8, 8, 8), layers_per_block=1, spatial_compression_ratio=4,
            temporal_compression_ratio=4)  # fmt: skip
        return quiet(kind(FlowMatchEulerDiscreteScheduler(), vae.eval(), None, None, network.eval()))
    vae = AutoencoderKLHunyuanImage(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 32, 32), layers_per_block=1,
        spatial_compression_ratio=4, sample_size=16)  # fmt: skip
    return quiet(kind(FlowMatchEulerDiscreteScheduler(), vae.eval(), None, None, None, None, network.eval()))


def joy(kind):
    kind = without_text(kind, embeds(), torch.ones(1, 3))
    torch.manual_seed(0)
    network = JoyImageEditTransformer3DModel(
        patch_size=[1, 2, 2], in_channels=4, hidden_size=32, num_attention_heads=2, text_dim=8, num_layers=1,
        rope_dim_list=[4, 6, 6], theta=256)  # fmt: skip
    pipe = quiet(kind(vae=small_wan(), scheduler=FlowMatchEulerDiscreteScheduler(), transformer=network.eval(),
                      **NO_TEXT, processor=None))  # fmt: skip
    pipe.vae_image_processor.get_default_height_width = lambda image, height, width: (height, width)
    return pipe


def kandinsky_5(kind, cond=False):
    kind = without_text(kind, embeds(), torch.zeros(1, 8), torch.tensor([0, 3], dtype=torch.int32))
    parts = {"text_encoder_2": None, "tokenizer_2": None}
    pipe = made(kind, lambda: Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=8, in_text_dim2=8, time_dim=8, out_visual_dim=4, patch_size=(1, 2, 2),
        model_dim=8, ff_dim=8, num_text_blocks=1, num_visual_blocks=1, axes_dims=(2, 2, 4), visual_cond=cond,
        attention_type="regular"), eight, FlowMatchEulerDiscreteScheduler(shift=7.0), **parts)  # fmt: skip
    pipe.resolutions = [(64, 64)]
    return pipe


def lumina_1(kind):
    torch.manual_seed(0)
    network = LuminaNextDiT2DModel(
        sample_size=8, patch_size=2, in_channels=4, hidden_size=8, num_layers=1, num_attention_heads=1,
        num_kv_heads=1, multiple_of=8, learn_sigma=True, cross_attention_dim=8)  # fmt: skip
    return made(kind, lambda: network)


def omni(kind):
    class Processor:
        """Stands for the tokenizer."""

        max_image_size = 1024

        def __call__(self, *_, **__):
            side = 3 + 1 + 16
            return {"input_ids": torch.zeros(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, side, side),
                    "position_ids": torch.arange(side).repeat(2, 1), "input_pixel_values": [],
                    "input_image_sizes": {}}  # fmt: skip

    torch.manual_seed(0)
    network = OmniGenTransformer2DModel(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=16, num_layers=1,
        in_channels=4, time_step_dim=4, vocab_size=8, pad_token_id=0,
        rope_scaling={"long_factor": [1.0, 1.0], "short_factor": [1.0, 1.0]})  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1)
    pipe = quiet(kind(network.eval(), scheduler, autoencoder(), None))
    pipe.multimodal_processor = Processor()
    return pipe


def prx(kind, pixels=False):
    torch.manual_seed(0)
    more = {"in_channels": 3, "bottleneck_size": 8, "resolution_embeds": True} if pixels else {"in_channels": 4}
    network = PRXTransformer2DModel(patch_size=1, context_in_dim=8, hidden_size=8, mlp_ratio=2.0, num_heads=2, depth=1,
                                    axes_dim=[2, 2], **more)  # fmt: skip
    parts = {"transformer": network.eval(), "scheduler": FlowMatchEulerDiscreteScheduler(), **NO_TEXT}
    return quiet(kind(**parts) if pixels else kind(**parts, vae=autoencoder()))


def sana_controlled(kind):
    torch.manual_seed(0)
    net = SanaControlNetModel(patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2,
                              attention_head_dim=4, num_cross_attention_heads=2, cross_attention_head_dim=4,
                              cross_attention_dim=8, caption_channels=8, sample_size=8)  # fmt: skip
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    return sana(kind, also={"controlnet": net.eval()})


def sd_3_controlled(kind, extra=0):
    torch.manual_seed(0)
    net = SD3ControlNetModel(sample_size=8, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8,
                             num_attention_heads=1, joint_attention_dim=8, caption_projection_dim=8,
                             pooled_projection_dim=8, out_channels=4, pos_embed_max_size=16,
                             extra_conditioning_channels=extra)  # fmt: skip
    return stable_diffusion_3(kind, controlnet=net.eval())


def z_controlled(kind, channels):
    torch.manual_seed(0)
    net = ZImageControlNetModel(control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=channels,
                                dim=16, n_refiner_layers=1, n_heads=1, n_kv_heads=1)  # fmt: skip
    pipe = z_image(ZImageInpaintPipeline)
    net = ZImageControlNetModel.from_transformer(net, pipe.transformer)
    return quiet(kind(**pipe.components, controlnet=net.eval()))


def z_omni(kind):
    return made(kind, lambda: ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=1,
        n_kv_heads=1, cap_feat_dim=8, siglip_feat_dim=8, axes_dims=[8, 4, 4], axes_lens=[64, 32, 32]),
        siglip=None, siglip_processor=None)  # fmt: skip


DIT = {
    f"{sign}{name}": value
    for sign in ("", "negative_")
    for name, value in {
        "prompt_embeds": embeds(), "prompt_embeds_2": embeds(), "prompt_attention_mask": torch.ones(1, 3),
        "prompt_attention_mask_2": torch.ones(1, 3),
    }.items()
}  # fmt: skip
SMALL = {"height": 16, "width": 16, "use_resolution_binning": False}
HUNYUAN = masked("prompt_embeds_mask") | {
    f"{sign}prompt_{name}_2": value
    for sign in ("", "negative_")
    for name, value in {"embeds": embeds(), "embeds_mask": torch.ones(1, 3, dtype=torch.long)}.items()
}  # fmt: skip
Z = {"prompt_embeds": [torch.zeros(3, 8)], "guidance_scale": 0.0}
SIZE = {"height": 32, "width": 32}
PIPELINES = {
    "BriaFibo2Pipeline": (lambda: fibo_2(BriaFibo2Pipeline), {"prompt": "{}", "negative_prompt": ""}),
    "CogView3PlusPipeline": (lambda: cogview_3(CogView3PlusPipeline), PROMPT),
    "CogView4ControlPipeline": (lambda: cogview_control(CogView4ControlPipeline), PROMPT | CONTROL),
    "Cosmos2TextToImagePipeline": (
        lambda: cosmos(Cosmos2TextToImagePipeline), PROMPT | {"height": 64, "width": 64},
    ),
    "ErnieImagePipeline": (
        lambda: ernie(ErnieImagePipeline),
        {"prompt_embeds": [torch.zeros(3, 8)], "negative_prompt_embeds": [torch.zeros(3, 8)]},
    ),
    "GlmImagePipeline": (
        lambda: glm(GlmImagePipeline),
        PROMPT | SIZE | {"prior_token_ids": torch.zeros(1, 4, dtype=torch.long)},
    ),
    "HiDreamImagePipeline": (
        lambda: hidream(HiDreamImagePipeline),
        {
            f"{sign}{name}": value
            for sign in ("", "negative_")
            for name, value in {
                "prompt_embeds_t5": embeds(), "prompt_embeds_llama3": torch.zeros(1, 1, 3, 8),
                "pooled_prompt_embeds": torch.zeros(1, 16),
            }.items()
        },
    ),
    "HunyuanDiTPipeline": (lambda: hunyuan_dit(HunyuanDiTPipeline), DIT | SMALL),
    "HunyuanDiTPAGPipeline": (lambda: hunyuan_dit(HunyuanDiTPAGPipeline), DIT | SMALL),
    "HunyuanDiTControlNetPipeline": (
        lambda: hunyuan_dit(HunyuanDiTControlNetPipeline, controlnet=hunyuan_control()),
        DIT | CONTROL | SMALL,
    ),
    "HunyuanImagePipeline": (lambda: hunyuan_image(HunyuanImagePipeline), HUNYUAN),
    "HunyuanImageRefinerPipeline": (
        lambda: hunyuan_image(HunyuanImageRefinerPipeline, True),
        masked("prompt_embeds_mask") | {"image": IMAGE["image"], "height": 16, "width": 16},
    ),
    "JoyImageEditPipeline": (lambda: joy(JoyImageEditPipeline), {"prompt": "x"} | {"height": 64, "width": 64}),
    "Kandinsky5T2IPipeline": (lambda: kandinsky_5(Kandinsky5T2IPipeline), {"prompt": "x", "height": 64, "width": 64}),
    "Kandinsky5I2IPipeline": (
        lambda: kandinsky_5(Kandinsky5I2IPipeline, True),
        {"prompt": "x", "image": Image.new("RGB", (64, 64)), "height": 64, "width": 64},
    ),
    "LuminaPipeline": (lambda: lumina_1(LuminaPipeline), masked() | {"height": 64, "width": 64}),
    "OmniGenPipeline": (lambda: omni(OmniGenPipeline), {"prompt": "x"}),
    "PRXPipeline": (
        lambda: prx(PRXPipeline), masked(dtype=torch.bool) | {"negative_prompt": None} | SMALL,
    ),
    "PRXPixelPipeline": (
        lambda: prx(PRXPixelPipeline, True), masked(dtype=torch.bool) | {"negative_prompt": None} | SMALL,
    ),
    "SanaControlNetPipeline": (lambda: sana_controlled(SanaControlNetPipeline), masked() | BINS | {
        "control_image": torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)}),
    "StableDiffusion3InpaintPipeline": (
        lambda: stable_diffusion_3(StableDiffusion3InpaintPipeline, channels=16), POOLED | NEGATIVE | MASK,
    ),
    "StableDiffusion3ControlNetPipeline": (
        lambda: sd_3_controlled(StableDiffusion3ControlNetPipeline), POOLED | NEGATIVE | CONTROL,
    ),
    "StableDiffusion3ControlNetInpaintingPipeline": (
        lambda: sd_3_controlled(StableDiffusion3ControlNetInpaintingPipeline, 1),
        POOLED | NEGATIVE | CONTROL | {"control_mask": MASK["mask_image"]},
    ),
    "ZImageInpaintPipeline": (lambda: z_image(ZImageInpaintPipeline), Z | MASK),
    "ZImageControlNetPipeline": (lambda: z_controlled(ZImageControlNetPipeline, 4), Z | CONTROL),
    "ZImageControlNetInpaintPipeline": (
        lambda: z_controlled(ZImageControlNetInpaintPipeline, 9),
        Z | CONTROL | {k: v for k, v in MASK.items() if k != "strength"},
    ),
    "ZImageOmniPipeline": (
        lambda: z_omni(ZImageOmniPipeline), {"prompt_embeds": [[torch.zeros(3, 8)]], "guidance_scale": 0.0},
    ),
}  # fmt: skip
