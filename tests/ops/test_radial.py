"""Radially symmetric filtering: the literal algorithm, the laws of turns, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation.equivariance import eq_r
from aliasfree.ops import centre2d, disc_filter2d, disc_window2d, radial_conv2d, radial_conv2d_reference

WIDTHS = (0.75, 1.5)


def blob(side: int = 32) -> torch.Tensor:
    """A smooth and lopsided picture that leaves the corners empty."""
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    y, x = line[:, None], line
    spots = [((3.0, -2.0), 2.0, 1.0), ((-4.0, 1.5), 1.6, -0.7)]
    return sum(a * torch.exp(-((y - p[0]) ** 2 + (x - p[1]) ** 2) / (2 * s**2)) for p, s, a in spots)[None, None]


@pytest.mark.parametrize("size", [(8, 8), (6, 8), (7, 5)])
def test_the_convolution_is_the_literal_one(size):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(4, 3, 3, dtype=torch.float64)
    got, wanted = radial_conv2d(x, weight, WIDTHS), radial_conv2d_reference(x, weight, WIDTHS)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert radial_conv2d(x.bfloat16(), weight.bfloat16(), WIDTHS).dtype == torch.bfloat16


def test_a_point_and_gaussians_of_sum_one_keep_a_constant():
    weight = torch.tensor([[[0.2, 0.3, 0.5]]], dtype=torch.float64)
    y = radial_conv2d(torch.full((1, 1, 16, 16), 3.0, dtype=torch.float64), weight, WIDTHS)
    torch.testing.assert_close(y, torch.full_like(y, 3.0))


def test_it_commutes_with_any_turn_and_a_3x3_convolution_does_not():
    torch.manual_seed(0)
    weight = torch.randn(2, 1, 3, dtype=torch.float64)
    square = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    options = {"degrees": [33.0], "method": "interpolant", "margin": 4.0}
    assert eq_r(lambda v: radial_conv2d(v, weight, WIDTHS), blob(), **options) > 80
    assert eq_r(lambda v: torch.nn.functional.conv2d(v, square, padding=1), blob(), **options) < 30


def test_the_disc_has_no_corners_and_falls_where_it_is_told_to():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    spectrum = (torch.fft.fft2(disc_filter2d(x)) / torch.fft.fft2(x))[0, 0]
    f = 2 * torch.hypot(*torch.meshgrid(*[torch.fft.fftfreq(16, dtype=torch.float64)] * 2, indexing="ij"))
    assert torch.allclose(spectrum.real, (f < 1).double(), atol=1e-9)
    gradual = (torch.fft.fft2(disc_filter2d(x, 0.98, 0.4)) / torch.fft.fft2(x)).real[0, 0]
    assert torch.allclose(gradual[f <= 0.4], torch.ones(()).double(), atol=1e-9)
    assert gradual[f >= 0.98].abs().max() < 1e-9
    assert torch.allclose(gradual[0, 4:7], gradual[4:7, 0])
    assert (gradual[0, 4:8].diff() < 0).all()


def test_the_window_keeps_the_middle_and_drops_the_corners():
    x = disc_filter2d(blob() + 0.5)
    y = disc_window2d(x, 0.125, 1.5)
    assert y.shape == (1, 1, 48, 48)
    middle = centre2d(y, (32, 32))
    line = torch.arange(32, dtype=torch.float64) - 15.5
    r = torch.hypot(line[:, None], line)
    assert (middle - x)[..., r < 10].abs().max() < 1e-3
    assert middle[..., r > 17].abs().max() < 1e-2
    assert y[..., :4, :].abs().max() < 1e-3


def test_the_middle_of_the_same_size_is_the_plane_itself():
    x = torch.randn(1, 1, 8, 8)
    assert centre2d(x, (8, 8)) is x
    with pytest.raises(ShapeError, match="no middle"):
        centre2d(x, (5, 8))
    with pytest.raises(ShapeError, match="no middle"):
        centre2d(x, (10, 8))


def test_gradients_of_first_and_second_order():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    call = lambda v, w: radial_conv2d(v, w, (0.75,))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, weight))
    assert torch.autograd.gradgradcheck(call, (x, weight))
    assert torch.autograd.gradcheck(lambda v: disc_filter2d(v, 0.9, 0.4), (x,))
    assert torch.autograd.gradcheck(lambda v: disc_window2d(v, 0.25, 1.5), (x,))


def test_tables_first_made_under_inference_serve_training():
    weight = torch.randn(1, 1, 3, requires_grad=True)
    with torch.inference_mode():
        radial_conv2d(torch.randn(1, 1, 10, 12), weight, (0.5, 0.9))
    radial_conv2d(torch.randn(1, 1, 10, 12), weight, (0.5, 0.9)).sum().backward()
    assert weight.grad is not None


def test_autocast_leaves_the_transforms_in_float32():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 8, 8), torch.randn(3, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = radial_conv2d(x, weight, WIDTHS)
    assert torch.equal(got, radial_conv2d(x, weight, WIDTHS))


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda x: radial_conv2d(x, torch.zeros(1, 2, 3), WIDTHS), ShapeError, "expected weights"),
    (lambda x: radial_conv2d(x, torch.zeros(1, 1, 2), [0.0]), ArgumentError, "above 0 pixels"),
    (lambda x: radial_conv2d(x[0], torch.zeros(1, 1, 3), WIDTHS), ShapeError, "float planes"),
    (lambda x: disc_filter2d(x, 0.5, 0.6), ArgumentError, "`start`"),
    (lambda x: disc_filter2d(x.long()), ShapeError, "float planes"),
    (lambda x: disc_window2d(x, 0.0, 1.5), ArgumentError, "`taper`"),
    (lambda x: disc_window2d(x, 0.1, 0.9), ArgumentError, "`padding`"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call(torch.zeros(1, 1, 8, 8))


def test_a_shift_of_the_plane_shifts_the_result():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 3)
    got = radial_conv2d(x.roll((1, 2), (2, 3)), weight, WIDTHS)
    torch.testing.assert_close(got, radial_conv2d(x, weight, WIDTHS).roll((1, 2), (2, 3)), rtol=0, atol=1e-5)
    assert math.isfinite(got.sum().item())
