"""The Triton kernels on a GPU, or on the CPU under Triton's interpreter (see tests/conftest.py)."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from aliasfree.filters import BELOW_NYQUIST, FilterSpec
from aliasfree.ops import (
    downsample2d_reference,
    filtered_activation2d_reference,
    upsample2d_reference,
)
from aliasfree.ops.backends.gpu.backend import ROOM, TritonBackend
from aliasfree.ops.backends.gpu.plan import activation_chain, bands, plan, resampling_chain
from aliasfree.ops.backends.gpu.tables import axis_band, longest, tiling
from aliasfree.ops.dispatch import Call

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
        reason="no GPU, and TRITON_INTERPRET=1 is not set",
    ),
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),  # the interpreter's, at infinities
]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
PADDINGS = ("zeros", "circular", "reflect")
ACTIVATIONS = ("gelu", "silu", "relu", "identity")
ODD = FilterSpec(taps=13, kaiser_beta=3.0)
SPECS = {name: FilterSpec.named(name) for name in ("hq", "2N", "0", "radial")} | {"odd": ODD}
backend = TritonBackend()


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def close(y: Tensor, expected: Tensor) -> bool:
    assert y.shape == expected.shape
    error = (y.double() - expected).abs().max() / expected.abs().max()
    return bool(error < TOLERANCE[y.dtype])


def gradient(reference, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(output, gradient of the output, gradient of the input) in float64; the second is exact in x's dtype."""
    exact = x.double().requires_grad_()
    y = reference(exact)
    g = random(*y.shape, dtype=x.dtype, seed=1)
    (dx,) = torch.autograd.grad(y, exact, g.double())
    return y.detach(), g, dx


def check_resampling(x: Tensor, spec: FilterSpec, factor: int, padding: str) -> None:
    for forward, backward, reference in (
        (backend.upsample2d, backend.upsample2d_backward, upsample2d_reference),
        (backend.downsample2d, backend.downsample2d_backward, downsample2d_reference),
    ):
        y, g, dx = gradient(lambda v, f=reference: f(v, spec, factor, padding), x)
        assert close(forward(x, spec, factor, padding), y)
        assert close(backward(g, spec, factor, padding, x.shape[2:]), dx)


def check_activation(
    x: Tensor, spec: FilterSpec, factor: int, padding: str, name: str = "gelu", down: FilterSpec | None = None
) -> None:
    down = down or spec
    y, g, dx = gradient(lambda v: filtered_activation2d_reference(v, name, spec, down, factor, padding), x)
    assert close(backend.filtered_activation2d(x, name, spec, down, factor, padding), y)
    assert close(backend.filtered_activation2d_backward(g, x, name, spec, down, factor, padding), dx)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", SPECS)
def test_all_ops_and_their_backward_equal_the_literal_algorithm(name, padding, dtype):
    x = random(2, 3, 8, 6, dtype=dtype)
    check_resampling(x, SPECS[name], 2, padding)
    check_activation(x, SPECS[name], 2, padding)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["hq", "2N", "odd"])
def test_rate_4_equals_the_literal_algorithm(name, dtype):
    spec = SPECS[name].at_rate(4)
    x = random(1, 2, 7, 5, dtype=dtype)
    check_resampling(x, spec, 4, "reflect")
    check_activation(x, spec, 4, "circular")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("factor", "shape"), [(2, (2, 3, 8, 6)), (4, (1, 2, 7, 5)), (2, (1, 1, 1, 9))])
def test_the_brick_wall_equals_the_literal_algorithm(factor, shape, dtype):
    x = random(*shape, dtype=dtype)
    high = random(*shape[:2], shape[2] * factor, shape[3] * factor, dtype=dtype)
    spec = BELOW_NYQUIST.at_rate(factor)
    check_activation(x, spec, factor, "circular")
    for given, forward, backward, reference in (
        (x, backend.upsample2d, backend.upsample2d_backward, upsample2d_reference),
        (high, backend.downsample2d, backend.downsample2d_backward, downsample2d_reference),
    ):
        y, g, dx = gradient(lambda v, f=reference: f(v, spec, factor, "circular"), given)
        assert close(forward(given, spec, factor, "circular"), y)
        assert close(backward(g, spec, factor, "circular", given.shape[2:]), dx)


def test_the_brick_wall_passes_a_large_plane_through_the_higher_rate_in_strips():
    check_activation(random(1, 1, 64, 64), BELOW_NYQUIST, 2, "circular")
    check_activation(random(1, 1, 32, 64), BELOW_NYQUIST.at_rate(4), 4, "circular")


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_activation_and_its_derivative(name, dtype):
    check_activation(random(1, 2, 6, 9, dtype=dtype) * 3, SPECS["hq"], 2, "zeros", name)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 7), (3, 1, 5, 1), (1, 5, 9, 3), (2, 1, 13, 11)])
@pytest.mark.parametrize("padding", PADDINGS)
def test_odd_sizes_single_planes_and_single_pixels(shape, padding):
    x = random(*shape)
    check_resampling(x, SPECS["hq"], 2, padding)
    check_activation(x, SPECS["2N"], 2, padding)


def test_two_filters():
    check_activation(random(1, 2, 8, 8), SPECS["hq"], 2, "zeros", down=ODD)
    check_activation(random(1, 2, 8, 8), SPECS["2N"], 2, "reflect", down=SPECS["radial"])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("height", "width"), [(3, 150), (150, 3)])
def test_tiles_of_a_large_plane_meet_without_a_seam(height, width, padding):
    x = random(1, 1, height, width)
    chain = activation_chain(SPECS["2N"], SPECS["2N"], 2, padding, (height, width))
    cut = plan(chain, 1, 1, ROOM)
    assert cut.tile[0] < height or cut.tile[1] < width
    check_resampling(x, SPECS["hq"], 2, padding)
    check_activation(x, SPECS["2N"], 2, padding)


def test_tiles_meet_along_both_axes():
    check_activation(random(1, 1, 67, 70, dtype=torch.bfloat16), SPECS["hq"], 2, "circular")


def test_windows_of_a_periodic_plane_wrap_around_at_rate_4():
    check_activation(random(1, 1, 9, 66, dtype=torch.bfloat16), SPECS["hq"].at_rate(4), 4, "circular")


def test_channels_last_stays_channels_last():
    x = random(2, 20, 6, 7, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    spec = SPECS["hq"]
    check_activation(x, spec, 2, "zeros")
    check_resampling(x, spec, 2, "reflect")
    for y in (
        backend.upsample2d(x, spec, 2, "zeros"),
        backend.downsample2d_backward(x, spec, 2, "zeros", (12, 13)),
        backend.filtered_activation2d(x, "gelu", spec, spec, 2, "zeros"),
        backend.filtered_activation2d_backward(x.contiguous(), x, "gelu", spec, spec, 2, "zeros"),
    ):
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x[:, ::2, 1:, ::2],
        lambda x: x.transpose(0, 1),
        lambda x: x[:1, :1].expand(2, 3, -1, -1),
    ],
    ids=["transposed", "every other", "batch and channels", "expanded"],
)
def test_any_strides_are_read_where_they_lie(view):
    x = view(random(3, 4, 8, 10))
    check_activation(x, SPECS["hq"], 2, "zeros")
    check_resampling(x, SPECS["2N"], 2, "circular")


def test_a_gradient_may_be_expanded_or_of_another_memory_format():
    x, spec = random(2, 3, 6, 8), SPECS["hq"]
    for g in (
        random(1, 1, 6, 8).expand(2, 3, -1, -1),
        random(2, 3, 6, 8).contiguous(memory_format=torch.channels_last),
    ):
        dense = backend.filtered_activation2d_backward(g.contiguous(), x, "gelu", spec, spec, 2, "zeros")
        dx = backend.filtered_activation2d_backward(g, x, "gelu", spec, spec, 2, "zeros")
        # another layout may be summed in another order
        torch.testing.assert_close(dx, dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_empty_batches_give_empty_batches(shape):
    x, spec = random(*shape), SPECS["hq"]
    assert backend.upsample2d(x, spec, 2, "zeros").shape == (*shape[:2], 16, 16)
    assert backend.downsample2d(x, spec, 2, "zeros").shape == (*shape[:2], 4, 4)
    assert backend.filtered_activation2d(x, "gelu", spec, spec, 2, "zeros").shape == shape
    assert backend.filtered_activation2d_backward(x, x, "gelu", spec, spec, 2, "zeros").shape == shape


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["hq", "2N", "radial", "odd"])
def test_a_non_finite_pixel_reaches_no_further_than_in_the_literal_algorithm(name, dtype):
    spec = SPECS[name]
    for bad in (float("nan"), float("inf")):
        x = random(1, 3, 21, 24, dtype=dtype)
        x[0, 1, 9, 11] = bad
        for y, expected in (
            (backend.upsample2d(x, spec, 2, "zeros"), upsample2d_reference(x.double(), spec, 2, "zeros")),
            (backend.downsample2d(x, spec, 2, "zeros"), downsample2d_reference(x.double(), spec, 2, "zeros")),
            (
                backend.filtered_activation2d(x, "gelu", spec, spec, 2, "zeros"),
                filtered_activation2d_reference(x.double(), "gelu", spec, spec, 2, "zeros"),
            ),
        ):
            finite = expected.isfinite()
            assert 0 < (~finite).sum() < finite.numel() / 2
            assert torch.equal(y.isfinite(), finite)
            assert close(torch.where(finite, y, 0), torch.where(finite, expected, 0))


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_infinities_keep_their_sign_through_a_filter_of_one_term(padding):
    x = random(1, 1, 16, 20)
    x[0, 0, 2, 3], x[0, 0, 11, 15], x[0, 0, 11, 19] = float("inf"), -float("inf"), float("nan")
    for op, reference in ((backend.upsample2d, upsample2d_reference), (backend.downsample2d, downsample2d_reference)):
        y, expected = op(x, SPECS["hq"], 2, padding), reference(x.double(), SPECS["hq"], 2, padding)
        for kind in (torch.isposinf, torch.isneginf, torch.isnan):
            assert torch.equal(kind(y), kind(expected))


def test_a_non_finite_gradient_reaches_no_further_than_in_the_literal_algorithm():
    x, spec = random(1, 2, 20, 24), SPECS["hq"]
    x[0, 0, 4, 4] = float("nan")
    exact = x.double().requires_grad_()
    g = random(1, 2, 20, 24, seed=1)
    g[0, 1, 13, 15] = float("inf")
    y = filtered_activation2d_reference(exact, "gelu", spec, spec, 2, "zeros")
    (expected,) = torch.autograd.grad(y, exact, g.double())
    dx = backend.filtered_activation2d_backward(g, x, "gelu", spec, spec, 2, "zeros")
    # a convolution's own backward multiplies zeros as well, so the kernel may keep more pixels finite, never fewer
    assert (dx.isfinite() | ~expected.isfinite()).all()
    assert not dx[0, 0, 4, 4].isfinite()
    assert not dx[0, 1, 13, 15].isfinite()
    both = dx.isfinite() & expected.isfinite()
    assert both.sum() > dx.numel() / 2
    assert close(torch.where(both, dx, 0), torch.where(both, expected, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e6, 1e30])
def test_very_small_and_very_large_numbers_keep_their_precision(dtype, scale):
    x = random(1, 2, 6, 8, dtype=dtype) * scale
    check_resampling(x, SPECS["hq"], 2, "zeros")
    check_activation(x, SPECS["2N"], 2, "zeros", "relu")
    g = random(1, 2, 6, 8, dtype=dtype, seed=1)
    dx = backend.filtered_activation2d_backward(g, g, "gelu", SPECS["hq"], SPECS["hq"], 2, "zeros")
    scaled = backend.filtered_activation2d_backward(g * scale, g, "gelu", SPECS["hq"], SPECS["hq"], 2, "zeros")
    assert close(scaled, dx.double() * scale)


def test_downsampling_is_the_adjoint_of_upsampling():
    x, y, spec = random(1, 2, 7, 9), random(1, 2, 14, 18, seed=1), SPECS["hq"]
    for padding in ("zeros", "circular"):
        up, down = backend.upsample2d(x, spec, 2, padding), backend.downsample2d(y, spec, 2, padding)
        assert torch.allclose((up * y).sum(), 4 * (x * down).sum(), rtol=1e-4)


def test_kernels_repeat_bit_for_bit():
    x, spec = random(2, 5, 12, 12, dtype=torch.bfloat16), SPECS["hq"]
    first = backend.filtered_activation2d(x, "gelu", spec, spec, 2, "zeros")
    assert torch.equal(backend.filtered_activation2d(x, "gelu", spec, spec, 2, "zeros"), first)


def call(**changes) -> Call:
    spec = SPECS["hq"]
    given = {
        "op": "filtered_activation2d", "shape": (2, 3, 8, 8), "dtype": torch.float32, "device": torch.device(DEVICE),
        "activation": "gelu", "up": spec, "down": spec, "factor": 2, "padding": "zeros", "channels_last": False,
    }  # fmt: skip
    return Call(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": torch.float64}, "not float64"),
        ({"device": torch.device("meta")}, "not on meta"),
        ({"activation": None}, "no activation but gelu"),
        ({"up": FilterSpec.named("ideal"), "shape": (1, 1, 65, 64)}, "65x64 pixels are too large"),
        ({"up": FilterSpec(taps=600), "down": FilterSpec(taps=600), "shape": (1, 1, 999, 999)}, "600 taps"),
    ],
)
def test_what_it_cannot_run_it_refuses_with_the_reason(changes, reason):
    assert reason in backend.refusal(call(**changes))


def test_it_accepts_what_it_can_run():
    assert backend.refusal(call()) is None
    assert backend.refusal(call(shape=(0, 3, 8, 8))) is None
    for op, up, down in (("upsample2d", SPECS["radial"], None), ("downsample2d", None, SPECS["2N"])):
        for shape in ((1, 3, 1, 1), (64, 256, 64, 64), (1, 3, 1024, 2048)):
            for dtype in TOLERANCE:
                assert backend.refusal(call(op=op, activation=None, up=up, down=down, shape=shape, dtype=dtype)) is None


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("n", [1, 5, 40, 150])
def test_a_band_and_its_tiles_are_the_matrix_of_the_axis(n, padding):
    from aliasfree.ops.plain import axis_matrices

    for up in (True, False):
        spec = SPECS["hq"]
        (matrix,) = axis_matrices(n, 0, spec, 2, padding, up, torch.float64, torch.device("cpu"))
        band = axis_band(n, 0, spec, 2, padding, up)
        for b, dense in ((band, matrix.numpy()), (band.transposed(), matrix.numpy().T)):
            t = tiling(None, (b,), tile := longest(b, 64, 32), 32)
            rebuilt = np.zeros((t.tiles * tile, b.n))
            for i in range(t.tiles):
                columns = (t.start[0][i, 0] + np.arange(t.first[0].shape[-1])) % b.n
                for k, row in enumerate(t.first[0][i, 0, 0, :tile]):
                    np.add.at(rebuilt[i * tile + k], columns, row)
            assert np.abs(rebuilt[: b.n_out] - dense).max() < 1e-9


def test_plans_exist_for_every_named_filter_and_fit_their_room():
    for spec in SPECS.values():
        for n in (1, 8, 33, 64, 300):
            for room in (ROOM, ROOM // 2):
                for chain in (
                    activation_chain(spec, spec, 2, "zeros", (n, n), backward=True),
                    resampling_chain(spec, 2, "zeros", (n, n), up=True),
                ):
                    cut = plan(chain, 64, 1, room)
                    assert cut.planes * cut.strip[0] * cut.strip[1] <= room
                    assert cut.tile[0] <= bands(chain, 0)[1][0].n_out
