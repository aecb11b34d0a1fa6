"""Rotation, translation and zoom: exactness, orthogonality, agreement with SciPy and the golden values."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.ops import spatial_tables
from aliasfree.ops.spatial import rotate2d, translate2d, zoom2d

GOLDEN = Path(__file__).parents[1] / "golden"
METHODS = ("fourier", "spline", "bicubic")


def noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def bump(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two smooth off-centre blobs that vanish at the border: (1, 1, n, n)."""
    y, x = torch.meshgrid(*[torch.arange(n, dtype=dtype) - (n - 1) / 2] * 2, indexing="ij")
    image = sum(
        a * torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (n / 16) ** 2))
        for a, cy, cx in ((1.0, -3.0, 2.0), (-0.7, 2.0, 4.0))
    )
    assert isinstance(image, Tensor)
    return image[None, None]


def db(reference: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


def fourier_matrix(degrees: float, n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The n*n x n*n matrix of the rotation, from its action on the unit images."""
    unit = torch.eye(n * n, dtype=dtype).view(n * n, 1, n, n)
    return rotate2d(unit, degrees).flatten(1).T


# ------------------------------------------------------------------------------------------------ rotation


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(9, 9), (8, 8), (16, 16)])
def test_multiples_of_90_are_rot90_bit_for_bit(method: str, size: tuple[int, int]) -> None:
    x = noise(2, 3, *size, dtype=torch.float32)
    for k in (-5, -2, -1, 0, 1, 2, 3, 4, 7):
        assert torch.equal(rotate2d(x, 90 * k, method), torch.rot90(x, k, (2, 3)))


def test_half_turns_of_non_square_images_are_exact() -> None:
    x = noise(1, 2, 6, 10)
    for method in METHODS:
        assert torch.equal(rotate2d(x, -180, method), x.flip(2, 3))


@pytest.mark.parametrize("method", METHODS)
def test_positive_degrees_turn_counter_clockwise(method: str) -> None:
    # A dot right of the centre goes up, to the upper right, at +45 degrees.
    x = torch.zeros(1, 1, 33, 33)
    x[0, 0, 16, 26] = 1
    x = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5)))
    peak = divmod(int(rotate2d(x, 45, method).argmax()), 33)
    assert peak == (16 - 7, 16 + 7)


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("degrees", [0.09, 17.0, 45.0, 100.0, -133.7])
def test_fourier_rotation_is_an_orthogonal_map_with_transpose_the_opposite_angle(n: int, degrees: float) -> None:
    q = fourier_matrix(degrees, n)
    torch.testing.assert_close(q.T @ q, torch.eye(n * n, dtype=q.dtype), atol=1e-12, rtol=0)
    torch.testing.assert_close(fourier_matrix(-degrees, n), q.T, atol=1e-12, rtol=0)


@pytest.mark.slow
def test_white_noise_turned_999_times_keeps_variance_and_spectrum() -> None:
    x, turned = noise(256, 1, 32, 32, dtype=torch.float32), []
    for y in x.split(64):  # small batches stay in the cache
        for _ in range(999):
            y = rotate2d(y, 0.09)
        turned.append(y)
    y = torch.cat(turned)
    assert float(y.double().var() / x.double().var()) == pytest.approx(1, abs=1e-6)
    f = torch.fft.fftfreq(32)
    high = torch.hypot(f[:, None], f) > 0.35

    def high_to_low(z: Tensor) -> float:
        power = torch.fft.fft2(z).abs().square().mean((0, 1))
        return float(power[high].mean() / power[~high].mean())

    assert high_to_low(y) == pytest.approx(1, abs=0.01)


def test_what_the_spline_leaves_of_white_noise_is_the_loss_that_fourier_avoids() -> None:
    x = noise(2, 1, 32, 32, dtype=torch.float32)
    y = x
    for _ in range(100):
        y = rotate2d(y, 0.9, "spline")
    assert float(y.var() / x.var()) < 0.85


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_999_small_turns_of_a_smooth_image_agree_with_one(dtype: torch.dtype) -> None:
    x = bump(64, dtype)
    y = x
    for _ in range(999):
        y = rotate2d(y, 0.09)
    assert db(rotate2d(x, 999 * 0.09), y) > 90


def test_fourier_rotation_of_a_smooth_image_is_the_true_rotation() -> None:
    n, degrees = 64, 30.0
    a = torch.tensor(degrees * torch.pi / 180, dtype=torch.float64)
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - (n - 1) / 2] * 2, indexing="ij")
    row, column = a.cos() * y + a.sin() * x, -a.sin() * y + a.cos() * x

    def blob(r: Tensor, c: Tensor) -> Tensor:
        return torch.exp(-((r + 6) ** 2 + (c - 3) ** 2 / 2) / 18)[None, None]

    assert db(blob(row, column), rotate2d(blob(y, x), degrees)) > 80


@pytest.mark.parametrize("size", [(16, 16), (9, 9), (8, 12), (7, 10)])
@pytest.mark.parametrize("degrees", [0.09, 5.0, 45.0, -77.3, 170.0])
def test_spline_rotation_is_scipys(size: tuple[int, int], degrees: float) -> None:
    x = noise(2, 2, *size)
    expected = ndimage.rotate(x.numpy(), degrees, axes=(2, 3), order=3, mode="grid-wrap", reshape=False)
    torch.testing.assert_close(rotate2d(x, degrees, "spline"), torch.from_numpy(expected), atol=1e-11, rtol=0)


@pytest.mark.parametrize(("name", "degrees"), [("0p09", 0.09), ("5", 5.0), ("45", 45.0), ("90", 90.0)])
def test_spline_rotation_reproduces_the_papers_code(name: str, degrees: float) -> None:
    golden = load_file(GOLDEN / "rotate.safetensors")
    y = rotate2d(golden["r.x"].double(), degrees, "spline")
    torch.testing.assert_close(y, golden[f"r.deg_{name}_f64"], atol=1e-10, rtol=0)
    y32 = rotate2d(golden["r.x"].float(), degrees, "spline")
    torch.testing.assert_close(y32, golden[f"r.deg_{name}"].float(), atol=5e-6, rtol=0)


def test_rotation_mask_is_the_inscribed_disc() -> None:
    _, mask = rotate2d(noise(2, 1, 9, 13), 30, "spline", return_mask=True)
    assert mask.shape == (1, 1, 9, 13)
    assert mask.dtype == torch.bool
    assert mask[0, 0, 4].tolist() == [False] * 2 + [True] * 9 + [False] * 2
    assert mask[0, 0, :, 6].all()
    assert not mask[0, 0, 0, 5]


def test_rotation_inside_the_mask_does_not_depend_on_the_world_outside() -> None:
    inner = torch.nn.functional.pad(noise(1, 1, 1, 1) + 1, (7, 7, 7, 7))
    outside = inner.clone()
    _, mask = rotate2d(inner, 0.0, return_mask=True)
    outside[0, 0, 0, 0] = 100.0
    change = (rotate2d(outside, 45, "bicubic") - rotate2d(inner, 45, "bicubic")).abs()
    assert float(change[mask].max()) < 1e-9


def test_non_square_images_name_the_cure_beyond_45_degrees() -> None:
    x = noise(1, 1, 8, 12)
    assert rotate2d(x, 200).shape == x.shape
    with pytest.raises(ShapeError, match="method='spline'"):
        rotate2d(x, 60)


# --------------------------------------------------------------------------------------------- translation


def test_whole_pixel_shifts_are_rolls_bit_for_bit() -> None:
    x = noise(2, 2, 7, 8, dtype=torch.float32)
    assert torch.equal(translate2d(x, 3, -2), x.roll((3, -2), (2, 3)))


@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
def test_fractional_shifts_are_orthogonal_and_undone_by_the_opposite(size: tuple[int, int]) -> None:
    x = noise(2, 2, *size)
    y = translate2d(x, 0.3, -1.6)
    assert float(y.norm() / x.norm()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(translate2d(y, -0.3, 1.6), x, atol=1e-12, rtol=0)


def test_shifts_of_a_band_limited_image_add_up() -> None:
    k = torch.fft.fft2(noise(1, 1, 16, 16))
    f = torch.fft.fftfreq(16)
    x = torch.fft.ifft2(k * (f.abs()[:, None] < 0.45) * (f.abs() < 0.45)).real
    y = x
    for _ in range(8):
        y = translate2d(y, 0.25, 0.125)
    torch.testing.assert_close(y, x.roll((2, 1), (2, 3)), atol=1e-12, rtol=0)


def test_spline_shift_is_scipys() -> None:
    x = noise(1, 2, 9, 8)
    expected = ndimage.shift(x.numpy(), (0, 0, 1.3, -0.4), order=3, mode="grid-wrap")
    torch.testing.assert_close(translate2d(x, 1.3, -0.4, "spline"), torch.from_numpy(expected), atol=1e-11, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_translation_mask_is_what_was_read_from_inside(method: str) -> None:
    x = noise(1, 1, 8, 8)
    y, mask = translate2d(x, 2, -1, method, return_mask=True)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:, :7] = True
    assert torch.equal(mask[0, 0], expected)
    torch.testing.assert_close(y[0, 0, 2:, :7], x[0, 0, :6, 1:], atol=1e-12, rtol=0)


# ---------------------------------------------------------------------------------------------------- zoom


@pytest.mark.parametrize("method", METHODS)
def test_zoom_magnifies_about_the_centre(method: str) -> None:
    n = 33
    y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - (n - 1) / 2] * 2, indexing="ij")

    def blob(scale: float) -> Tensor:
        return torch.exp(-((y / scale - 3) ** 2 + (x / scale + 2) ** 2) / 8)[None, None]

    assert db(blob(1.5), zoom2d(blob(1.0), 1.5, method)) > (60 if method == "fourier" else 30)
    assert db(blob(0.8), zoom2d(blob(1.0), 0.8, method)) > (60 if method == "fourier" else 25)


def test_zoom_by_one_changes_nothing_and_out_and_in_again_gives_a_smooth_image_back() -> None:
    x = bump(64)
    assert torch.equal(zoom2d(x, 1.0), x)
    assert db(x, zoom2d(zoom2d(x, 1.25), 0.8)) > 60


def test_zoomed_noise_has_the_variance_the_docstring_says() -> None:
    x = noise(16, 1, 31, 31)
    assert float(zoom2d(x, 1.6).var()) == pytest.approx(1.0, abs=0.08)
    assert float(zoom2d(x, 0.5).var()) == pytest.approx(0.25, abs=0.04)


def test_shrinking_drops_what_the_new_grid_cannot_hold() -> None:
    i = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * 12 / 32 * i).expand(1, 1, 32, 32)
    assert float(zoom2d(wave, 0.5).abs().max()) < 1e-12  # 12/32 would become 24/32, beyond Nyquist
    assert float(zoom2d(wave, 0.5, "spline").abs().max()) > 0.1


def test_zoom_mask_is_the_picture_without_its_periodic_copies() -> None:
    _, mask = zoom2d(noise(1, 1, 9, 9), 0.5, return_mask=True)
    assert mask[0, 0, 4].tolist() == [False, False, True, True, True, True, True, False, False]
    _, mask = zoom2d(noise(1, 1, 9, 9), 2.0, return_mask=True)
    assert mask.all()


# ------------------------------------------------------------------------------------------ what all share

CALLS = {
    "rotate": lambda x, a, m, **k: rotate2d(x, a * 70, m, **k),
    "translate": lambda x, a, m, **k: translate2d(x, a * 1.3, a * -0.4, m, **k),
    "zoom": lambda x, a, m, **k: zoom2d(x, a * 0.3 + 0.8, m, **k),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CALLS)
def test_an_amount_for_each_sample_equals_one_by_one(name: str, method: str) -> None:
    x, amounts = noise(4, 2, 8, 8), torch.tensor([0.0, 1.0, -1.5, 2.2], dtype=torch.float64)
    together, masks = CALLS[name](x, amounts, method, return_mask=True)
    assert masks.shape[0] in (1, 4)
    for i, a in enumerate(amounts.tolist()):
        alone, mask = CALLS[name](x[i : i + 1], a, method, return_mask=True)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-12, rtol=0)
        assert torch.equal(masks[min(i, len(masks) - 1)], mask[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_right(name: str, method: str) -> None:
    x = noise(2, 1, 5, 6 if name != "rotate" or method != "fourier" else 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: CALLS[name](z, 0.37, method), (x,))
    assert torch.autograd.gradcheck(lambda z: CALLS[name](z, torch.tensor([0.37, -1.5]), method), (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CALLS)
def test_half_types_are_worked_on_in_float32(name: str, method: str, dtype: torch.dtype) -> None:
    x = noise(2, 1, 6, 6).to(dtype)
    y = CALLS[name](x, 0.3, method)
    assert y.dtype == dtype
    assert torch.equal(y, CALLS[name](x.float(), 0.3, method).to(dtype))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CALLS)
def test_tables_first_built_under_inference_mode_serve_training_later(name: str, method: str) -> None:
    size = {"rotate": 11, "translate": 13, "zoom": 15}[name]
    with torch.inference_mode():
        CALLS[name](noise(1, 1, size, size), 0.61, method, return_mask=True)
    x = noise(1, 1, size, size).requires_grad_()
    CALLS[name](x, 0.61, method).square().sum().backward()
    assert x.grad is not None


def test_equal_steps_share_one_table_and_the_caches_are_bounded() -> None:
    x = noise(1, 1, 10, 10)
    cache = spatial_tables.shears.__closure__
    assert cache is not None
    info = next(c.cell_contents.cache_info for c in cache if hasattr(c.cell_contents, "cache_info"))
    shares = np.linspace(0, 1, 51)
    before = info().misses
    for a, b in itertools.pairwise(shares):
        rotate2d(x, 77.7 * (b - a))
    assert info().misses - before == 1
    for degrees in range(1, 44):
        rotate2d(x, degrees)
    assert info().currsize <= spatial_tables.CACHED


def test_results_do_not_depend_on_memory_format() -> None:
    x = noise(2, 3, 8, 8)
    y = x.to(memory_format=torch.channels_last)
    for name, method in ((n, m) for n in CALLS for m in METHODS):
        torch.testing.assert_close(CALLS[name](y, 0.4, method), CALLS[name](x, 0.4, method), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: rotate2d(x, float("nan")), ArgumentError, "degrees must be finite"),
        (lambda x: rotate2d(x, [1.0, 2.0, 3.0]), ShapeError, "each of the 2 samples"),
        (lambda x: rotate2d(x[0], 5), ShapeError, r"\(N, C, H, W\)"),
        (lambda x: rotate2d(x.int(), 5), ArgumentError, r"x\.float\(\)"),
        (lambda x: rotate2d(x, 5, "splines"), ArgumentError, "did you mean 'spline'"),
        (lambda x: translate2d(x, 0, float("inf")), ArgumentError, "dx must be finite"),
        (lambda x: zoom2d(x, 0.0), ArgumentError, "above 0"),
    ],
)
def test_bad_arguments_get_a_sentence_that_names_the_cure(call: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(noise(2, 1, 6, 6))  # type: ignore[operator]
