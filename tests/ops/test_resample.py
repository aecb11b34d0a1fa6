from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aliasfree.errors import AliasfreeError, ArgumentError, BackendError, ConfigError, ShapeError
from aliasfree.filters import FILTER_NAMES, PAPER_FILTER_NAMES, FilterSpec
from aliasfree.ops import (
    downsample2d,
    downsample2d_reference,
    filtered_activation2d,
    filtered_activation2d_reference,
    plain,
    upsample2d,
    upsample2d_reference,
)
from aliasfree.ops.padding import PADDINGS

OURS = ("hq", "radial", "ideal")
ODD = FilterSpec(taps=13, kaiser_beta=3.0)
SPECS = {**FILTER_NAMES, "odd": ODD, "odd, no gain": FilterSpec(taps=5, kaiser_beta=1.0, gain="none")}


def plane(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def smooth(n: int, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A periodic band-limited image of period n sampled at rows y and columns x."""
    y, x = y[:, None] * 2 * torch.pi / n, x[None, :] * 2 * torch.pi / n
    return (0.3 + torch.sin(y + 0.2) * torch.cos(2 * x - 1) + 0.5 * torch.cos(2 * y + x))[None, None]


@pytest.mark.parametrize(("case", "taps"), [("k3", 3), ("k5", 5), ("k6", 6)])
def test_resampling_is_the_published_one(golden, case, taps):
    g = golden("resample")
    spec = FilterSpec("jinc", taps, 0.5, 2.0, gain="none")
    x = g[f"{case}.x"]
    for y, key in (
        (upsample2d(x, spec), "up"),
        (downsample2d(x, spec), "down"),
        (filtered_activation2d(x, "gelu", spec), "up_gelu_down"),
    ):
        assert (y - g[f"{case}.{key}"]).abs().max() < 1e-6


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5), (24, 12)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_every_path_equals_the_literal_algorithm(monkeypatch, name, padding, size, factor):
    spec = SPECS[name] if name in PAPER_FILTER_NAMES else SPECS[name].at_rate(factor)
    x = plane(2, 2, *size)
    for op, reference in ((upsample2d, upsample2d_reference), (downsample2d, downsample2d_reference)):
        if spec.kind == "ideal" and op is downsample2d and any(s % factor for s in size):
            with pytest.raises(ShapeError, match="divisible by"):
                op(x, spec, factor, padding)
            continue
        expected = reference(x, spec, factor, padding)
        for limit in (128, 0):
            monkeypatch.setattr(plain, "MATRIX_LIMIT", limit)
            y = op(x, spec, factor, padding, backend="torch")
            assert y.shape == expected.shape
            assert (y - expected).abs().max() < 1e-12


@pytest.mark.parametrize("name", OURS)
def test_a_constant_stays_a_constant(name):
    ones = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    assert (upsample2d(ones, name, padding="circular") - 1).abs().max() < 1e-12
    assert (downsample2d(ones, name, padding="circular") - 1).abs().max() < 1e-12


def test_the_papers_upsampling_turns_a_constant_into_a_quarter_and_a_checkerboard():
    up = upsample2d(torch.ones(1, 1, 8, 8, dtype=torch.float64), "2N", padding="circular")
    assert up.mean().item() == pytest.approx(0.25, abs=1e-12)
    assert up[0, 0, :2, :2].flatten().tolist() == pytest.approx([0.377, 0.239, 0.239, 0.145], abs=5e-4)


@pytest.mark.parametrize("name", [*OURS, "odd", "odd, no gain", "2N"])
@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("factor", [2, 4])
def test_downsampling_is_the_adjoint_of_upsampling(name, padding, factor):
    spec = SPECS[name].at_rate(factor) if name in OURS or (factor == 4 and name == "odd") else SPECS[name]
    x, y = plane(1, 1, 8, 6), plane(1, 1, 8 * factor, 6 * factor)
    gain = factor**2 if spec.gain == "unity" else 1
    left = (upsample2d(x, spec, factor, padding) * y).sum()
    right = (x * downsample2d(y, spec, factor, padding)).sum() * gain
    assert left.item() == pytest.approx(right.item(), rel=1e-10)


@pytest.mark.parametrize(("name", "tolerance"), [("ideal", 1e-12), ("hq", 0.03), ("radial", 0.03)])
def test_upsampling_interpolates_between_pixel_centres(name, tolerance):
    n = 16
    grid = torch.arange(n, dtype=torch.float64)
    fine = (torch.arange(2 * n, dtype=torch.float64) + 0.5) / 2 - 0.5
    up = upsample2d(smooth(n, grid, grid), name, padding="circular")
    assert (up - smooth(n, fine, fine)).abs().max() < tolerance
    coarse = (torch.arange(n // 2, dtype=torch.float64) + 0.5) * 2 - 0.5
    down = downsample2d(smooth(n, grid, grid), name, padding="circular")
    assert (down - smooth(n, coarse, coarse)).abs().max() < tolerance


@pytest.mark.parametrize("name", OURS)
def test_our_filters_commute_with_quarter_turns_and_the_papers_do_not(name):
    x = plane(1, 1, 8, 8)
    for op in (upsample2d, downsample2d):
        assert (op(x.rot90(1, (2, 3)), name) - op(x, name).rot90(1, (2, 3))).abs().max() < 1e-12
        assert (op(x.rot90(1, (2, 3)), "2N") - op(x, "2N").rot90(1, (2, 3))).abs().max() > 1e-2


@pytest.mark.parametrize("name", OURS)
def test_resampling_commutes_with_circular_shifts(name):
    x = plane(1, 1, 8, 8)
    up = upsample2d(x.roll((1, 3), (2, 3)), name, padding="circular")
    assert (up - upsample2d(x, name, padding="circular").roll((2, 6), (2, 3))).abs().max() < 1e-12
    down = downsample2d(x.roll((2, 4), (2, 3)), name, padding="circular")
    assert (down - downsample2d(x, name, padding="circular").roll((1, 2), (2, 3))).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["2N", "hq", "ideal"])
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu", torch.tanh])
def test_the_filtered_activation_equals_its_reference(name, activation):
    x = plane(2, 3, 6, 8)
    y = filtered_activation2d(x, activation, name)
    assert y.shape == x.shape
    assert (y - filtered_activation2d_reference(x, activation, name)).abs().max() < 1e-12


def test_a_filtered_activation_aliases_less_than_a_plain_one():
    n = 32
    grid = torch.arange(n, dtype=torch.float64)
    image = (2 * torch.sin(2 * torch.pi * 6 * grid / n + 0.3))[None, :] * torch.ones(n, 1, dtype=torch.float64)
    shifted = (2 * torch.sin(2 * torch.pi * 6 * (grid + 0.5) / n + 0.3))[None, :] * torch.ones(
        n, 1, dtype=torch.float64
    )

    def error(function):
        """How far function(shifted) is from the shifted function: half a pixel, by the Fourier theorem."""
        k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        k[n // 2] = 0
        turned = torch.fft.ifft(torch.fft.fft(function(image[None, None])) * torch.exp(1j * torch.pi * k / n)).real
        return (function(shifted[None, None]) - turned).square().mean().sqrt()

    def filtered(x):
        return filtered_activation2d(x, "relu", "hq", padding="circular")

    assert error(filtered) < 0.2 * error(F.relu)


@pytest.mark.parametrize("name", ["2N", "hq", "ideal"])
def test_gradients_are_right(name):
    x = plane(1, 2, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: filtered_activation2d(x, "gelu", name), x)
    assert torch.autograd.gradgradcheck(lambda x: filtered_activation2d(x, "gelu", name), x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_dtype_and_memory_format_are_those_of_the_input(dtype, tolerance):
    x = plane(2, 3, 8, 6)
    expected = filtered_activation2d(x, "gelu", "hq")
    for memory in (torch.contiguous_format, torch.channels_last):
        y = filtered_activation2d(x.to(dtype).contiguous(memory_format=memory), "gelu", "hq")
        assert y.dtype == dtype
        assert y.is_contiguous(memory_format=memory)
        assert (y.double() - expected).abs().max() < tolerance * 2


def test_images_do_not_see_each_other_and_empty_batches_pass():
    x = plane(3, 2, 8, 8)
    torch.testing.assert_close(upsample2d(x, "hq")[1:2], upsample2d(x[1:2], "hq"), rtol=0, atol=1e-12)
    assert upsample2d(x[:0], "hq").shape == (0, 2, 16, 16)


def test_constants_made_without_gradients_serve_training_later():
    x = torch.randn(1, 1, 40, 40)
    with torch.inference_mode():
        filtered_activation2d(x, "gelu", "hq")
    x.requires_grad_()
    filtered_activation2d(x, "gelu", "hq").sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: upsample2d(x[0], "hq"), ShapeError, r"\(N, C, H, W\)"),
        (lambda x: upsample2d(x.to(torch.uint8), "hq"), ShapeError, "floating-point"),
        (lambda x: upsample2d(x, "hq", factor=1), ArgumentError, ">= 2"),
        (lambda x: upsample2d(x, "hq", padding="zero"), ArgumentError, "did you mean 'zeros'"),
        (lambda x: upsample2d(x, "hq", backend="cuda"), BackendError, "unknown backend"),
        (lambda x: upsample2d(x, "lanczos"), ConfigError, "unknown filter"),
        (lambda x: filtered_activation2d(x, "gelo", "hq"), ConfigError, "did you mean 'gelu'"),
    ],
)
def test_bad_arguments_name_the_cure(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.zeros(1, 1, 8, 8))
    assert issubclass(error, AliasfreeError)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("cutoff", [0.5, 0.499, 0.3])
def test_large_planes_are_filtered_by_transforms_as_by_matrices(cutoff, factor, monkeypatch):
    spec = FilterSpec("ideal", cutoff=cutoff).at_rate(factor)
    for shape in ((2, 3, 6, 7), (1, 2, 10, 4)):
        for up in (True, False):
            x = torch.randn(*shape[:2], *(n if up else n * factor for n in shape[2:]), dtype=torch.float64)
            y = plain.resample(x, spec, factor, "circular", up=up)
            grad = torch.randn_like(y)
            back = plain.adjoint(grad, spec, factor, "circular", x.shape[2:], up=up)
            with monkeypatch.context() as m:
                m.setattr(plain, "MATRIX_LIMIT", 1)
                leaf = x.clone().requires_grad_()
                z = plain.resample(leaf, spec, factor, "circular", up=up)
                assert (z - y).abs().max() < 1e-12
                assert (torch.autograd.grad(z, leaf, grad)[0] - back).abs().max() < 1e-12
                assert (plain.adjoint(grad, spec, factor, "circular", x.shape[2:], up=up) - back).abs().max() < 1e-12
                assert plain.resample(x.to(torch.bfloat16), spec, factor, "circular", up=up).dtype == torch.bfloat16


def test_a_large_plane_of_a_size_that_does_not_divide_is_refused():
    with pytest.raises(ShapeError, match="divisible by 2, not 301"):
        downsample2d(torch.zeros(1, 1, 301, 300), FilterSpec("ideal"), padding="circular", backend="torch")
