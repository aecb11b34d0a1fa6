from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from scipy import ndimage

from aliasfree.diffusion import (
    SCHEDULERS,
    AliasFreePipeline,
    PaperDDPMScheduler,
    make_scheduler,
    pipeline,
    sample_generators,
)
from aliasfree.diffusion.names import LATE, WHOLE
from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.measuring.rotation import Way
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.ops import rotate2d
from aliasfree.sampling.sampler import MotionSettings


def quiet(unet, scheduler) -> AliasFreePipeline:
    pipe = AliasFreePipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generators(n=2, seed=3):
    return sample_generators(seed, range(n))


@pytest.fixture
def raw(monkeypatch):
    """Leave the final state as it is, so that clipping hides nothing."""
    monkeypatch.setattr(pipeline, "_finish", lambda x, _: x.clone())


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++"])
def test_the_same_seed_gives_the_same_images_whatever_the_batch_size(name):
    model = AliasFreeUNet2DModel("D-hq", 16, 1, 1, base_channels=8).eval()
    pipe = quiet(model, make_scheduler(name))

    def sample(indices):
        return pipe(len(indices), 8, rotate=30, generator=sample_generators(1, indices), output_type="pt").images

    together = sample(range(4))
    torch.testing.assert_close(together, torch.cat([sample([i]) for i in range(4)]), atol=1e-3, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.05


def test_one_generator_used_twice_continues_as_one_batch_would(network):
    pipe = quiet(network(), PaperDDPMScheduler())
    g = torch.Generator().manual_seed(5)
    parts = torch.cat([pipe(1, 5, generator=g, output_type="pt").images for _ in range(2)])
    whole = pipe(2, 5, generator=torch.Generator().manual_seed(5), output_type="pt").images
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)


WITHOUT_MEMORY = {
    "ddim": lambda: make_scheduler("ddim"),
    "diffusers ddim": lambda: DDIMScheduler(clip_sample=False),
    "euler": EulerDiscreteScheduler,
    "flow euler": FlowMatchEulerDiscreteScheduler,
}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
WITH_MEMORY = {
    "dpm++": lambda: make_scheduler("dpm++"),
    "diffusers dpm++": DPMSolverMultistepScheduler,
    "dpm++ 3M": lambda: DPMSolverMultistepScheduler(solver_order=3),
    "dpm++ 2S": DPMSolverSinglestepScheduler,
    "pndm": lambda: PNDMScheduler(skip_prk_steps=True),
    "pndm with Runge-Kutta": PNDMScheduler,
    "heun": HeunDiscreteScheduler,
    "kdpm2": KDPM2DiscreteScheduler,
    "ipndm": IPNDMScheduler,
    "lms": LMSDiscreteScheduler,
    "deis": DEISMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "flow heun": FlowMatchHeunDiscreteScheduler,
    "flow dpm++": lambda: DPMSolverMultistepScheduler(**FLOW),
    "flow unipc": lambda: UniPCMultistepScheduler(**FLOW),
}


@pytest.mark.parametrize("name", [*WITHOUT_MEMORY, *WITH_MEMORY])
def test_a_quarter_turn_during_sampling_turns_the_image_when_the_history_moves_along(network, raw, monkeypatch, name):
    pipe = quiet(network(), (WITHOUT_MEMORY | WITH_MEMORY)[name]())

    def sample(**motion):
        return pipe(2, 9, generator=generators(), **motion).images

    upright = sample().rot90(1, (2, 3))

    def error():
        # two moments, because a one-step method of second order remembers in every other call only
        return max(relative(sample(rotate=90, schedule=(p, p)), upright) for p in (0.4, 0.45))

    assert error() < 1e-5
    monkeypatch.setattr(pipeline, "move_history", lambda *_: None)
    assert error() > 1e-2 if name in WITH_MEMORY else error() < 1e-5


def test_co_moving_noise_turns_the_sample_and_independent_noise_does_not(network, raw):
    pipe = quiet(network(), PaperDDPMScheduler(50))

    def sample(**motion):
        return pipe(2, 40, generator=generators(), **motion).images

    expected = sample().rot90(1, (2, 3))
    spread = {"rotate": 90, "schedule": lambda p: round(p * 4) / 4 >= 0.5}
    assert relative(sample(noise="co-moving", **spread), expected) < 1e-5
    assert relative(sample(noise="independent", **spread), expected) > 0.1


def test_small_co_moving_turns_add_up_to_the_whole_turn(network, raw):
    """Linear network: the only errors are those of the rotation itself at the edge of the spectrum."""
    pipe = quiet(network(sample_size=32, clip=False), PaperDDPMScheduler(50))

    def sample(**motion):
        return pipe(1, 30, generator=generators(1), **motion).images

    low = torch.exp(-((torch.fft.fftfreq(32, 1 / 32)[:, None] ** 2 + torch.fft.fftfreq(32, 1 / 32)[None] ** 2) / 40))

    def smooth(x):
        return torch.fft.ifft2(torch.fft.fft2(x) * low).real[..., 8:24, 8:24]

    expected = smooth(rotate2d(sample(), 30))
    assert relative(smooth(sample(rotate=30, schedule=(0, 1), noise="co-moving")), expected) < 0.1
    assert relative(smooth(sample(rotate=30, schedule=(0, 1), noise="independent")), expected) > 0.5


def test_the_papers_chain_makes_all_but_one_share_of_the_turn(network, raw):
    pipe = quiet(network(sample_size=32, clip=False), PaperDDPMScheduler(50))
    blob = np.zeros((1, 1, 32, 32), np.float32)
    blob[0, 0, 10, 14:19] = 1
    blob = torch.from_numpy(ndimage.gaussian_filter(blob, (0, 0, 2, 2)))

    def sample(steps, **motion):
        noise = torch.zeros(steps, *blob.shape)
        return pipe(1, steps, latents=blob, step_noise=noise, **motion).images

    # Without noise and with a linear network that turns along, the end is the upright end, turned by the whole.
    for steps, degrees in ((49, 45 * 49 / 50), (48, 45), (10, 45)):
        assert relative(sample(steps, rotate=45, schedule=(0, 1)), rotate2d(sample(steps), degrees)) < 1e-3


def test_translation_and_zoom_move_the_sample(network, raw):
    pipe = quiet(network(clip=False), make_scheduler("ddim"))

    def sample(**motion):
        return pipe(1, 10, generator=generators(1), **motion).images

    assert relative(sample(translate=(3, -2), schedule=(0.5, 0.5)), sample().roll((3, -2), (2, 3))) < 1e-5
    assert relative(sample(zoom=1.3), sample()) > 0.1


def test_frames_are_the_states_on_the_way(network):
    pipe = quiet(network(), make_scheduler("ddim"))
    out = pipe(2, 7, rotate=10, generator=generators(), output_type="pt", return_frames=True)
    assert out.frames.shape == (7, 2, 1, 16, 16)
    assert torch.equal(out.frames[-1], out.images)
    kept = pipe(2, 7, rotate=10, generator=generators(), output_type="pt", return_frames=True, frame_every=3).frames
    assert torch.equal(kept, out.frames[[2, 5, 6]])


def test_guidance_mixes_the_predictions_with_and_without_class(raw):
    torch.manual_seed(0)
    model = AliasFreeUNet2DModel("A", 8, 1, 1, base_channels=8, num_class_embeds=3).eval()
    pipe = quiet(model, make_scheduler("ddim"))

    def sample(**kwargs):
        return pipe(2, 1, generator=generators(), **kwargs).images

    null, plain, strong = sample(), sample(class_labels=1), sample(class_labels=[1, 1], guidance_scale=3)
    torch.testing.assert_close(strong - null, 3 * (plain - null), atol=2e-2 * null.abs().max().item(), rtol=1e-3)
    assert relative(plain, null) > 1e-4


def test_pictures_are_cut_off_not_rounded(network):
    pipe = quiet(network(), make_scheduler("ddim"))
    images = pipe(2, 4, generator=generators()).images
    unit = pipe(2, 4, generator=generators(), output_type="np").images
    assert images[0].mode == "L"
    assert (np.asarray(images[1]) == np.floor(unit[1, ..., 0] * 255 + 1e-4)).mean() > 0.99


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("clip_rate", [1, 4])
def test_the_pipeline_survives_saving(tmp_path, name, clip_rate):
    if clip_rate > 1 and not name.endswith("clipped"):
        pytest.skip("clips nothing")
    model = AliasFreeUNet2DModel("D-2N", 16, 1, 1, base_channels=8).eval()
    scheduler = make_scheduler(name, num_train_timesteps=50, clip_rate=clip_rate)
    quiet(model, scheduler).save_pretrained(tmp_path)
    again = AliasFreePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert type(again.scheduler) is type(scheduler)
    first = quiet(model, scheduler)(1, 5, generator=generators(1), output_type="pt").images
    torch.testing.assert_close(again(1, 5, generator=generators(1), output_type="pt").images, first, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_inference_steps": 1000}, r"1\.\.999"),
        ({"num_inference_steps": 0}, r"1\.\.999"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 1.5}, "whole number"),
        ({"num_inference_steps": 3.5}, "whole number"),
        ({"latents": np.zeros((1, 1, 8, 8))}, "a tensor, not ndarray"),
        ({"generator": 5}, r"torch\.Generator or a list"),
        ({"generator": "cpu"}, r"torch\.Generator or a list"),
        ({"rotate": "a bit"}, "rotate must be a number"),
        ({"rotate": None}, "rotate must be a number"),
        ({"translate": 1}, "two numbers of pixels"),
        ({"rotate": float("nan")}, "rotate must be finite"),
        ({"rotate": 1e9}, "angle in degrees"),
        ({"translate": (float("inf"), 0)}, "finite"),
        ({"zoom": 0}, "zoom is a factor"),
        ({"noise": "comoving"}, "did you mean 'co-moving'"),
        ({"output_type": "jpg"}, "unknown output_type"),
        ({"class_labels": 0}, "no classes"),
        ({"guidance_scale": 2.0}, "give class_labels"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be finite"),
        ({"eta": 0.5}, "has no eta"),
        ({"method": "cubic"}, "did you mean 'bicubic'"),
        ({"translate": (1.0, 2.0, 3.0)}, "two numbers of pixels"),
        ({"schedule": lambda p: float("nan"), "rotate": 5.0}, "finite share"),
        ({"generator": [torch.Generator()]}, "one generator, or 2"),
    ],
)
def test_arguments_out_of_range_are_refused_before_sampling(network, arguments, message):
    pipe = quiet(network(), PaperDDPMScheduler())
    with pytest.raises(ArgumentError, match=message):
        pipe(**({"batch_size": 2, "num_inference_steps": 5} | arguments))


def test_a_noise_tree_cannot_move_along(network):
    scheduler = EulerDiscreteScheduler()
    scheduler.noise_sampler = None  # as DPMSolverSDEScheduler has, which needs the package torchsde
    pipe = quiet(network(), scheduler)
    pipe(1, 3, rotate=10, noise="independent")
    with pytest.raises(ArgumentError, match="draws its noise from a tree"):
        pipe(1, 3, rotate=10)


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        (lambda: make_scheduler("ddim"), {"eta": 1.0}),
        (lambda: DDIMScheduler(clip_sample=False), {"eta": 1.0}),
        (lambda: DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), {}),
        (lambda: PaperDDPMScheduler(), {}),
        (lambda: DDPMScheduler(), {}),
        (lambda: EulerAncestralDiscreteScheduler(), {}),
        (lambda: KDPM2AncestralDiscreteScheduler(), {}),
        (lambda: SASolverScheduler(), {}),
        (lambda: LCMScheduler(), {}),
    ],
)
def test_the_noise_of_every_scheduler_can_be_co_moving(network, raw, scheduler, options):
    pipe = quiet(network(), scheduler())

    def sample(**motion):
        return pipe(2, 8, generator=generators(), **motion, **options).images

    expected = sample().rot90(1, (2, 3))
    turned = {"rotate": 90, "schedule": (0.5, 0.5)}
    assert relative(sample(noise="co-moving", **turned), expected) < 1e-5
    assert relative(sample(noise="independent", **turned), expected) > 0.05


def test_noise_that_a_scheduler_draws_itself_moves_by_the_amount_of_its_sample(network, raw):
    pipe = quiet(network(), DDPMScheduler())
    upright = pipe(3, 8, generator=generators(3)).images
    turned = pipe(
        3, 8, generator=generators(3), rotate=[0.0, 90.0, 180.0], schedule=(0.5, 0.5), noise="co-moving"
    ).images
    for i in range(3):
        assert relative(turned[i], upright[i].rot90(i, (1, 2))) < 1e-5


@pytest.mark.parametrize("scheduler", [EulerAncestralDiscreteScheduler, DDPMScheduler])
def test_a_scheduler_that_draws_its_noise_itself_draws_it_per_sample(network, raw, scheduler):
    pipe = quiet(network(), scheduler())
    together = pipe(3, 6, generator=generators(3)).images
    torch.testing.assert_close(pipe(1, 6, generator=generators(3)[2:]).images, together[2:], atol=1e-5, rtol=1e-5)


def test_many_angles_of_one_image_can_be_drawn_in_one_batch(network, raw):
    pipe = quiet(network(), PaperDDPMScheduler(50))
    angles = [-90.0, 0.0, 33.0]
    together = pipe(3, 20, rotate=angles, generator=sample_generators(4, [7, 7, 7])).images
    for i, angle in enumerate(angles):
        alone = pipe(1, 20, rotate=angle, generator=sample_generators(4, [7])).images
        assert relative(together[i : i + 1], alone) < 1e-4


def test_given_noise_replaces_the_drawn_one(network, raw):
    pipe, shape = quiet(network(), PaperDDPMScheduler(50)), (2, 1, 16, 16)
    given = {"latents": torch.randn(shape), "step_noise": torch.randn(10, *shape)}
    a, b = (pipe(2, 10, generator=generators(seed=s), **given).images for s in (1, 2))
    assert torch.equal(a, b)
    assert relative(pipe(2, 10, latents=given["latents"], generator=generators()).images, a) > 0.1
    with pytest.raises(ShapeError, match=r"\(10, 2, 1, 16, 16\)"):
        pipe(2, 10, step_noise=given["step_noise"][1:])


def test_a_half_precision_network_gets_its_dtype_and_the_state_keeps_float32(network, raw):
    net = network().to(torch.bfloat16)
    images = quiet(net, PaperDDPMScheduler(50))(2, 10, rotate=20, generator=generators()).images
    assert {dtype for dtype, _ in net.seen} == {torch.bfloat16}
    assert images.dtype == torch.float32
    exact = quiet(network(), PaperDDPMScheduler(50))(2, 10, rotate=20, generator=generators()).images
    assert 0 < relative(images, exact) < 0.05


def test_an_ordinary_diffusers_network_is_sampled_and_turned():
    unet = UNet2DModel(
        sample_size=(8, 16), in_channels=3, out_channels=3, block_out_channels=(8, 8), norm_num_groups=4,
        layers_per_block=1, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=4,
    )  # fmt: skip
    pipe = quiet(unet, make_scheduler("dpm++"))
    images = pipe(2, 3, rotate=30, class_labels=[0, 3], generator=generators(), output_type="np").images
    assert images.shape == (2, 8, 16, 3)
    with pytest.raises(ArgumentError, match="leave guidance_scale at 1"):
        pipe(2, 3, class_labels=0, guidance_scale=2.0)
    with pytest.raises(ArgumentError, match=r"needs class_labels in 0\.\.3"):
        pipe(2, 3)


SMALL = {
    "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1,
    "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
}  # fmt: skip


def test_a_class_that_stands_for_none_guides_where_it_is_named(raw):
    pipe = quiet(UNet2DModel(**SMALL, sample_size=8, num_class_embeds=4), make_scheduler("ddim"))

    def sample(**given):
        return pipe(1, 3, generator=generators(1), **given).images

    null, plain = sample(class_labels=3), sample(class_labels=1)
    assert relative(sample(class_labels=1, guidance_scale=1.0, null_class=3), plain) < 1e-5
    assert relative(sample(class_labels=1, guidance_scale=0.0, null_class=3), null) < 1e-5
    assert relative(sample(class_labels=1, guidance_scale=4.0, null_class=3), plain) > 1e-3
    with pytest.raises(ArgumentError, match="give it as null_class"):
        sample(class_labels=1, guidance_scale=4.0)
    with pytest.raises(ArgumentError, match="one of the network's classes, not 4"):
        sample(class_labels=1, null_class=4)


@pytest.mark.parametrize(("kind", "labels"), [("timestep", [5, 900]), ("identity", torch.randn(2, 32))])
def test_networks_that_embed_numbers_or_take_vectors_for_classes_are_sampled(raw, kind, labels):
    pipe = quiet(UNet2DModel(**SMALL, sample_size=8, class_embed_type=kind), make_scheduler("ddim"))
    both = pipe(2, 3, generator=generators(), class_labels=labels).images
    for i in range(2):
        one = pipe(1, 3, generator=generators()[i : i + 1], class_labels=labels[i : i + 1]).images
        assert relative(both[i : i + 1], one) < 1e-5
    other = pipe(2, 3, generator=generators(), class_labels=labels[1:]).images
    assert relative(other[0], both[0]) > 1e-3
    with pytest.raises(ArgumentError, match="needs class_labels, numbers or vectors"):
        pipe(2, 3)
    with pytest.raises(ArgumentError, match="has no null class"):
        pipe(2, 3, class_labels=labels, guidance_scale=2.0)
    if kind == "identity":
        for wrong in (3, torch.randn(2, 31)):
            with pytest.raises(ArgumentError, match="takes vectors of 32 numbers for classes"):
                pipe(2, 3, class_labels=wrong)


def test_a_network_without_a_size_takes_that_of_the_noise(raw):
    pipe = quiet(UNet2DModel(**SMALL, sample_size=None), make_scheduler("ddim"))
    assert pipe(2, 3, latents=torch.randn(2, 3, 8, 16)).images.shape == (2, 3, 8, 16)
    with pytest.raises(ArgumentError, match="no sample_size: give the starting noise"):
        pipe(2, 3)


def test_guidance_asks_for_both_predictions_in_one_batch(network, raw):
    net = network(num_class_embeds=2)
    quiet(net, make_scheduler("ddim"))(3, 4, class_labels=1, guidance_scale=2.0)
    assert [n for _, n in net.seen] == [6] * 4


@pytest.mark.parametrize("output_type", ["pil", "np"])
def test_frames_come_in_the_form_of_the_images(network, output_type):
    pipe = quiet(network(), make_scheduler("dpm++"))
    out = pipe(2, 4, generator=generators(), output_type=output_type, return_frames=True)
    assert len(out.frames) == 4
    assert np.array_equal(np.stack(out.frames[-1]), np.stack(out.images))
    images, frames = pipe(2, 4, output_type=output_type, return_dict=False)
    assert len(images) == 2
    assert frames is None


def test_progress_is_reported_after_every_step(network):
    told = []
    quiet(network(), make_scheduler("ddim"))(1, 3, progress=lambda *args: told.append(args))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_by_default_the_whole_motion_happens_late_with_noise_that_moves_along(network, raw):
    pipe = quiet(network(), PaperDDPMScheduler(50))

    def sample(**motion):
        return pipe(1, 20, rotate=40, generator=generators(1), return_frames=True, **motion)

    default, upright = sample().frames, sample(schedule=(1.0, 1.0)).frames
    assert torch.equal(default[17], upright[17])
    assert not torch.equal(default[18], upright[18])  # 19 of 20 steps are done
    spelt_out = sample(schedule=(0.95, 0.95), method="fourier", noise="co-moving").frames
    assert all(torch.equal(a, b) for a, b in zip(default, spelt_out, strict=True))
    for settings, window in ((MotionSettings, None), (Way, LATE)):
        assert (settings().method, settings().noise, settings().schedule) == ("fourier", "co-moving", window)


def test_a_motion_all_at_the_start_still_happens(network, raw):
    pipe = quiet(network(), make_scheduler("ddim"))
    upright = pipe(1, 5, generator=generators(1)).images.rot90(1, (2, 3))
    for schedule in ((0.0, 0.0), lambda p: 1.0):
        assert relative(pipe(1, 5, rotate=90, schedule=schedule, generator=generators(1)).images, upright) < 1e-5


def test_a_motion_before_the_first_step_moves_the_starting_noise_and_what_the_network_sees(network):
    start = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    net = network()
    pipe = quiet(net, make_scheduler("ddim"))
    seen = []
    net.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    pipe(1, 3, rotate=90, schedule=(0.0, 0.0), latents=start)
    pipe(1, 3, rotate=90, schedule=(0.0, 1.0), latents=start)
    assert torch.equal(seen[0], start.rot90(1, (2, 3)))
    assert torch.equal(seen[3], start)


def test_latent_output_is_the_state_itself_not_cut_off(network):
    pipe = quiet(network(clip=False), make_scheduler("ddim"))
    given = {"generator": generators(), "return_frames": True, "frame_every": 2}
    latent, unit = (pipe(2, 4, output_type=kind, **given | {"generator": generators()}) for kind in ("latent", "pt"))
    assert latent.images.abs().max() > 1
    torch.testing.assert_close((latent.images / 2 + 0.5).clamp(0, 1), unit.images)
    assert torch.equal(latent.frames[-1], latent.images)
    assert latent.frames.shape == unit.frames.shape


def test_a_scheduler_that_would_visit_negative_times_is_refused(network):
    pipe = quiet(network(), DDIMScheduler(timestep_spacing="trailing"))
    with pytest.raises(ArgumentError, match="cannot do 998 steps"):
        pipe(1, 998)


@pytest.mark.parametrize(
    ("config", "motion", "window"),
    [
        ("T", {"translate": (0.5, 1.0)}, WHOLE),
        ("T", {"rotate": 30.0}, LATE),
        ("T", {"rotate": [0.0, 30.0]}, LATE),
        ("T", {"translate": (0.5, 0.0), "zoom": 1.1}, LATE),
        ("R", {"rotate": 30.0}, WHOLE),
        ("R", {"rotate": 30.0, "translate": (1.0, 0.0)}, LATE),
        ("A", {"translate": (1.0, 0.0)}, LATE),
    ],
)
def test_by_default_it_moves_all_along_what_the_network_commutes_with_and_late_what_it_does_not(config, motion, window):
    torch.manual_seed(0)
    unet = AliasFreeUNet2DModel(config, 8, 1, 1, base_channels=4, frame_features=1).eval()
    pipe = quiet(unet, make_scheduler("ddpm"))

    def moved(**options):
        return pipe(2, 20, generator=generators(), output_type="latent", **motion, **options).images

    assert torch.equal(moved(), moved(schedule=window))
    assert not torch.equal(moved(), moved(schedule=WHOLE if window == LATE else LATE))
