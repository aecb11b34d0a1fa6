from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    ModelMixin,
)
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput

from aliasfree.diffusion import (
    AliasFreePipeline,
    MotionSchedule,
    PaperDDPMScheduler,
    make_scheduler,
    pipeline,
    sample_generators,
)
from aliasfree.errors import ArgumentError
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.ops import rotate2d


class RadialNetwork(ModelMixin, ConfigMixin):
    """A network that turns with its input: radial low-pass by FFT, then a pointwise nonlinearity."""

    @register_to_config
    def __init__(self, sample_size: int = 16, in_channels: int = 1, clip: bool = True) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7))
        # an odd number of bins a side: the grid of frequencies itself has the symmetry of the square
        k = torch.fft.fftfreq(sample_size, 1 / sample_size)
        self.register_buffer("gain", torch.exp(-(k[:, None] ** 2 + k[None, :] ** 2) / 30), persistent=False)

    def forward(self, sample, timestep, class_labels=None):
        y = torch.fft.ifft2(torch.fft.fft2(sample) * self.gain).real
        if self.config["clip"]:
            y = torch.tanh(y + 0.3)
        return UNet2DOutput(sample=self.scale * y + 0.4 * sample)


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


def test_one_generator_used_twice_continues_as_one_batch_would():
    pipe = quiet(RadialNetwork(), PaperDDPMScheduler())
    g = torch.Generator().manual_seed(5)
    parts = torch.cat([pipe(1, 5, generator=g, output_type="pt").images for _ in range(2)])
    whole = pipe(2, 5, generator=torch.Generator().manual_seed(5), output_type="pt").images
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)


SCHEDULERS = {
    "ddim": lambda: DDIMScheduler(clip_sample=False),
    "euler": EulerDiscreteScheduler,
    "dpm++": DPMSolverMultistepScheduler,
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_quarter_turn_during_sampling_turns_the_image_when_the_history_moves_along(raw, monkeypatch, name):
    pipe = quiet(RadialNetwork(), SCHEDULERS[name]())

    def sample(**motion):
        return pipe(2, 8, generator=generators(), **motion).images

    upright = sample().rot90(1, (2, 3))
    turned = {"rotate": 90, "schedule": lambda p: float(p >= 0.5)}
    assert relative(sample(**turned), upright) < 1e-5
    monkeypatch.setattr(pipeline, "_move_history", lambda *_: None)
    without = relative(sample(**turned), upright)
    assert without > 1e-2 if name == "dpm++" else without < 1e-5


def test_co_moving_noise_turns_the_sample_and_independent_noise_does_not(raw):
    pipe = quiet(RadialNetwork(), PaperDDPMScheduler(50))

    def sample(**motion):
        return pipe(2, 40, generator=generators(), **motion).images

    expected = sample().rot90(1, (2, 3))
    spread = {"rotate": 90, "schedule": lambda p: round(p * 4) / 4 >= 0.5}
    assert relative(sample(noise="co-moving", **spread), expected) < 1e-5
    assert relative(sample(noise="independent", **spread), expected) > 0.1


def test_small_co_moving_turns_add_up_to_the_whole_turn(raw):
    """Linear network: the only errors are those of the rotation itself at the edge of the spectrum."""
    pipe = quiet(RadialNetwork(sample_size=32, clip=False), PaperDDPMScheduler(50))

    def sample(**motion):
        return pipe(1, 30, generator=generators(1), **motion).images

    low = torch.exp(-((torch.fft.fftfreq(32, 1 / 32)[:, None] ** 2 + torch.fft.fftfreq(32, 1 / 32)[None] ** 2) / 40))

    def smooth(x):
        return torch.fft.ifft2(torch.fft.fft2(x) * low).real[..., 8:24, 8:24]

    expected = smooth(rotate2d(sample(), 30))
    assert relative(smooth(sample(rotate=30, noise="co-moving")), expected) < 0.1
    assert relative(smooth(sample(rotate=30, noise="independent")), expected) > 0.5


def test_the_papers_chain_makes_all_but_one_share_of_the_turn(raw, monkeypatch):
    turned = []
    monkeypatch.setattr(
        "aliasfree.diffusion.transforms.rotate2d", lambda x, degrees, method: turned.append((degrees, method)) or x
    )
    pipe = quiet(RadialNetwork(), PaperDDPMScheduler(50))
    pipe(1, rotate=45, method="spline")
    assert turned == [(pytest.approx(45 / 50), "spline")] * 49
    turned.clear()
    pipe(1, 10, rotate=45)
    assert turned == [(pytest.approx(4.5), "fourier")] * 10


def test_the_window_says_when_the_motion_happens():
    schedule = MotionSchedule((0.5, 0.75))
    assert [schedule.share(p) for p in (0, 0.5, 0.625, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    assert [MotionSchedule((0.9, 0.9)).share(p) for p in (0.8, 0.9, 1)] == [0, 1, 1]
    assert MotionSchedule(lambda p: p**2).share(0.5) == 0.25
    for bad in ((0.5, 0.2), (-0.1, 1), (0, 1.5)):
        with pytest.raises(ArgumentError, match="0 <= start <= end <= 1"):
            MotionSchedule(bad)


def test_translation_and_zoom_move_the_sample(raw):
    pipe = quiet(RadialNetwork(clip=False), make_scheduler("ddim"))

    def sample(**motion):
        return pipe(1, 10, generator=generators(1), **motion).images

    assert relative(sample(translate=(3, -2), schedule=(0.5, 0.5)), sample().roll((3, -2), (2, 3))) < 1e-5
    assert relative(sample(zoom=1.3), sample()) > 0.1


def test_frames_are_the_states_on_the_way():
    pipe = quiet(RadialNetwork(), make_scheduler("ddim"))
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


def test_pictures_are_cut_off_not_rounded():
    pipe = quiet(RadialNetwork(), make_scheduler("ddim"))
    images = pipe(2, 4, generator=generators()).images
    unit = pipe(2, 4, generator=generators(), output_type="np").images
    assert images[0].mode == "L"
    assert (np.asarray(images[1]) == np.floor(unit[1, ..., 0] * 255 + 1e-4)).mean() > 0.99


def test_the_pipeline_survives_saving(tmp_path):
    model = AliasFreeUNet2DModel("D-2N", 16, 1, 1, base_channels=8).eval()
    quiet(model, PaperDDPMScheduler(50)).save_pretrained(tmp_path)
    again = AliasFreePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert isinstance(again.scheduler, PaperDDPMScheduler)
    first = quiet(model, PaperDDPMScheduler(50))(1, 5, generator=generators(1), output_type="pt").images
    torch.testing.assert_close(again(1, 5, generator=generators(1), output_type="pt").images, first, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_inference_steps": 1000}, r"1\.\.999"),
        ({"num_inference_steps": 0}, r"1\.\.999"),
        ({"batch_size": 0}, "at least 1"),
        ({"rotate": float("nan")}, "angle in degrees"),
        ({"rotate": 1e9}, "angle in degrees"),
        ({"translate": (float("inf"), 0)}, "finite"),
        ({"zoom": 0}, "zoom is a factor"),
        ({"noise": "comoving"}, "did you mean 'co-moving'"),
        ({"output_type": "jpg"}, "unknown output_type"),
        ({"class_labels": 0}, "no classes"),
        ({"generator": [torch.Generator()]}, "one generator or 2"),
    ],
)
def test_arguments_out_of_range_are_refused_before_sampling(arguments, message):
    pipe = quiet(RadialNetwork(), PaperDDPMScheduler())
    with pytest.raises(ArgumentError, match=message):
        pipe(**({"batch_size": 2, "num_inference_steps": 5} | arguments))


def test_a_scheduler_that_draws_its_own_noise_is_refused_for_co_moving_noise():
    pipe = quiet(RadialNetwork(), DDPMScheduler())
    pipe(1, 3, rotate=10)
    with pytest.raises(ArgumentError, match="draws its own noise"):
        pipe(1, 3, rotate=10, noise="co-moving")
