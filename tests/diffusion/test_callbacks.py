"""Motion in diffusers' own pipelines and with its schedulers."""

from __future__ import annotations

import contextlib
from inspect import signature

import pytest
import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxInpaintPipeline,
    FluxPipeline,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    ModelMixin,
    PNDMScheduler,
    QwenImageLayeredPipeline,
    SanaSprintPipeline,
    SASolverScheduler,
    StableAudio3Pipeline,
    StableCascadeCombinedPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
)
from diffusers.callbacks import MultiPipelineCallbacks
from diffusers.configuration_utils import register_to_config

from aliasfree.diffusion import AliasFreePipeline, MotionCallback, RollCallback, callbacks, conditions, layouts
from aliasfree.errors import ArgumentError, ShapeError
from tests.diffusion.zoo.parts import (
    MASK,
    NEGATIVE,
    POOLED,
    PROMPT,
    flux,
    relative,
    stable_diffusion,
    stable_diffusion_3,
    unet,
)
from tests.diffusion.zoo.parts import PIPELINES as REAL
from tests.diffusion.zoo.run import as_planes, draw


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
    return as_planes(pipe, draw(pipe, inputs, callback, num_inference_steps=7))


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
    monkeypatch.setattr(conditions.Conditions, "_behind", lambda _, images: images)
    assert relative(run(MotionCallback(**QUARTER)), upright) > 1e-2


@pytest.mark.parametrize("family", ["Stable Diffusion", "Flux"])
def test_an_inpainting_pipeline_that_puts_its_image_back_gives_the_turned_image(family, monkeypatch):
    if family == "Flux":
        pipe, inputs = flux(FluxInpaintPipeline), POOLED | MASK
        pipe.register_modules(transformer=EquivariantTransformer(16))
        pipe.transformer.register_to_config(in_channels=16)
    else:
        pipe, inputs = (
            stable_diffusion(StableDiffusionInpaintPipeline, DDPMScheduler(), EquivariantUNet()),
            PROMPT | MASK,
        )
        pipe.unet.float()

    def run(callback=None):
        return as_planes(pipe, draw(pipe, inputs, callback, num_inference_steps=7))

    upright = run().rot90(1, (2, 3))
    assert relative(run(MotionCallback(**QUARTER)), upright) < 1e-5
    monkeypatch.setattr(callbacks, "keeps_images_upright", lambda _: False)
    assert relative(run(MotionCallback(**QUARTER)), upright) > 1e-2


def shown(kind, callback):
    """The condition that a ControlNet is shown at the second step."""
    seen, pipe = [], REAL["StableDiffusionControlNetPipeline"][0]()

    class Looking(kind):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            out = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
            if step_index == 0:
                look = lambda net, args, kwargs: seen.append(kwargs["controlnet_cond"])  # noqa: E731
                pipeline.controlnet.register_forward_pre_hook(look, with_kwargs=True)
                seen.append(callback_kwargs["latents"] if kind is MotionCallback else out["latents"])
            return out

    latents = draw(pipe, REAL["StableDiffusionControlNetPipeline"][1], Looking(**callback))
    return (*seen, latents)


def test_conditions_are_shifted_by_pixels_and_rolled_by_what_the_latents_are():
    start, plain, _ = shown(MotionCallback, {})
    _, moved, _ = shown(MotionCallback, {"translate": (2, 4), "schedule": (0.5, 0.5)})
    torch.testing.assert_close(moved, plain.roll((2, 4), (2, 3)), atol=1e-5, rtol=1e-5)
    latents, rolled, _ = shown(RollCallback, {"axes": "xy"})
    (shift,) = [(y, x) for y in range(8) for x in range(8) if torch.equal(start.roll((y, x), (2, 3)), latents)]
    assert torch.equal(rolled, plain.roll((2 * shift[0], 2 * shift[1]), (2, 3)))


def test_networks_are_let_go_after_the_last_step_and_when_a_run_was_interrupted():
    build, inputs = REAL["StableDiffusionControlNetPipeline"]
    pipe = build()
    plain = draw(pipe, inputs, num_inference_steps=4)

    class Breaking(MotionCallback):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            if step_index == 2:
                raise InterruptedError
            return super().callback_fn(pipeline, step_index, timestep, callback_kwargs)

    with pytest.raises(InterruptedError):
        draw(pipe, inputs, Breaking(rotate=90, schedule=(0.1, 0.1)), num_inference_steps=4)
    assert torch.equal(draw(pipe, inputs, num_inference_steps=4), plain)
    draw(pipe, inputs, MotionCallback(rotate=90, schedule=(0.1, 0.1)))
    assert not pipe.unet._forward_pre_hooks
    assert not pipe.controlnet._forward_pre_hooks


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
    upright = as_planes(pipe, draw(pipe, POOLED, None, size), size)
    shift = MotionCallback(translate=(2, 4), schedule=(1, 1), size=size)
    moved = as_planes(pipe, draw(pipe, POOLED, shift, size), size)
    torch.testing.assert_close(moved, upright.roll((1, 2), (2, 3)), atol=1e-5, rtol=1e-5)
    for given, says in ((None, "no square image"), ((16, 16), "16x16 cannot be 32 tokens")):
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
    inpaint = stable_diffusion(StableDiffusionInpaintPipeline)
    with pytest.raises(ArgumentError, match="its noise moves along: leave noise='co-moving'"):
        draw(inpaint, PROMPT | MASK, MotionCallback(rotate=9, noise="independent"))
    consistency, inputs = REAL["LatentConsistencyModelPipeline"]
    with pytest.raises(ArgumentError, match="'denoised'"):
        draw(consistency(), {"prompt_embeds": inputs["prompt_embeds"]}, MotionCallback(rotate=9))
    with pytest.raises(ArgumentError, match="did you mean 'co-moving'"):
        MotionCallback(noise="comoving")
    with pytest.raises(ArgumentError, match="within"):
        MotionCallback(rotate=4000)


def test_a_layout_may_be_given_for_a_pipeline_of_which_it_is_not_found(monkeypatch):
    build, inputs = REAL["FluxPipeline"]
    pipe = build()
    upright = as_planes(pipe, draw(pipe, inputs))
    monkeypatch.setitem(layouts.OWN_WAYS, "FluxPipeline", "does it in a way of its own")
    with pytest.raises(
        ArgumentError, match=r"FluxPipeline cannot be moved, because it does it in a way of its own; if"
    ):
        pipe(**inputs, height=16, width=16, num_inference_steps=2, callback_on_step_end=MotionCallback(rotate=90))
    given = MotionCallback(rotate=90, schedule=(1, 1), layout="packed")
    options = {
        "height": 16,
        "width": 16,
        "num_inference_steps": 2,
        "output_type": "latent",
        "callback_on_step_end": given,
    }
    turned = pipe(**inputs, **options, generator=torch.Generator().manual_seed(0)).images
    monkeypatch.undo()
    torch.testing.assert_close(as_planes(pipe, turned), upright.rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)
    with pytest.raises(ShapeError, match="'planes' have 4 axes, or one frame, not the shape"):
        draw(pipe, inputs, MotionCallback(rotate=90, layout="planes"))
    with pytest.raises(ArgumentError, match="did you mean 'planes'"):
        MotionCallback(layout="plane")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (DDPMPipeline, "takes no callback_on_step_end"),
        (WanPipeline, "makes videos"),
        (StableAudio3Pipeline, "samples no latents of images"),
        (StableCascadeCombinedPipeline, "samples by two other pipelines"),
        (QwenImageLayeredPipeline, "packs several layers"),
        (SanaSprintPipeline, "shows to no callback"),
    ],
)
def test_a_refusal_says_why(kind, why):
    with pytest.raises(ArgumentError, match=f"{kind.__name__} cannot be moved, because it .*{why}"):
        layouts.layout_of(kind)


def test_tokens_that_are_no_permutation_of_planes_are_refused():
    class Mixing(FluxPipeline):
        @staticmethod
        def _pack_latents(latents, batch_size, num_channels_latents, height, width):
            return 0.5 * FluxPipeline._pack_latents(latents, batch_size, num_channels_latents, height, width)

    with pytest.raises(ShapeError, match="Mixing packs its latents in a way of its own"):
        draw(flux(Mixing), POOLED, MotionCallback(rotate=90))


def test_a_noise_tree_cannot_move_along():
    scheduler = DPMSolverSDEScheduler.__new__(DPMSolverSDEScheduler)  # making one needs the package torchsde
    scheduler.noise_sampler = None
    pipe = stable_diffusion()
    pipe.scheduler = scheduler
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
