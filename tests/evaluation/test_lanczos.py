"""StyleGAN3's ruler for shifts by fractions of a pixel."""

from __future__ import annotations

import math

import pytest
import torch

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation import eq_t
from aliasfree.evaluation.lanczos import lanczos_kernel, lanczos_translate2d
from aliasfree.ops import translate2d


def shifts(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_kernel_is_the_formula_scaled_to_sum_one():
    f = 0.3
    taps = lanczos_kernel(shifts(f))[0]
    wanted = []
    for k in range(-3, 3):
        t = math.pi * (k + f)
        wanted.append(3 * math.sin(t) * math.sin(t / 3) / t**2)
    torch.testing.assert_close(taps, torch.tensor(wanted, dtype=torch.float64) / sum(wanted))


def test_whole_pixels_are_moved_exactly_with_nothing_outside():
    x = torch.rand(2, 3, 8, 12)
    moved, _ = lanczos_translate2d(x, shifts(2, -1), shifts(0, 5))
    torch.testing.assert_close(moved[0, :, 2:], x[0, :, :-2])
    assert moved[0, :, :2].abs().max() < 1e-6
    torch.testing.assert_close(moved[1, :, :-1, 5:], x[1, :, 1:, :-5])


def test_smooth_images_agree_with_the_fourier_shift_where_the_taps_read_inside():
    c = torch.arange(32.0)
    x = ((2 * math.pi * 2 * c / 32).cos()[:, None] * (2 * math.pi * c / 32).sin())[None, None].double()
    dy, dx = shifts(1.4), shifts(-2.3)
    moved, mask = lanczos_translate2d(x, dy, dx)
    error = (moved - translate2d(x, dy, dx)).abs()
    assert error[mask].max() < 0.005
    assert error[~mask].max() > 0.1
    rows, columns = (mask[0, 0].any(1 - axis).nonzero().flatten() for axis in (0, 1))
    # row i reads rows i - 4 .. i + 1, column j columns j + 0 .. j + 5
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 30, 0, 26)


def test_by_it_even_the_identity_has_a_limit_that_the_fourier_ruler_has_not():
    x = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = eq_t(lambda v: v, x, fractional=True, periodic=True)
    ruled = eq_t(lambda v: v, x, fractional=True, periodic=True, ruler="lanczos")
    assert exact > 100
    assert 3 < ruled < 15
    assert eq_t(lambda v: v, x, periodic=True, ruler="lanczos") > 100  # whole pixels are no matter


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match="N shifts"):
        lanczos_translate2d(torch.rand(2, 1, 8, 8), shifts(1), shifts(1))
    with pytest.raises(ArgumentError, match="did you mean 'lanczos'"):
        eq_t(lambda v: v, torch.rand(1, 1, 8, 8), ruler="lanzcos")
