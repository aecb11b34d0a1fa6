"""The optimal linear predictor around a network."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.nn import Spectrum, measure_spectrum
from aliasfree.nn.preconditioning import _planes, precondition, residual_variance
from aliasfree.ops import translate2d


def gaussian_images(n: int, spectrum: Spectrum, size: int = 16) -> torch.Tensor:
    """Images whose pixels are jointly normal with this spectrum: for them the linear predictor is the best there is."""
    white = torch.randn(n, len(spectrum.mean), size, size, dtype=torch.float64)
    axes = torch.tensor(spectrum.colours, dtype=torch.float64)
    along = torch.fft.ifft2(torch.fft.fft2(white) * _planes(spectrum, size, size).sqrt()).real
    return torch.einsum("dc,ndhw->nchw", axes, along) + torch.tensor(spectrum.mean, dtype=torch.float64)[:, None, None]


def spectrum_of(channels: int) -> Spectrum:
    return Spectrum.of(Spectrum.natural(channels, 16).to_dict() | {"mean": [0.3 * (c + 1) for c in range(channels)]})


@pytest.mark.parametrize("channels", [1, 3])
def test_the_measured_spectrum_is_that_of_the_images(channels):
    torch.manual_seed(0)
    true = spectrum_of(channels)
    found = measure_spectrum(gaussian_images(4000, true))
    assert torch.allclose(torch.tensor(found.mean), torch.tensor(true.mean), atol=0.1)
    ratio = _planes(found, 16, 16).sum(0) / _planes(true, 16, 16).sum(0)
    # a ring is a cycle wide: where power falls steeply its mean is not that of its middle
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4
    assert (ratio.log().abs() < 0.1).float().mean() > 0.9


def test_white_noise_has_power_one_everywhere():
    torch.manual_seed(0)
    found = measure_spectrum(torch.randn(4000, 1, 16, 16))
    assert all(0.9 < p < 1.1 for p in found.power[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_with_a_silent_network_it_is_the_best_linear_predictor_and_its_error_the_known_one(channels):
    torch.manual_seed(0)
    spectrum = spectrum_of(channels)
    x0 = gaussian_images(600, spectrum)
    noise = torch.randn_like(x0)
    for a in (0.9, 0.3):
        alpha_bar = torch.full((600,), a, dtype=torch.float64)
        x = a**0.5 * x0 + (1 - a) ** 0.5 * noise
        seen, finish = precondition(spectrum, x, alpha_bar)
        assert abs(seen.var().item() - 1) < 0.05  # white, whatever the noise level
        error = (finish(torch.zeros_like(x)) - noise).square().mean()
        known = residual_variance(spectrum, (16, 16), alpha_bar[:1])[0]
        assert abs(error / known - 1) < 0.05
        for wrong in (0.8, 1.2):  # a Wiener filter scaled otherwise is worse
            assert (wrong * finish(torch.zeros_like(x)) - noise).square().mean() > error


def test_the_network_can_predict_any_noise():
    torch.manual_seed(0)
    spectrum, x = spectrum_of(3), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    a = torch.tensor([0.9, 0.2], dtype=torch.float64)
    _, finish = precondition(spectrum, x, a)
    linear = finish(torch.zeros_like(x))
    wanted = torch.randn_like(x)
    # finish is affine and invertible in the network's output
    columns = torch.eye(768, dtype=torch.float64).reshape(768, 1, 3, 16, 16).expand(-1, 2, -1, -1, -1)
    matrix = torch.stack([(finish(c) - linear)[0].flatten() for c in columns], 1)
    out = torch.linalg.solve(matrix, (wanted - linear)[0].flatten()).reshape(3, 16, 16)
    torch.testing.assert_close(finish(torch.stack([out, out]))[0], wanted[0])


def test_it_commutes_with_shifts_and_turns():
    torch.manual_seed(0)
    spectrum, x = spectrum_of(3), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    a = torch.tensor([0.9, 0.2], dtype=torch.float64)
    for move in (lambda v: translate2d(v, 2.0, -3.0), lambda v: torch.rot90(v, 1, (2, 3))):
        (seen, finish), (moved, finish_moved) = (precondition(spectrum, v, a) for v in (x, move(x)))
        torch.testing.assert_close(moved, move(seen))
        torch.testing.assert_close(finish_moved(moved), move(finish(seen)))


def test_dtype_is_kept_and_oblong_planes_of_another_size_work():
    spectrum = Spectrum.natural(1)
    x = torch.randn(2, 1, 24, 40, dtype=torch.bfloat16)
    seen, finish = precondition(spectrum, x, torch.tensor([0.5, 0.6]))
    assert (seen.dtype, seen.shape, finish(seen).shape) == (x.dtype, x.shape, x.shape)
    oblong = measure_spectrum(torch.randn(64, 1, 16, 40))
    assert all(p > 0 for p in oblong.power[0])


def test_a_spectrum_survives_json_and_nonsense_is_refused():
    spectrum = spectrum_of(3)
    assert Spectrum.of(spectrum.to_dict()) == spectrum
    with pytest.raises(ArgumentError, match="measure_spectrum"):
        Spectrum.of({"side": 16})
    with pytest.raises(ArgumentError, match="finite and not negative"):
        Spectrum.of(spectrum.to_dict() | {"power": [[-1.0]] * 3})
    with pytest.raises(ShapeError, match="expected images"):
        measure_spectrum(torch.zeros(0, 1, 8, 8))


def discs(n: int, size: int = 32) -> torch.Tensor:
    """Noise inside a disc of radius 8, -1 outside, as float64 images."""
    line = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    inside = torch.hypot(line[:, None], line) < 8
    return torch.where(inside, 0.3 * torch.randn(n, 1, size, size, dtype=torch.float64), -1.0)


def test_a_profile_tells_the_noise_where_the_data_are_known_and_helps_nowhere_else():
    torch.manual_seed(0)
    flat, radial = measure_spectrum(discs(500)), measure_spectrum(discs(500), radial=True)
    assert radial.spread[4] == pytest.approx(0.09, rel=0.1)
    assert radial.spread[12] < 1e-12
    assert radial.mean[0] + radial.profile[0][12] == pytest.approx(-1.0)
    x0 = discs(50)
    noise = torch.randn_like(x0)
    a = torch.full((50,), 0.9, dtype=torch.float64)
    x = 0.9**0.5 * x0 + 0.1**0.5 * noise
    corner = {}
    for name, spectrum in (("flat", flat), ("radial", radial)):
        error = (precondition(spectrum, x, a)[1](torch.zeros_like(x)) - noise).square()
        corner[name], middle = error[..., :4, :4].mean(), error[..., 14:18, 14:18].mean()
        assert 0.2 < middle < 1.0
    assert corner["radial"] < 1e-3 < 0.02 < corner["flat"]


def test_a_profile_commutes_with_quarter_turns_and_survives_json():
    torch.manual_seed(0)
    spectrum = measure_spectrum(discs(100), radial=True)
    assert Spectrum.of(spectrum.to_dict()) == spectrum
    x, out, a = torch.randn(2, 1, 16, 16).double(), torch.randn(2, 1, 16, 16).double(), torch.tensor([0.9, 0.2])
    wanted = precondition(spectrum, x, a)[1](out).rot90(1, (2, 3))
    got = precondition(spectrum, x.rot90(1, (2, 3)), a)[1](out.rot90(1, (2, 3)))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)
    with pytest.raises(ArgumentError, match="each as long as its spread"):
        Spectrum.of(spectrum.to_dict() | {"spread": [1.0]})
