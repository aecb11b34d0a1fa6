"""Motion in diffusers' own pipelines and with its schedulers."""

from __future__ import annotations

import contextlib
from functools import cache
from inspect import signature

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ConfigMixin,
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
    FluxImg2ImgPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    LMSDiscreteScheduler,
    ModelMixin,
    PNDMScheduler,
    SASolverScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from diffusers.callbacks import MultiPipelineCallbacks
from diffusers.configuration_utils import register_to_config

from aliasfree.diffusion import AliasFreePipeline, MotionCallback, callbacks
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


def xl(kind):
    network = unet(addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=32)
    return quiet(kind(vae=autoencoder(), unet=network, scheduler=EulerDiscreteScheduler(), text_encoder_2=None,
                      tokenizer_2=None, **NO_TEXT, add_watermarker=False))  # fmt: skip


def stable_diffusion_3(kind):
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(sample_size=8, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8,
                                        num_attention_heads=1, joint_attention_dim=8, caption_projection_dim=8,
                                        pooled_projection_dim=8, out_channels=4, pos_embed_max_size=16)  # fmt: skip
    parts = {f"{part}{i}": None for part in ("text_encoder", "tokenizer") for i in ("", "_2", "_3")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(kind(transformer=transformer.eval(), scheduler=scheduler, vae=autoencoder(), **parts))


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
IMAGE = {"image": torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16), "strength": 0.8}
DENOISED = {"callback_on_step_end_tensor_inputs": ["latents", "denoised"]}

REAL = {
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
    options = {"num_inference_steps": 3, "output_type": "latent", "generator": torch.Generator().manual_seed(0)}
    if "image" not in inputs or isinstance(pipe, FluxImg2ImgPipeline):
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
    with pytest.raises(ArgumentError, match="not supported in StableDiffusionInpaintPipeline; use one of Stable"):
        draw(
            inpaint,
            PROMPT,
            MotionCallback(rotate=9),
            image=torch.zeros(1, 3, 16, 16),
            mask_image=torch.ones(1, 1, 16, 16),
        )
    consistency, inputs = REAL["LatentConsistencyModelPipeline"]
    with pytest.raises(ArgumentError, match="'denoised'"):
        draw(consistency(), {"prompt_embeds": inputs["prompt_embeds"]}, MotionCallback(rotate=9))
    with pytest.raises(ArgumentError, match="did you mean 'co-moving'"):
        MotionCallback(noise="comoving")
    with pytest.raises(ArgumentError, match="within"):
        MotionCallback(rotate=4000)


def test_a_noise_tree_cannot_move_along():
    scheduler = DPMSolverSDEScheduler.__new__(DPMSolverSDEScheduler)  # making one needs the package torchsde
    scheduler.noise_sampler = None
    pipe = type("StableDiffusionPipeline", (), {"scheduler": scheduler, "vae_scale_factor": 8, "num_timesteps": 4,
                                               "_callback_tensor_inputs": ["latents"]})()  # fmt: skip
    with pytest.raises(ArgumentError, match="draws its noise from a tree"):
        MotionCallback(rotate=9, noise="co-moving")(pipe, 0, 999, {"latents": torch.zeros(1, 4, 8, 8)})
