"""Each loss against a direct formula in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from aliasfree import convert
from aliasfree.tuning.losses import draw_shift, shift_error, smaller
from aliasfree.tuning.objectives import make_objective
from aliasfree.tuning.settings import LOSSES
from aliasfree.tuning.teachers import Pair
from tests.tuning.conftest import small_autoencoder, small_unet

X = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def generators() -> tuple[torch.Generator, torch.Generator]:
    return torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)


def autoencoders(config: str = "D-hq", padding_mode: Any = None) -> Pair:
    teacher = small_autoencoder().double().eval()
    student = small_autoencoder().double()
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return Pair("autoencoder", teacher, convert(student, config, padding_mode), 1, (16, 16))


def loss(pair: Pair, **weights: float) -> Tensor:
    return make_objective(pair, weights, torch.device("cpu"))(X, *generators())


def shifted(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """By the Fourier theorem, written out; what lies at the Nyquist frequency moves as the mean of both of its ends."""
    out = []
    for image, dy, dx in zip(x, down.tolist(), right.tolist(), strict=True):
        moved = image
        for axis, amount in ((-2, dy), (-1, dx)):
            n = image.shape[axis]
            f = torch.fft.fftfreq(n, dtype=torch.float64)
            phase = torch.exp(-2j * math.pi * f * amount)
            if n % 2 == 0:
                phase[n // 2] = math.copysign(1.0, math.cos(math.pi * amount))
            shape = [n, 1] if axis == -2 else [n]
            moved = torch.fft.ifft(torch.fft.fft(moved, dim=axis) * phase.reshape(shape), dim=axis).real
        out.append(moved)
    return torch.stack(out)


def test_the_loss_is_the_weighted_sum_of_the_parts_that_follow_it():
    found = loss(autoencoders(), reconstruction=2.0, latents=0.5, flip=0.25)
    assert found[0].item() == pytest.approx(2 * found[1].item() + 0.5 * found[2].item() + 0.25 * found[3].item())
    assert found[0].requires_grad


def test_reconstruction_and_kl_are_those_of_the_posterior():
    pair = autoencoders()
    found = loss(pair, reconstruction=1.0, kl=1.0)
    posterior = pair.student.encode(X).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generators()[0], dtype=torch.float64)
    y = pair.student.decode(posterior.mean + posterior.std * noise).sample
    assert found[1].item() == pytest.approx(((y - X) ** 2).mean().item(), rel=1e-6)
    assert found[2].item() == pytest.approx(posterior.kl().sum().item() / posterior.mean.numel(), rel=1e-6)


def test_latents_and_teacher_compare_with_the_teacher():
    pair = autoencoders()
    found = loss(pair, latents=1.0, teacher=1.0)
    ours, theirs = (m.encode(X).latent_dist for m in (pair.student, pair.teacher))
    wanted = ((ours.mean - theirs.mean) ** 2).mean() + ((ours.std - theirs.std) ** 2).mean()
    assert found[1].item() == pytest.approx((wanted / theirs.mean.var()).item(), rel=1e-5)
    decoded = [m.decode(theirs.mean).sample for m in (pair.student, pair.teacher)]
    assert found[2].item() == pytest.approx(((decoded[0] - decoded[1]) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["shift", "fractional"])
def test_shifts_compare_encoder_and_decoder_with_the_fourier_theorem(name):
    pair = autoencoders("D-ideal", "circular")
    found = loss(pair, **{name: 1.0})
    noise, motions = generators()
    posterior = pair.student.encode(X).latent_dist
    z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise, dtype=torch.float64)
    down, right = draw_shift(3, (8, 8), name == "fractional", motions)
    encoded = pair.student.encode(shifted(X, 2 * down, 2 * right)).latent_dist.mean
    one = ((encoded - shifted(posterior.mean, down, right)) ** 2).mean() / pair.teacher.encode(X).latent_dist.mean.var()
    decoded = pair.student.decode(shifted(z, down, right)).sample
    two = ((decoded - shifted(pair.student.decode(z).sample, 2 * down, 2 * right)) ** 2).mean()
    assert found[1].item() == pytest.approx((one + two).item(), rel=1e-4)


def test_where_the_plane_has_edges_what_was_shifted_in_does_not_count():
    x, shift = torch.randn(2, 1, 8, 8, dtype=torch.float64), (torch.tensor([2.0, 2.0]), torch.tensor([0.0, 0.0]))
    edge = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    edge[..., :2, :] = 100.0  # rows that a shift down by 2 brings in

    def fn(v: Tensor) -> Tensor:
        return v if v is x else v + edge

    assert shift_error(fn, x, x, shift, 1, periodic=False).item() == 0
    assert shift_error(fn, x, x, shift, 1, periodic=True).item() == pytest.approx(2500, rel=1e-6)


def test_turns_and_flips_compare_the_moved_latents_with_the_moved_image():
    pair = autoencoders()
    found = loss(pair, turn=1.0, flip=1.0)
    noise, motions = generators()
    posterior = pair.student.encode(X).latent_dist
    z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise, dtype=torch.float64)
    k, axis = int(torch.randint(1, 4, (), generator=motions)), 2 + int(torch.randint(2, (), generator=motions))
    for value, move in ((found[1], lambda v: v.rot90(k, (2, 3))), (found[2], lambda v: v.flip(axis))):
        wanted = ((pair.student.decode(move(z)).sample - move(X)) ** 2).mean()
        assert value.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_scale_compares_the_smaller_latents_with_the_smaller_image():
    pair = autoencoders()
    found = loss(pair, scale=1.0)
    noise, motions = generators()
    posterior = pair.student.encode(X).latent_dist
    z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise, dtype=torch.float64)
    k = (2, 4, 6)[int(torch.randint(3, (), generator=motions))]
    wanted = ((pair.student.decode(smaller(z, (k, k))).sample - smaller(X, (2 * k, 2 * k))) ** 2).mean()
    assert found[1].item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_unet_is_compared_with_its_teacher_with_the_truth_and_with_itself_in_motion(prediction):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type=prediction)
    teacher, student = small_unet().double().eval(), small_unet(act_fn="gelu").double()
    pair = Pair("unet", teacher, convert(student, "D-ideal", "circular"), 1, (16, 16), scheduler=scheduler)
    names = {"teacher": 1.0, "reconstruction": 1.0, "fractional": 1.0, "turn": 1.0, "flip": 1.0}
    found = loss(pair, **names)
    noise, motions = generators()
    draw = torch.randn(X.shape, generator=noise, dtype=torch.float64)
    times = torch.randint(1000, (3,), generator=motions)
    share = scheduler.alphas_cumprod[times].double()[:, None, None, None]
    noised = share.sqrt() * X + (1 - share).sqrt() * draw

    def ask(v: Tensor) -> Tensor:
        return student(v, times).sample

    y = ask(noised)
    truth = {"epsilon": draw, "sample": X, "v_prediction": share.sqrt() * draw - (1 - share).sqrt() * X}[prediction]
    down, right = draw_shift(3, (16, 16), True, motions)
    k, axis = int(torch.randint(1, 4, (), generator=motions)), 2 + int(torch.randint(2, (), generator=motions))
    wanted = [
        (y - teacher(noised, times).sample) ** 2,
        (y - truth) ** 2,
        (ask(shifted(noised, down, right)) - shifted(y, down, right)) ** 2,
        (ask(noised.rot90(k, (2, 3))) - y.rot90(k, (2, 3))) ** 2,
        (ask(noised.flip(axis)) - y.flip(axis)) ** 2,
    ]
    for name, value, error in zip(names, found[1:], wanted, strict=True):
        assert value.item() == pytest.approx(error.mean().item(), rel=1e-3), name


def test_the_perceptual_loss_is_that_of_the_package_for_grey_colour_and_small_images():
    pytest.importorskip("stlpips_pytorch")
    from stlpips_pytorch import stlpips

    from aliasfree.tuning.losses import perceptual

    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    distance = perceptual()
    theirs = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval()
    with torch.no_grad():
        assert distance(a, b).item() == pytest.approx(theirs(a, b).mean().item(), rel=1e-5)
        grey = [v[:, :1].expand(-1, 3, -1, -1) for v in (a, b)]
        assert distance(a[:, :1], b[:, :1]).item() == pytest.approx(theirs(*grey).mean().item(), rel=1e-5)
    small = (a[..., :16, :16]).requires_grad_()
    distance(small, b[..., :16, :16]).backward()
    assert small.grad is not None
    assert small.grad.abs().sum() > 0


def test_whole_shifts_are_whole_and_never_nothing():
    down, right = draw_shift(500, (16, 8), False, torch.Generator().manual_seed(0))
    assert torch.equal(down, down.round())
    assert torch.equal(right, right.round())
    assert (down.abs().max(), right.abs().max()) == (2, 1)
    assert not ((down == 0) & (right == 0)).any()
    down, right = draw_shift(500, (16, 8), True, torch.Generator().manual_seed(0))
    assert np.allclose([down.abs().max(), right.abs().max()], [2, 1], atol=0.05)


def test_every_loss_has_a_name_here():
    assert set(LOSSES) == {
        "teacher", "latents", "reconstruction", "perceptual", "kl", "shift", "fractional", "scale", "turn", "flip"
    }  # fmt: skip
