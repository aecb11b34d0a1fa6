"""The laws of EQ-T, EQ-T_frac and EQ-R on maps whose equivariance is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation import eq_r, eq_t
from aliasfree.evaluation.equivariance import (
    Agreement,
    disc_mask,
    image_agreement,
    rotation_agreement,
    translation_agreement,
)
from aliasfree.evaluation.turning import turned
from aliasfree.ops import disc_filter2d, downsample2d, rotate2d, translate2d, upsample2d


def white(side: int = 16, n: int = 4) -> torch.Tensor:
    return torch.randn(n, 2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def blobs(side: int = 32, n: int = 3) -> torch.Tensor:
    """Smooth, and nothing near the edge of the inscribed disc."""
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    generator = torch.Generator().manual_seed(2)
    images = []
    for _ in range(n):
        y, x = (torch.rand(2, generator=generator) - 0.5) * side / 5
        images.append(torch.exp(-((line[:, None] - y) ** 2 + (line - x) ** 2) / (2 * (side / 14) ** 2)))
    return torch.stack(images)[:, None]


def convolution(kernel: torch.Tensor, padding: str = "circular", stride: int = 1):
    reach = kernel.shape[-1] // 2

    def fn(x: torch.Tensor) -> torch.Tensor:
        mode = "constant" if padding == "zeros" else padding
        padded = F.pad(x, (reach,) * 4, mode=mode)
        return F.conv2d(padded, kernel.expand(x.shape[1], 1, *kernel.shape), stride=stride, groups=x.shape[1])

    return fn


RANDOM = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def radial_kernel(side: int = 9, sigma: float = 1.5) -> torch.Tensor:
    line = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.exp(-(line[:, None] ** 2 + line**2) / (2 * sigma**2))


@pytest.mark.parametrize("measure", [
    lambda f, x: eq_t(f, x), lambda f, x: eq_t(f, x, fractional=True), lambda f, x: eq_r(f, x),
])  # fmt: skip
def test_the_identity_is_equivariant_to_more_than_100_db(measure):
    assert measure(lambda x: x, white()) > 100
    assert measure(lambda x: 3 * x + 1e-14 * torch.randn_like(x), white()) > 100


def test_a_circular_convolution_commutes_with_whole_shifts_exactly_and_with_fractional_ones_below_nyquist():
    fn = convolution(RANDOM)
    assert eq_t(fn, white(), periodic=True) > 250
    smooth = upsample2d(white(8), "ideal")
    assert eq_t(fn, smooth, fractional=True, periodic=True) > 250


def test_zero_padding_breaks_shifts_at_the_border_only():
    fn = convolution(RANDOM, "zeros")
    assert eq_t(fn, white(), periodic=True) < 30
    # a pixel reads one pixel further than the valid region and the edge of the image
    assert eq_t(fn, white(), margin=1) > 250


def test_a_radial_filter_commutes_with_rotations_and_an_oriented_one_does_not():
    radial = convolution(radial_kernel())
    assert eq_r(radial, blobs()) > 60
    oriented = convolution(torch.tensor([[0.0, 0, 0], [0, -1, 1], [0, 0, 0]], dtype=torch.float64))
    assert eq_r(oriented, blobs()) < 10


def test_a_strided_convolution_is_not_equivariant_and_an_ideal_pair_is():
    def strided(x):
        return convolution(RANDOM, stride=2)(x).repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert eq_t(strided, white(), periodic=True) < 10
    assert eq_r(strided, blobs()) < 40

    def filtered(x):
        return upsample2d(downsample2d(x, "ideal"), "ideal")

    odd = white(8)
    assert eq_t(filtered, upsample2d(upsample2d(odd, "ideal"), "ideal")[..., 0:, 0:], True, periodic=True) > 200


def test_a_pointwise_nonlinearity_commutes_with_whole_shifts_and_quarter_turns_alone():
    x = white()
    assert eq_t(torch.relu, x) > 250
    assert eq_r(torch.relu, x, degrees=[90.0, 180.0, 270.0, 90.0]) == math.inf
    assert eq_t(torch.relu, x, fractional=True) < 15
    assert eq_r(torch.relu, x) < 15


def test_the_decibels_are_those_of_the_definition():
    """fn adds a fixed pattern: the error is the pattern against itself shifted."""
    x, pattern = torch.zeros(1, 1, 8, 8, dtype=torch.float64), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    pattern[..., 4, 4] = 1.0
    # wherever it is moved to within the valid region: signal 1, error 1 + 1
    measured = translation_agreement(lambda v: v + pattern, x, periodic=True, repeats=64)
    moved = measured.error > 0
    assert moved.any()
    assert torch.all(measured.signal == 1)
    assert torch.all(measured.error[moved] == 2)
    total = 10 * math.log10(64 / (2 * int(moved.sum())))
    assert measured.db == pytest.approx(total)


def test_sums_come_before_the_logarithm():
    a, b = Agreement(torch.tensor([1.0]), torch.tensor([1.0])), Agreement(torch.tensor([99.0]), torch.tensor([0.0]))
    assert Agreement.join([a, b]).db == pytest.approx(20)


def test_a_seed_gives_the_same_figure_and_an_interval_holds_it():
    fn = lambda x: torch.relu(x)  # noqa: E731
    x = white(n=16)
    one = translation_agreement(fn, x, True, repeats=4)
    assert one.db == translation_agreement(fn, x, True, repeats=4).db
    assert one.db != translation_agreement(fn, x, True, repeats=4, seed=1).db
    estimate = one.estimate()
    assert estimate.low < estimate.value < estimate.high


def test_image_level_is_the_peak_signal_to_noise_ratio():
    a = torch.zeros(2, 1, 16, 16)
    assert image_agreement(a, a + 0.02).db == pytest.approx(10 * math.log10(4 / 0.02**2), rel=1e-6)
    mask = disc_mask(16, 0)
    outside = torch.where(mask, a, torch.ones_like(a))
    assert image_agreement(a, outside, mask).db == math.inf
    with pytest.raises(ShapeError, match="one shape"):
        image_agreement(a, a[:1])


def test_the_disc_is_turned_into_itself_and_is_smaller_by_its_margin():
    _, inscribed = rotate2d(torch.zeros(1, 1, 32, 32), 30.0, return_mask=True)
    assert torch.equal(disc_mask(32, 0), inscribed)
    assert disc_mask(32).sum() < disc_mask(32, 0).sum()
    with pytest.raises(ArgumentError, match="leaves nothing"):
        disc_mask(8, 4.0)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda x: eq_t(lambda v: v, x, reach=0.0), ArgumentError, "reach must be"),
    (lambda x: eq_t(lambda v: v, x, margin=8), ArgumentError, "leaves nothing"),
    (lambda x: eq_t(lambda v: v[..., ::2], x), ShapeError, "keep the number of images and their size"),
    (lambda x: eq_t(lambda v: v, x[0]), ShapeError, "expected float images"),
    (lambda x: eq_r(lambda v: v, x[..., :8]), ShapeError, "square images"),
    (lambda x: rotation_agreement(lambda v: v, x, degrees=[1.0]), ShapeError, "4 angles"),
    (lambda x: eq_r(lambda v: v, x, repeats=0), ArgumentError, "repeats must be"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call(white())


def test_a_map_that_knows_the_frame_is_asked_with_the_moved_frame():
    x = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    place = torch.randn(1, 1, 16, 16, dtype=torch.float64)  # something fixed to the frame

    def framed(v, moved):
        if "rotate" in moved:
            return v + rotate2d(place.expand(len(v), -1, -1, -1), moved["rotate"])
        return v + translate2d(place.expand(len(v), -1, -1, -1), *moved["translate"])

    def fn(v):
        return v + place

    assert eq_t(fn, x, True, periodic=True) < 20
    assert eq_t(fn, x, True, periodic=True, framed=framed) > 120
    assert eq_r(fn, x, framed=framed) > 120


def test_the_interpolant_turns_what_lies_within_the_disc_exactly_and_three_shears_do_not():
    line = torch.arange(32, dtype=torch.float64) - 15.5
    # a wave near the rim of the band under a bell, which leaves the edge of the plane empty
    bell = torch.exp(-(line[:, None] ** 2 + line**2) / (2 * 4.0**2))

    def wave(degrees: float) -> torch.Tensor:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return (bell * torch.cos(0.8 * math.pi * (c * line - s * line[:, None])))[None, None]

    def error(method: str) -> float:
        return (
            (turned(wave(70.0), [35.0], method) - wave(105.0))[disc_mask(32)[0, 0].expand(1, 1, 32, 32)]
            .abs()
            .max()
            .item()
        )

    assert error("interpolant") < 0.01
    assert error("fourier") > 0.05
    assert torch.equal(turned(wave(10.0), [90.0], "interpolant"), wave(10.0).rot90(1, (2, 3)))


def test_to_and_fro_the_interpolant_gives_back_the_middle():
    x = disc_filter2d(white(32))
    back = turned(turned(x, [30.0] * len(x), "interpolant"), [-30.0] * len(x), "interpolant")
    mask = disc_mask(32, margin=4.0).expand(x.shape)
    assert 10 * math.log10((x[mask].square().sum() / (back - x)[mask].square().sum()).item()) > 15
