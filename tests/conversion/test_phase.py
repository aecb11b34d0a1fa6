"""Samples stay where the stock model has them, and equivariance to shifts grows."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import Tensor, nn

from aliasfree import convert, revert, translate2d
from aliasfree.conversion.plane_filters import on_pixel
from aliasfree.evaluation.equivariance import eq_t
from aliasfree.filters import FilterSpec


def pass_band(x: Tensor, top: int) -> Tensor:
    """x without the constant and without frequencies above `top` cycles a side."""
    k = torch.fft.fftfreq(x.shape[-1], 1 / x.shape[-1]).abs()
    keep = (k[:, None] <= top) & (k <= top)
    keep[0, 0] = False
    return torch.fft.ifft2(torch.fft.fft2(x) * keep).real


def smooth(n: int, channels: int, top: int) -> Tensor:
    x = pass_band(torch.randn(2, channels, n, n, dtype=torch.float64), top)
    return x / x.std()


def error(ours: Tensor, stock: Tensor, top: int) -> float:
    """Relative error within the band of the input. What nearest-neighbour upsampling and aliasing put elsewhere is what
    conversion removes."""
    return float(pass_band(ours - stock, top).norm() / pass_band(stock, top).norm())


PARTS = {
    "strided convolution 3x3": lambda: Downsample2D(2, use_conv=True),
    "strided convolution 3x3, padding=0": lambda: Downsample2D(2, use_conv=True, padding=0),
    "average pool": lambda: Downsample2D(2, use_conv=False),
    "FIR": lambda: FirDownsample2D(2),
    "k-upscaler's FIR": lambda: KDownsample2D(),
    "convolution 4x4": lambda: nn.Conv2d(2, 2, 4, stride=2, padding=1),
    "convolution 5x5 by 3": lambda: nn.Conv2d(2, 2, 5, stride=3, padding=2),
    "pool by 4": lambda: nn.AvgPool2d(4),
    "nearest": lambda: Upsample2D(2),
    "FIR up": lambda: FirUpsample2D(2),
    "k-upscaler's FIR up": lambda: KUpsample2D(),
    "bilinear by 4": lambda: nn.Upsample(scale_factor=4, mode="bilinear"),
}


# the periodic filter needs even planes, and a 4x4 convolution makes an odd one
CASES = [(p, c) for p in PARTS for c in ("B-hq", "B-radial", "B-ideal") if (p, c) != ("convolution 4x4", "B-ideal")]


@pytest.mark.parametrize(("name", "config"), CASES)
def test_every_part_keeps_its_phase(name, config):
    part = nn.Sequential(PARTS[name]()).double()
    x = smooth(48, 2, 2)
    with torch.no_grad():
        stock = part(x)
        ours = convert(part, config)(x)
    middle = slice(stock.shape[-1] // 4, -(stock.shape[-1] // 4))  # stock borders see zeros, ours what lies beyond
    a, b = ours[..., middle, middle], stock[..., middle, middle]

    def off(moved: Tensor) -> float:
        return float((moved - b).norm() / b.norm())

    up = stock.shape[-1] > x.shape[-1]
    limit = 0.1 if up else 0.02  # images of the stock interpolation remain in b
    assert off(a) < limit
    # half a sample aside would be seen
    for aside in (-0.5, 0.5):
        assert off(translate2d(ours, aside, aside)[..., middle, middle]) > max(1.4 * off(a), 0.02)


def autoencoder_half(which: str):
    def run(model: nn.Module, x: Tensor) -> Tensor:
        return model.encode(x).latent_dist.mode() if which == "encoder" else model.decode(x).sample

    return run


def residuals(model: nn.Module, x: Tensor) -> Tensor:
    g = torch.Generator().manual_seed(0)
    text = torch.randn(1, 5, 8, generator=g, dtype=torch.float64)
    condition = torch.nn.functional.interpolate(x[:, :3], scale_factor=2, mode="bicubic")
    return model(x, 7, text, condition, return_dict=False)[0][0]


def conditioned(model: nn.Module, x: Tensor) -> Tensor:
    return model(x, 7, torch.ones(1, 5, 8, dtype=torch.float64)).sample


WHOLE = {
    "UNet2DModel": (3, lambda model, x: model(x, 7).sample),
    "UNet2DModel, pooling": (3, lambda model, x: model(x, 7).sample),
    "UNet2DConditionModel": (4, conditioned),
    "AutoencoderKL, encoder": (3, autoencoder_half("encoder")),
    "AutoencoderKL, decoder": (4, autoencoder_half("decoder")),
    "ControlNetModel": (4, residuals),
}


@pytest.mark.parametrize("name", WHOLE)
def test_config_b_agrees_with_the_stock_model_on_smooth_input(make, name):
    channels, run = WHOLE[name]
    model = make(name.removesuffix(", encoder").removesuffix(", decoder"))
    x = smooth(64, channels, 1)[:1]
    stock = run(convert(model, "A", padding_mode="circular"), x)
    ours = run(convert(revert(model), "B-hq", padding_mode="circular"), x)
    assert 0 < error(ours, stock, 1) < 1e-2
    assert error(translate2d(ours, 0.5, 0.5), stock, 1) > 1e-2


def test_the_kernel_that_sits_on_a_sample_is_of_the_same_quality():
    even = FilterSpec.named("hq")
    odd = on_pixel(even)
    assert odd.taps == 13
    assert odd.stopband_attenuation_db < -46
    assert abs(odd.response(5)[1][1] - 1) < 0.005
    assert on_pixel(odd) is odd
    assert on_pixel(FilterSpec.named("2N")) == FilterSpec.named("2N")


def test_equivariance_to_shifts_grows_by_more_than_ten_decibels(make):
    model: UNet2DModel = make("UNet2DModel")
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)

    def measure(config: str, fractional: bool) -> float:
        convert(model, config, padding_mode="circular")
        db = eq_t(lambda v: model(v, 7).sample, x, fractional, periodic=True, repeats=2)
        revert(model)
        return db

    for fractional in (False, True):
        before, after = measure("A", fractional), measure("D-hq", fractional)
        assert after > before + 10, (before, after)
