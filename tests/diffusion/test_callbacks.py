"""Motion in diffusers' own pipelines and with its schedulers."""

from __future__ import annotations

import contextlib
from functools import cache
from inspect import signature

import pytest
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
    ConfigMixin,
    ControlNetModel,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LatentConsistencyModelImg2ImgPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    LMSDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    ModelMixin,
    PNDMScheduler,
    QwenImageImg2ImgPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPAGPipeline,
    SanaPipeline,
    SanaTransformer2DModel,
    SASolverScheduler,
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
    TCDScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    ZImageImg2ImgPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.callbacks import MultiPipelineCallbacks
from diffusers.configuration_utils import register_to_config

from aliasfree.diffusion import AliasFreePipeline, MotionCallback, RollCallback, callbacks
from aliasfree.errors import ArgumentError, ShapeError


class ChurningEuler(EulerDiscreteScheduler):
    """With noise, which no pipeline asks it for."""

    def step(self, model_output, timestep, sample, generator=None, return_dict=True):
        return super().step(model_output, timestep, sample, s_churn=5.0, generator=generator, return_dict=return_dict)


SCHEDULERS = {
    "DDPM": lambda: DDPMScheduler(),
    "DDIM": lambda: DDIMScheduler(),
    "DDIM, eta 1": lambda: DDIMScheduler(),
    "Euler": lambda: EulerDiscreteScheduler(),
    "Euler, s_churn 5": ChurningEuler,
    "Euler ancestral": lambda: EulerAncestralDiscreteScheduler(),
    "Heun": lambda: HeunDiscreteScheduler(),
    "KDPM2": lambda: KDPM2DiscreteScheduler(),
    "KDPM2 ancestral": lambda: KDPM2AncestralDiscreteScheduler(),
    "DPM-Solver++ 2M": lambda: DPMSolverMultistepScheduler(),
    "DPM-Solver++ 3M": lambda: DPMSolverMultistepScheduler(solver_order=3),
    "DPM-Solver++ SDE": lambda: DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
    "DPM-Solver++ singlestep": lambda: DPMSolverSinglestepScheduler(),
    "UniPC": lambda: UniPCMultistepScheduler(),
    "DEIS": lambda: DEISMultistepScheduler(),
    "LMS": lambda: LMSDiscreteScheduler(),
    "PNDM": lambda: PNDMScheduler(skip_prk_steps=True),
    "IPNDM": lambda: IPNDMScheduler(),
    "SA-Solver": lambda: SASolverScheduler(),
    "LCM": lambda: LCMScheduler(),
    "TCD, eta 1": lambda: TCDScheduler(),
}
REMEMBER = (
    *("Heun", "KDPM2", "KDPM2 ancestral", "IPNDM", "SA-Solver"),
    *("DPM-Solver++ 2M", "DPM-Solver++ 3M", "DPM-Solver++ SDE", "DPM-Solver++ singlestep"),
    *("UniPC", "DEIS", "LMS", "PNDM"),
)
DRAW = (
    *("DDPM", "DDIM, eta 1", "Euler, s_churn 5", "Euler ancestral", "KDPM2 ancestral", "DPM-Solver++ SDE"),
    *("SA-Solver", "LCM", "TCD, eta 1"),
)


def relative(a, b) -> float:
    return float((a - b).norm() / b.norm())


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def autoencoder() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
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
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **more,
    ).eval()


class EquivariantUNet(ModelMixin, ConfigMixin):
    """Radial low-pass by FFT and a pointwise nonlinearity, called the way Stable Diffusion calls its UNet."""

    @register_to_config
    def __init__(self, sample_size: int = 8, in_channels: int = 4, time_cond_proj_dim: int | None = None) -> None:
        super().__init__()
        k = torch.fft.fftfreq(sample_size, 1 / sample_size)
        self.gain = torch.nn.Parameter(torch.exp(-(k[:, None] ** 2 + k**2) / 30).double())

    def forward(self, sample, timestep, **_):
        y = torch.fft.ifft2(torch.fft.fft2(sample) * self.gain).real
        return (0.7 * torch.tanh(y + 0.3) + 0.4 * sample,)


NO_TEXT = {"text_encoder": None, "tokenizer": None}
NO_SAFETY = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def stable_diffusion(kind=StableDiffusionPipeline, scheduler=None, network=None):
    parts = {**NO_TEXT, **NO_SAFETY}
    return quiet(kind(vae=autoencoder(), unet=network or unet(), scheduler=scheduler or DDIMScheduler(), **parts))


def sample(name: str, callback=None, n: int = 1, **options):
    """Latents of Stable Diffusion with the equivariant network and a scheduler."""
    pipe = stable_diffusion(scheduler=SCHEDULERS[name](), network=EquivariantUNet())
    if "eta" in name:
        options["eta"] = 1.0
    return pipe(
        prompt_embeds=torch.zeros(n, 3, 8, dtype=torch.float64),
        guidance_scale=1.0,
        num_inference_steps=7,
        height=16,
        width=16,
        latents=torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
        generator=options.pop("generator", torch.Generator().manual_seed(2)),
        output_type="latent",
        callback_on_step_end=callback,
        **options,
    ).images


QUARTER = {"rotate": 90.0, "schedule": (0.38, 0.38), "noise": "co-moving"}  # within a step of Heun and KDPM2


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_equivariant_network_gives_the_turned_image(name):
    upright = sample(name)
    turned = sample(name, MotionCallback(**QUARTER))
    assert relative(turned, upright.rot90(1, (2, 3))) < 1e-5
    assert relative(turned, upright) > 0.05


@pytest.mark.parametrize("name", REMEMBER)
def test_it_does_not_when_the_schedulers_memory_stays_behind(name, monkeypatch):
    upright = sample(name)
    monkeypatch.setattr(callbacks, "move_history", lambda *_: 0)
    assert relative(sample(name, MotionCallback(**QUARTER)), upright.rot90(1, (2, 3))) > 1e-3


@pytest.mark.parametrize("name", DRAW)
def test_it_does_not_when_the_noise_stays_behind(name):
    upright = sample(name)
    turned = sample(name, MotionCallback(**QUARTER | {"noise": "independent"}))
    assert relative(turned, upright.rot90(1, (2, 3))) > 1e-2


@pytest.mark.parametrize("name", ["DDPM", "DPM-Solver++ 2M"])
def test_four_quarter_turns_come_round(name):
    whole = MotionCallback(rotate=360.0, schedule=lambda p: min(4, int(5 * p)) / 4, noise="co-moving")
    assert relative(sample(name, whole), sample(name)) < 1e-6


@pytest.mark.parametrize("name", ["DDPM", "DPM-Solver++ 2M"])
def test_whole_pixel_shifts_of_the_image_are_exact(name):
    shift = MotionCallback(translate=(2.0, -4.0), schedule=(0.5, 0.5), noise="co-moving")  # 2 image pixels a latent
    assert relative(sample(name, shift), sample(name).roll((1, -2), (2, 3))) < 1e-6


def test_each_sample_may_have_its_own_amount():
    upright = sample("DPM-Solver++ SDE", n=2)
    callback = MotionCallback(**QUARTER | {"rotate": [90.0, 180.0]})
    turned = sample("DPM-Solver++ SDE", callback, n=2)
    for i in range(2):
        assert relative(turned[i], upright[i].rot90(i + 1, (1, 2))) < 1e-5
    with pytest.raises(ShapeError, match="each of the 3 samples"):
        sample("DDIM", callback, n=3)


def test_a_list_of_generators_is_co_moved_as_well():
    def generators():
        return [torch.Generator().manual_seed(i) for i in range(2)]

    upright = sample("DDPM", n=2, generator=generators())
    turned = sample("DDPM", MotionCallback(**QUARTER), n=2, generator=generators())
    assert relative(turned, upright.rot90(1, (2, 3))) < 1e-5
    each = MotionCallback(**QUARTER | {"rotate": [90.0, 180.0]})
    turned = sample("DDPM", each, n=2, generator=generators())
    for i in range(2):
        assert relative(turned[i], upright[i].rot90(i + 1, (1, 2))) < 1e-5


def test_a_callback_may_be_used_again():
    callback = MotionCallback(**QUARTER)
    assert torch.equal(sample("DPM-Solver++ SDE", callback), sample("DPM-Solver++ SDE", callback))


PROMPT = {"prompt_embeds": torch.zeros(1, 3, 8), "negative_prompt_embeds": torch.zeros(1, 3, 8)}


def test_an_interrupted_run_leaves_no_moved_noise_behind():
    pipe = stable_diffusion(scheduler=DDPMScheduler())

    def run(callback):
        g = torch.Generator().manual_seed(0)
        return pipe(**PROMPT, num_inference_steps=5, height=16, width=16, generator=g, output_type="latent",
                    callback_on_step_end=callback).images  # fmt: skip

    plain = run(None)

    class Breaking(MotionCallback):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            if step_index == 3:
                raise InterruptedError
            return super().callback_fn(pipeline, step_index, timestep, callback_kwargs)

    with pytest.raises(InterruptedError):
        run(Breaking(rotate=90, noise="co-moving"))
    assert torch.equal(run(None), plain)
    assert "step" not in vars(pipe.scheduler)


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


def stable_diffusion_3(kind, **more):
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(sample_size=8, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8,
                                        num_attention_heads=1, joint_attention_dim=8, caption_projection_dim=8,
                                        pooled_projection_dim=8, out_channels=4, pos_embed_max_size=16)  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(kind(transformer=transformer.eval(), scheduler=scheduler, vae=autoencoder(), **parts, **more))


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


def qwen(kind):
    return made(kind, lambda: QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=8, axes_dims_rope=(8, 4, 4)),
        lambda: AutoencoderKLQwenImage(base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1,
                                       temperal_downsample=[True], latents_mean=[0.0] * 4,
                                       latents_std=[1.0] * 4))  # fmt: skip


def aura(kind):
    return made(kind, lambda: AuraFlowTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=1, caption_projection_dim=8, joint_attention_dim=8, out_channels=4,
        pos_embed_max_size=64))  # fmt: skip


def sana(kind, **more):
    return made(kind, lambda: SanaTransformer2DModel(
        **more,
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=8),
        lambda: AutoencoderDC(in_channels=3, latent_channels=4, attention_head_dim=2,
                              encoder_block_types=("ResBlock",) * 2, decoder_block_types=("ResBlock",) * 2,
                              encoder_block_out_channels=(4, 4), decoder_block_out_channels=(4, 4),
                              encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
                              encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ())))  # fmt: skip


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
SHOWN = "callback_on_step_end_tensor_inputs"
CONTROL = {"control_image": IMAGE["image"].flip(3), SHOWN: ["latents", "control_image"]}
MASK = {
    "image": IMAGE["image"], "mask_image": (torch.arange(256.0).reshape(1, 1, 16, 16) > 90).float(),
    SHOWN: ["latents", "mask", "masked_image_latents"],
}  # fmt: skip
REAL = {
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
        PROMPT | {"image": IMAGE["image"], SHOWN: ["latents", "image_latents"]},
    ),
    "StableDiffusionControlNetPipeline": (
        lambda: controlled(StableDiffusionControlNetPipeline),
        PROMPT | {"image": IMAGE["image"], SHOWN: ["latents", "image"]},
    ),
    "StableDiffusionControlNetImg2ImgPipeline": (
        lambda: controlled(StableDiffusionControlNetImg2ImgPipeline),
        PROMPT | IMAGE | CONTROL,
    ),
    "StableDiffusionXLControlNetPipeline": (
        lambda: xl(StableDiffusionXLControlNetPipeline, {"controlnet": controlnet(**ADDED)}),
        POOLED | NEGATIVE | {"image": IMAGE["image"], SHOWN: ["latents", "image"]},
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


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOWS = {
    "Euler": lambda: FlowMatchEulerDiscreteScheduler(),
    "Euler, stochastic": lambda: FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
    "Heun": lambda: FlowMatchHeunDiscreteScheduler(),
    "DPM-Solver++ 2M": lambda: DPMSolverMultistepScheduler(**FLOW),
    "DPM-Solver++ SDE": lambda: DPMSolverMultistepScheduler(**FLOW, algorithm_type="sde-dpmsolver++"),
    "UniPC": lambda: UniPCMultistepScheduler(**FLOW),
}
# Flux hands its schedulers sigmas, which not all of them take
FLOW_CASES = [("SD3", name) for name in FLOWS] + [("Flux", name) for name in ("Euler", "Euler, stochastic", "UniPC")]


class EquivariantTransformer(EquivariantUNet):
    """The same network, called the way Stable Diffusion 3 and Flux call theirs."""

    @register_to_config
    def __init__(self, in_channels: int = 4, sample_size: int = 8, patch_size: int = 1, guidance_embeds: bool = False):
        super().__init__(sample_size)
        self.float()

    def cache_context(self, *_):
        return contextlib.nullcontext()

    def forward(self, hidden_states, **_):
        if hidden_states.ndim == 4:
            return super().forward(hidden_states, None)
        planes = FluxPipeline._unpack_latents(hidden_states, 16, 16, 2)
        return (FluxPipeline._pack_latents(super().forward(planes, None)[0], *planes.shape),)


def flow_sample(family: str, name: str, callback=None):
    pipe = stable_diffusion_3(StableDiffusion3Pipeline) if family == "SD3" else flux(FluxPipeline)
    pipe.register_modules(transformer=EquivariantTransformer(4 if family == "SD3" else 16), scheduler=FLOWS[name]())
    inputs = POOLED | (NEGATIVE if family == "SD3" else {})
    torch.manual_seed(0)  # some schedulers draw from the global generator
    return as_planes(draw(pipe, inputs, callback, num_inference_steps=7))


@pytest.mark.parametrize(("family", "name"), FLOW_CASES)
def test_flow_matching_gives_the_turned_image_too(family, name, monkeypatch):
    upright = flow_sample(family, name).rot90(1, (2, 3))
    assert relative(flow_sample(family, name, MotionCallback(**QUARTER)), upright) < 1e-5
    if name in ("Euler, stochastic", "DPM-Solver++ SDE"):
        independent = flow_sample(family, name, MotionCallback(**QUARTER | {"noise": "independent"}))
        assert relative(independent, upright) > 1e-2
    if not name.startswith("Euler"):
        monkeypatch.setattr(callbacks, "move_history", lambda *_: 0)
        assert relative(flow_sample(family, name, MotionCallback(**QUARTER)), upright) > 1e-3


def draw(pipe, inputs, callback, size=(16, 16), **more):
    beside = callbacks.CONDITIONS.get(type(pipe).__name__)
    if beside and isinstance(callback, MotionCallback):
        callback.beside = beside
    options = {"num_inference_steps": 3, "output_type": "latent", "generator": torch.Generator().manual_seed(0)}
    if "image" not in inputs or callbacks.PIPELINES.get(type(pipe).__name__) == "packed":
        options |= {"height": size[0], "width": size[1]}
    return pipe(**options | inputs | more, callback_on_step_end=callback).images


def as_planes(latents, size=(16, 16)):
    if latents.ndim == 4:
        return latents
    return FluxPipeline._unpack_latents(latents, *size, 2)


def test_every_supported_pipeline_is_tested():
    assert set(REAL) == set(callbacks.PIPELINES)


@pytest.mark.parametrize("name", REAL)
def test_a_real_pipeline_turns_its_latents(name):
    build, inputs = REAL[name]
    pipe = build()
    upright = as_planes(draw(pipe, inputs, None))
    still = as_planes(draw(pipe, inputs, MotionCallback()))
    at_last = as_planes(draw(pipe, inputs, MotionCallback(rotate=90, schedule=(1, 1))))
    spread = as_planes(draw(pipe, inputs, MotionCallback(rotate=30, translate=(1, 2), zoom=1.1, schedule=(0, 1))))
    assert torch.equal(still, upright)
    torch.testing.assert_close(at_last, upright.rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)
    assert spread.isfinite().all()
    assert relative(spread, upright) > 1e-2


def test_its_arguments_have_the_defaults_of_the_pipeline():
    ours, theirs = (signature(f).parameters for f in (MotionCallback, AliasFreePipeline.__call__))
    shared = ("rotate", "translate", "zoom", "method", "noise", "schedule")
    assert {n: ours[n].default for n in shared} == {n: theirs[n].default for n in shared}


class InpaintingUNet(EquivariantUNet):
    """The same network with a mask and an image behind it, both of which matter."""

    @register_to_config
    def __init__(self, sample_size: int = 8, in_channels: int = 9, out_channels: int = 4) -> None:
        super().__init__(sample_size, in_channels)
        self.register_to_config(out_channels=out_channels)
        self.float()

    def forward(self, sample, timestep, **_):
        latents, mask, image = sample[:, :4], sample[:, 4:5], sample[:, 5:]
        return (super().forward(latents + mask * image, timestep)[0],)


@pytest.mark.parametrize("scale", [1.0, 2.0])  # with guidance the images are held twice
def test_an_inpainting_pipeline_whose_mask_moves_along_gives_the_turned_image(scale, monkeypatch):
    pipe = stable_diffusion(StableDiffusionInpaintPipeline, network=InpaintingUNet())

    def run(callback=None):
        return draw(pipe, PROMPT | MASK, callback, num_inference_steps=7, strength=1.0, guidance_scale=scale)

    upright = run().rot90(1, (2, 3))
    assert relative(run(MotionCallback(**QUARTER)), upright) < 1e-5
    monkeypatch.setattr(callbacks.Conditions, "moved", lambda *_: {})
    assert relative(run(MotionCallback(**QUARTER)), upright) > 1e-2


@pytest.mark.parametrize("name", [n for n in callbacks.CONDITIONS if "ControlNet" in n])
def test_the_condition_of_a_controlnet_is_handed_on_turned(name):
    build, inputs = REAL[name]
    (which,) = callbacks.CONDITIONS[name]
    seen = []

    class Looking(MotionCallback):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            before = callback_kwargs[which].clone()
            out = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
            seen.append((as_planes(before), as_planes(out[which])))
            return out

    draw(build(), inputs, Looking(rotate=90, schedule=(0.5, 0.5)))
    turned = [not torch.equal(a, b) for a, b in seen]
    assert sum(turned) == 1
    before, after = seen[turned.index(True)]
    torch.testing.assert_close(after, before.rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)
    still = draw(build(), inputs, MotionCallback(rotate=90, schedule=(0.1, 0.1)))
    assert relative(still, draw(build(), inputs, MotionCallback(rotate=90, schedule=(1, 1)))) > 1e-3


def test_conditions_are_shifted_by_pixels_and_rolled_by_what_the_latents_are():
    build, inputs = REAL["StableDiffusionControlNetPipeline"]
    seen = []

    def looking(kind):
        class Looking(kind):
            def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
                before = {n: callback_kwargs[n].clone() for n in ("latents", "image")}
                out = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
                seen.append((before, {n: out[n] for n in before}))
                return out

        return Looking

    draw(build(), inputs, looking(MotionCallback)(translate=(2, 4), schedule=(0.5, 0.5)))
    before, after = seen[1]
    torch.testing.assert_close(after["image"], before["image"].roll((2, 4), (2, 3)), atol=1e-5, rtol=1e-5)
    seen.clear()
    draw(build(), inputs, looking(RollCallback)("xy"))
    before, after = seen[0]
    (shift,) = [
        (y, x)
        for y in range(8)
        for x in range(8)
        if torch.equal(before["latents"].roll((y, x), (2, 3)), after["latents"])
    ]
    assert torch.equal(after["image"], before["image"].roll((2 * shift[0], 2 * shift[1]), (2, 3)))
    assert torch.equal(seen[-1][1]["image"], before["image"])  # back at the end


def test_the_image_that_comes_out_is_turned():
    pipe = stable_diffusion()
    latents = draw(pipe, PROMPT, MotionCallback(rotate=90, schedule=(1, 1)))
    image = draw(pipe, PROMPT, MotionCallback(rotate=90, schedule=(1, 1)), output_type="pt")
    with torch.no_grad():
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    torch.testing.assert_close(image, (decoded / 2 + 0.5).clamp(0, 1))


def test_oblong_packed_latents_need_the_size_of_the_image():
    pipe = flux(FluxPipeline)
    size = (16, 32)
    upright = as_planes(draw(pipe, POOLED, None, size), size)
    shift = MotionCallback(translate=(2, 4), schedule=(1, 1), size=size)
    moved = as_planes(draw(pipe, POOLED, shift, size), size)
    torch.testing.assert_close(moved, upright.roll((1, 2), (2, 3)), atol=1e-5, rtol=1e-5)
    for given, says in ((None, "no square image"), ((16, 16), "has 16 tokens, not 32")):
        with pytest.raises(ShapeError, match=says):
            draw(pipe, POOLED, MotionCallback(translate=(2, 4), size=given), size)


def test_it_goes_together_with_other_callbacks_and_half_precision():
    pipe = stable_diffusion()
    both = MultiPipelineCallbacks([MotionCallback(rotate=90, schedule=(0.5, 0.5))] * 2)
    assert draw(pipe, PROMPT, both).isfinite().all()
    pipe.unet = unet().bfloat16()
    half = {k: v.bfloat16() for k, v in PROMPT.items()}
    out = draw(pipe, half, MotionCallback(rotate=30))
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_what_is_not_supported_is_refused():
    inpaint = stable_diffusion(StableDiffusionInpaintPipeline, network=unet(in_channels=9, out_channels=4))
    images = {k: MASK[k] for k in ("image", "mask_image")}

    def run(pipe, **more):
        options = {"num_inference_steps": 3, "height": 16, "width": 16, "output_type": "latent", "strength": 1.0}
        pipe(**PROMPT, **images, **options, callback_on_step_end=MotionCallback(rotate=9, **more))

    with pytest.raises(ArgumentError, match=r"make the callback with beside=\['mask', 'masked_image_latents'\]"):
        run(inpaint)
    with pytest.raises(ArgumentError, match="not made for inpainting puts the unmoved image back"):
        run(stable_diffusion(StableDiffusionInpaintPipeline), beside=["mask", "masked_image_latents"])
    with pytest.raises(ArgumentError, match=r"FluxInpaintPipeline, which holds other images .*mask_image"):
        draw(flux(FluxInpaintPipeline), POOLED, MotionCallback(rotate=9), **images)
    consistency, inputs = REAL["LatentConsistencyModelPipeline"]
    with pytest.raises(ArgumentError, match="'denoised'"):
        draw(consistency(), {"prompt_embeds": inputs["prompt_embeds"]}, MotionCallback(rotate=9))
    with pytest.raises(ArgumentError, match="did you mean 'co-moving'"):
        MotionCallback(noise="comoving")
    with pytest.raises(ArgumentError, match="within"):
        MotionCallback(rotate=4000)


def test_an_untested_pipeline_is_told_apart_by_its_own_methods_and_takes_a_layout(monkeypatch):
    build, inputs = REAL["FluxPipeline"]
    pipe, plain = build(), stable_diffusion()
    upright = as_planes(draw(pipe, inputs, None))
    monkeypatch.setattr(callbacks, "PIPELINES", {})
    with pytest.raises(ArgumentError, match=r"FluxPipeline, which packs its latents two by two: try .*layout='packed'"):
        draw(pipe, inputs, MotionCallback(rotate=90))
    turned = as_planes(draw(pipe, inputs, MotionCallback(rotate=90, schedule=(1, 1), layout="packed")))
    torch.testing.assert_close(turned, upright.rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ShapeError, match="'planes' have 4 axes, not 3"):
        draw(pipe, inputs, MotionCallback(rotate=90, layout="planes"))
    with pytest.raises(ArgumentError, match=r"StableDiffusionPipeline, which does not pack .*layout='planes'"):
        draw(plain, PROMPT, MotionCallback(rotate=90))
    with pytest.raises(ArgumentError, match="did you mean 'planes'"):
        MotionCallback(layout="plane")


def test_a_noise_tree_cannot_move_along():
    scheduler = DPMSolverSDEScheduler.__new__(DPMSolverSDEScheduler)  # making one needs the package torchsde
    scheduler.noise_sampler = None
    pipe = type("StableDiffusionPipeline", (), {"scheduler": scheduler, "vae_scale_factor": 8, "num_timesteps": 4,
                                               "_callback_tensor_inputs": ["latents"]})()  # fmt: skip
    with pytest.raises(ArgumentError, match="draws its noise from a tree"):
        MotionCallback(rotate=9, noise="co-moving")(pipe, 0, 999, {"latents": torch.zeros(1, 4, 8, 8)})


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_network_without_an_edge_gives_the_image_it_gives_unrolled(name):
    assert relative(sample(name, RollCallback("xy")), sample(name)) < 1e-9


@pytest.mark.parametrize("name", [REMEMBER[0], DRAW[0]])
def test_the_latents_are_really_rolled_in_between_along_the_axes_that_were_named(name):
    seen = []

    class Looking(RollCallback):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            before = callback_kwargs["latents"]
            after = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)["latents"]
            seen.append((before, after))
            return {"latents": after}

    sample(name, Looking("x"))
    moved = [not torch.equal(a, b) for a, b in seen]
    assert sum(moved) >= len(moved) - 2
    for before, after in seen:
        assert any(torch.equal(before.roll(k, 3), after) for k in range(before.shape[3]))


def test_another_seed_rolls_by_other_offsets_and_the_same_by_the_same():
    first, again, other = (RollCallback(seed=s)._rolls for s in (0, 0, 1))
    offsets = [[rolls.offsets(k / 9, (64, 64)) for k in range(1, 9)] for rolls in (first, again, other)]
    assert offsets[0] == offsets[1] != offsets[2]


def test_rolled_it_does_not_when_the_schedulers_memory_stays_behind(monkeypatch):
    monkeypatch.setattr(callbacks, "move_history", lambda *_: 0)
    assert relative(sample("UniPC", RollCallback()), sample("UniPC")) > 1e-3


def test_bad_arguments_of_rolling_are_told():
    with pytest.raises(ArgumentError, match="not 'z'"):
        RollCallback("z")
    with pytest.raises(ArgumentError, match="seed"):
        RollCallback(seed=-1)
