"""The brick wall's dense kernels on the CPU against the literal algorithm in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aliasfree.errors import BackendError, ShapeError
from aliasfree.filters import FilterSpec
from aliasfree.ops import (
    downsample2d,
    downsample2d_reference,
    explain,
    filtered_activation2d,
    filtered_activation2d_reference,
    translate2d,
    upsample2d,
    upsample2d_reference,
)
from aliasfree.ops.backends.cpu.ideal.plan import LONGEST, WHOLE, plan
from aliasfree.ops.backends.cpu.ideal.tables import blocks, dense_gather, dense_spread, folding
from aliasfree.ops.backends.cpu.plan import Shape
from aliasfree.ops.backends.cpu.simd.layout import ACTIVATION
from aliasfree.ops.plain import axis_matrices

BELOW = FilterSpec("ideal", cutoff=0.499)
"""Config T's: nothing at the Nyquist frequency of the lower rate."""
# odd and even halves, odd, non-square, one pixel, one row, more planes than lanes, fewer pixels than lanes, the longest
SHAPES = [(1, 1, 4, 6), (3, 7, 5, 5), (1, 17, 16, 20), (2, 9, 2, 2), (1, 2, 33, 18), (1, 16, 1, 9), (2, 3, 1, 1)]
CPU = torch.device("cpu")


def error(y: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest error, relative to the largest value."""
    assert y.shape == expected.shape
    return float((y.detach().double() - expected.detach()).abs().max() / expected.detach().abs().max().clamp_min(1e-9))


def with_gradient(op, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = op(x)
    return y.detach(), torch.autograd.grad(y, x, grad)[0]


@pytest.mark.parametrize("spec", [FilterSpec.named("ideal"), BELOW, FilterSpec("ideal", cutoff=0.3)], ids=str)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_kernels_equal_the_literal_algorithm(spec, factor):
    spec = spec.at_rate(factor)
    for i, shape in enumerate(SHAPES):
        memory_format = torch.channels_last if i % 2 else torch.contiguous_format
        high = (*shape[:2], shape[2] * factor, shape[3] * factor)
        for op, reference, given, out in (
            (upsample2d, upsample2d_reference, shape, high),
            (downsample2d, downsample2d_reference, high, shape),
            (
                lambda x, *a, **k: filtered_activation2d(x, "gelu", a[0], None, *a[1:], **k),
                lambda x, *a: filtered_activation2d_reference(x, "gelu", a[0], None, *a[1:]),
                shape,
                shape,
            ),
        ):
            x, grad = 3 * torch.randn(given).contiguous(memory_format=memory_format), torch.randn(out)
            y, dx = with_gradient(lambda x, op=op: op(x, spec, factor, "circular", backend="numba"), x, grad)
            expected, gradient = with_gradient(
                lambda x, reference=reference: reference(x, spec, factor, "circular"), x.double(), grad.double()
            )
            assert error(y, expected) < 2e-6
            assert error(dx, gradient) < 2e-6
            assert y.is_contiguous(memory_format=memory_format) or 1 in (y.shape[1], y.shape[2] * y.shape[3])


def test_the_longest_plane_is_served_in_both_directions():
    x, grad = torch.randn(1, 2, LONGEST, LONGEST), torch.randn(1, 2, 2 * LONGEST, 2 * LONGEST)
    y, dx = with_gradient(lambda x: upsample2d(x, BELOW, backend="numba"), x, grad)
    expected, gradient = with_gradient(lambda x: upsample2d_reference(x, BELOW), x.double(), grad.double())
    assert error(y, expected) < 1e-6
    assert error(dx, gradient) < 1e-6
    y, dx = with_gradient(lambda x: downsample2d(x, BELOW, backend="numba"), grad, x)
    expected, gradient = with_gradient(lambda x: downsample2d_reference(x, BELOW), grad.double(), x.double())
    assert error(y, expected) < 1e-6
    assert error(dx, gradient) < 1e-6


@pytest.mark.parametrize("activation", ["gelu", "silu", "relu", "identity"])
@pytest.mark.parametrize("size", [(12, 10), (7, 9)])
def test_every_activation_is_exact(activation, size):
    function = {"gelu": F.gelu, "silu": F.silu, "relu": F.relu, "identity": lambda x: x}[activation]
    x, grad = 5 * torch.randn(2, 9, *size), torch.randn(2, 9, *size)
    y, dx = with_gradient(lambda x: filtered_activation2d(x, activation, BELOW, backend="numba"), x, grad)
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, function, BELOW), x.double(), grad.double()
    )
    assert error(y, expected) < 2e-6
    assert error(dx, gradient) < 2e-6


def test_two_different_walls_may_meet_in_one_activation():
    x, grad = torch.randn(2, 9, 8, 12), torch.randn(2, 9, 8, 12)
    up, down = FilterSpec.named("ideal"), FilterSpec("ideal", cutoff=0.3)
    y, dx = with_gradient(lambda x: filtered_activation2d(x, "gelu", up, down, backend="numba"), x, grad)
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, "gelu", up, down), x.double(), grad.double()
    )
    assert error(y, expected) < 2e-6
    assert error(dx, gradient) < 2e-6


@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_is_storage_only(channels_last):
    x, grad = torch.randn(2, 16, 12, 12), torch.randn(2, 16, 12, 12)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    y, dx = with_gradient(
        lambda x: filtered_activation2d(x, "gelu", BELOW, backend="numba"), x.bfloat16(), grad.bfloat16()
    )
    assert y.dtype == dx.dtype == torch.bfloat16
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, "gelu", BELOW), x.bfloat16().double(), grad.bfloat16().double()
    )
    assert error(y, expected) < 4e-3  # half a unit in the last place
    assert error(dx, gradient) < 4e-3


@pytest.mark.parametrize("n", [1, 2, 3, 6, 8, 9, 20, 32])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_blocks_of_a_matrix_are_all_of_it(n, factor):
    """F' blocks F gives the matrix back: nothing of it lies outside the symmetries that the kernel relies on."""
    for up, size in ((True, n), (False, factor * n)):
        (matrix,) = axis_matrices(size, 0, BELOW.at_rate(factor), factor, "circular", up, torch.float64, CPU)
        for dense in (matrix.numpy(), matrix.numpy().T):
            fourfold = n % 2 == 0
            out, into = (folding(m, fourfold) for m in dense.shape)
            parts = blocks(dense, fourfold)
            rebuilt = sum(f.T @ block @ g for f, block, g in zip(out, parts, into, strict=True))
            assert np.abs(rebuilt - dense).max() < 1e-12
            assert sum(block.size for block in parts) < dense.size / (2 if fourfold else 1) or n < 4


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (1, 4, 9, 7)])
def test_backward_is_the_adjoint(shape):
    for op, out in ((upsample2d, 2), (downsample2d, 1)):
        x = torch.randn(*shape[:2], shape[2] * 2 // out, shape[3] * 2 // out)
        grad = torch.randn(*shape[:2], shape[2] * out, shape[3] * out)
        y, dx = with_gradient(lambda x, op=op: op(x, BELOW, backend="numba"), x, grad)
        assert torch.allclose((y.double() * grad).sum(), (x.double() * dx).sum(), rtol=1e-5, atol=1e-5)


def test_down_after_up_gives_a_plane_without_nyquist_back():
    x = upsample2d(torch.randn(2, 3, 8, 8), BELOW)
    assert error(downsample2d(upsample2d(x, BELOW, backend="numba"), BELOW, backend="numba"), x.double()) < 1e-6


@pytest.mark.parametrize(("op", "rate"), [(upsample2d, 2.0), (downsample2d, 0.5)])
def test_resampling_commutes_with_shifts_by_fractions_of_a_pixel(op, rate):
    x = upsample2d(upsample2d(torch.randn(2, 3, 4, 6), BELOW), BELOW)
    moved = translate2d(x, 0.37, -1.62)
    expected = translate2d(op(x, BELOW, backend="numba"), 0.37 * rate, -1.62 * rate)
    assert error(op(moved, BELOW, backend="numba"), expected.double()) < 1e-5


def test_empty_non_contiguous_and_broadcast_tensors_pass():
    assert filtered_activation2d(torch.zeros(0, 3, 8, 8), "gelu", BELOW, backend="numba").shape == (0, 3, 8, 8)
    base = torch.randn(2, 12, 9, 11)
    for x in (base[:, ::2], base.mT, base[..., 1:], torch.randn(1, 1, 9, 11).expand(2, 4, 9, 11)):
        y = filtered_activation2d(x, "gelu", BELOW, backend="numba")
        assert error(y, filtered_activation2d_reference(x.double(), "gelu", BELOW)) < 1e-6
    x = torch.randn(1, 2, 8, 8, requires_grad=True)  # the gradient of a sum is broadcast
    filtered_activation2d(x, "gelu", BELOW, backend="numba").sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("shape", [(1, 3, 160, 132), (1, 2, 131, 160)])
def test_planes_that_are_read_row_by_row_match_the_literal_algorithm(shape):
    assert shape[2] * shape[3] > WHOLE
    x, grad = torch.randn(shape), torch.randn(shape)
    for layout in (torch.contiguous_format, torch.channels_last):
        y, dx = with_gradient(
            lambda x: filtered_activation2d(x, "silu", BELOW, backend="numba"), x.contiguous(memory_format=layout), grad
        )
        expected, expected_dx = with_gradient(
            lambda x: filtered_activation2d_reference(x, "silu", BELOW), x.double(), grad.double()
        )
        assert error(y, expected) < 2e-6
        assert error(dx, expected_dx) < 2e-6
    high = upsample2d(x, BELOW, backend="numba")
    assert error(high, upsample2d_reference(x.double(), BELOW)) < 2e-6
    assert error(downsample2d(high, BELOW, backend="numba"), downsample2d_reference(high.double(), BELOW)) < 2e-6


def test_a_threads_scratch_is_two_groups_of_planes_and_a_few_lines():
    n = LONGEST
    spec, low, high = BELOW, (n, n), (2 * n, 2 * n)
    up, down = dense_spread(low, high, spec, 2, False), dense_gather(high, low, spec, 2, False)
    laid_out = plan(ACTIVATION, "silu", Shape(1, 128, low, low, False), up, None, down, 2)
    assert laid_out.threads == 2
    assert laid_out.floats <= 16 * (2 * n * n + 32 * n)


def test_results_do_not_depend_on_the_number_of_threads():
    x, grad = torch.randn(4, 24, 32, 32), torch.randn(4, 24, 32, 32)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(with_gradient(lambda x: filtered_activation2d(x, "gelu", BELOW, backend="numba"), x, grad))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_what_the_kernels_cannot_run_they_refuse_with_the_reason():
    large = torch.zeros(1, 1, LONGEST + 1, 8)
    assert explain("upsample2d", torch.zeros(1, 1, LONGEST, 8), BELOW).name == "numba"
    assert explain("downsample2d", torch.zeros(1, 1, 2 * LONGEST, 8), BELOW).name == "numba"
    assert "planes up to 512x512, not 513x8" in str(explain("upsample2d", large, BELOW))
    with pytest.raises(BackendError, match="one of its filters is 'ideal' and the other is not"):
        filtered_activation2d(torch.zeros(1, 1, 8, 8), "gelu", BELOW, "hq", backend="numba")
    with pytest.raises(ShapeError, match="needs a size divisible by 2, not 9; crop or pad the image"):
        downsample2d(torch.zeros(1, 1, 9, 8), BELOW, backend="numba")


def test_a_network_of_kernels_is_exported_whole():
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return downsample2d(filtered_activation2d(upsample2d(x, BELOW), "gelu", BELOW), BELOW)

    x, net = torch.randn(1, 2, 8, 8), Net()
    exported = torch.export.export(net, (x,))
    assert error(exported.module()(x), net(x).double()) < 1e-6
