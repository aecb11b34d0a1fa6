"""The CPU kernels against the literal algorithm in float64, and what PyTorch expects of custom ops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aliasfree.errors import ArgumentError, BackendError
from aliasfree.filters import FilterSpec
from aliasfree.ops import (
    custom_ops,
    dispatch,
    downsample2d,
    downsample2d_reference,
    explain,
    filtered_activation2d,
    filtered_activation2d_reference,
    upsample2d,
    upsample2d_reference,
)
from aliasfree.ops.padding import PADDINGS

SPECS = {
    "2N": FilterSpec.named("2N"),
    "0": FilterSpec.named("0"),
    "hq": FilterSpec.named("hq"),
    "radial": FilterSpec.named("radial"),
    "odd": FilterSpec(taps=13, kaiser_beta=3.0),
}
# odd, narrow, non-square, smaller than the filter, one channel, more planes than lanes, larger than the rings
SHAPES = [(1, 1, 4, 6), (3, 7, 5, 5), (1, 17, 16, 20), (2, 9, 2, 2), (1, 2, 33, 18), (1, 1, 8, 300)]
ACTIVATIONS = {"gelu": F.gelu, "silu": F.silu, "relu": F.relu, "identity": lambda x: x}


def error(y: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest error, relative to the largest value."""
    assert y.shape == expected.shape
    return float((y.detach().double() - expected.detach()).abs().max() / expected.detach().abs().max().clamp_min(1e-9))


def with_gradient(op, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = op(x)
    return y.detach(), torch.autograd.grad(y, x, grad)[0]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("name", "factor"), [*((name, 2) for name in SPECS), ("0", 4), ("hq", 4), ("odd", 4)])
def test_kernels_equal_the_literal_algorithm(name, factor, padding):
    spec = SPECS[name].at_rate(factor)
    for i, shape in enumerate(SHAPES):
        memory_format = torch.channels_last if i % 2 else torch.contiguous_format
        x = torch.randn(shape).contiguous(memory_format=memory_format)
        for op, reference, out in (
            (upsample2d, upsample2d_reference, [shape[2] * factor, shape[3] * factor]),
            (downsample2d, downsample2d_reference, [-(-shape[2] // factor), -(-shape[3] // factor)]),
            (
                lambda x, *a, **k: filtered_activation2d(x, "gelu", a[0], None, *a[1:], **k),
                lambda x, *a: filtered_activation2d_reference(x, "gelu", a[0], None, *a[1:]),
                shape[2:],
            ),
        ):
            grad = torch.randn(*shape[:2], *out)
            y, dx = with_gradient(lambda x, op=op: op(x, spec, factor, padding, backend="numba"), x, grad)
            expected, gradient = with_gradient(
                lambda x, reference=reference: reference(x, spec, factor, padding), x.double(), grad.double()
            )
            # where what is summed cancels, one rounding of an input is left
            rounding = torch.finfo(torch.float32).eps * x.abs().max()
            assert (y.double() - expected).abs().max() < 2e-6 * expected.abs().max() + rounding
            assert error(dx, gradient) < 2e-6
            assert y.is_contiguous(memory_format=memory_format) or y.shape[1] == 1


@pytest.mark.parametrize("taps", [4, 6, 24])
def test_filters_with_as_many_taps_a_phase_as_a_preset_are_not_taken_for_it(taps):
    """4, 6 and 24 taps are 2, 3 and 12 side by side going up, and 4 and 6 of every second input going down."""
    spec = FilterSpec(taps=taps, kaiser_beta=3.0)
    x, grad = torch.randn(1, 16, 20, 20), torch.randn(1, 16, 20, 20)
    y, dx = with_gradient(lambda x: filtered_activation2d(x, "gelu", spec, backend="numba"), x, grad)
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, "gelu", spec), x.double(), grad.double()
    )
    assert error(y, expected) < 2e-6
    assert error(dx, gradient) < 2e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_exact(activation):
    x, grad = 5 * torch.randn(2, 3, 12, 10), torch.randn(2, 3, 12, 10)
    y, dx = with_gradient(lambda x: filtered_activation2d(x, activation, "hq", backend="numba"), x, grad)
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, activation, "hq"), x.double(), grad.double()
    )
    assert error(y, expected) < 1e-6
    assert error(dx, gradient) < 1e-6


def test_the_pointwise_functions_hold_over_their_whole_range():
    one = FilterSpec("sinc", taps=1, cutoff=1.0, gain="none")  # keeps the samples, so the activation is seen alone
    x = torch.linspace(-40, 40, 4096).reshape(1, 1, 64, 64)
    for name, function in ACTIVATIONS.items():
        y, dx = with_gradient(
            lambda x, n=name: filtered_activation2d(x, n, one, backend="numba"), x, torch.ones(x.shape)
        )
        expected, slope = with_gradient(function, x.double(), torch.ones(x.shape).double())
        assert error(y, expected) < 3e-7
        assert (dx - slope).abs().max() < 2.5e-6  # u (1 - sigmoid) at u = 15


@pytest.mark.parametrize("channels_last", [False, True])
def test_bfloat16_is_storage_only(channels_last):
    x, grad = torch.randn(2, 16, 12, 12), torch.randn(2, 16, 12, 12)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    y, dx = with_gradient(
        lambda x: filtered_activation2d(x, "gelu", "hq", backend="numba"), x.bfloat16(), grad.bfloat16()
    )
    assert y.dtype == dx.dtype == torch.bfloat16
    expected, gradient = with_gradient(
        lambda x: filtered_activation2d_reference(x, "gelu", "hq"), x.bfloat16().double(), grad.bfloat16().double()
    )
    assert error(y, expected) < 4e-3  # half a unit in the last place
    assert error(dx, gradient) < 4e-3


def test_empty_non_contiguous_and_broadcast_tensors_pass():
    assert filtered_activation2d(torch.zeros(0, 3, 8, 8), "gelu", "hq", backend="numba").shape == (0, 3, 8, 8)
    base = torch.randn(2, 12, 9, 11)
    for x in (base[:, ::2], base.mT, base[..., 1:], torch.randn(1, 1, 9, 11).expand(2, 4, 9, 11)):
        y = filtered_activation2d(x, "gelu", "hq", backend="numba")
        assert error(y, filtered_activation2d_reference(x.double(), "gelu", "hq")) < 1e-6
    x = torch.randn(1, 2, 8, 8, requires_grad=True)  # the gradient of a sum is broadcast
    filtered_activation2d(x, "gelu", "hq", backend="numba").sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_what_is_not_finite_stays_where_the_literal_algorithm_puts_it(value):
    x = torch.randn(1, 17, 20, 20)
    x[0, 3, 9, 9] = value
    for name in ("hq", "2N"):
        y = filtered_activation2d(x, "gelu", name, backend="numba")
        expected = filtered_activation2d_reference(x, "gelu", name)
        assert torch.equal(y.isfinite(), expected.isfinite())
        assert error(y.nan_to_num(0, 0, 0), expected.double().nan_to_num(0, 0, 0)) < 1e-5


def test_results_do_not_depend_on_the_number_of_threads():
    x = torch.randn(4, 24, 32, 32)
    before = torch.get_num_threads()
    try:
        ys = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            ys.append(filtered_activation2d(x, "gelu", "hq", backend="numba"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*ys)


def test_kernels_compile_and_export_whole():
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return downsample2d(filtered_activation2d(upsample2d(x, "hq"), "gelu", "2N"), "hq")

    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    net = Net()
    expected = net(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    y = compiled(x)
    assert error(y, expected.double()) < 1e-6
    assert error(torch.autograd.grad(y.square().sum(), x)[0], gradient.double()) < 1e-6
    exported = torch.export.export(net, (x.detach(),))
    assert error(exported.module()(x.detach()), expected.double()) < 1e-6


def test_autocast_keeps_the_dtype_of_the_input():
    x = torch.randn(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("numba", "torch"):
            y = filtered_activation2d(x, "gelu", "hq", backend=backend)
            assert y.dtype == torch.float32
            assert error(y, filtered_activation2d_reference(x.double(), "gelu", "hq")) < 1e-6


def test_auto_explains_its_choice(monkeypatch):
    monkeypatch.delenv(dispatch.ENVIRONMENT, raising=False)
    x = torch.randn(1, 2, 8, 8)
    assert explain("filtered_activation2d", x, "gelu", "hq").name == "numba"
    wide = explain("filtered_activation2d", x.double(), "gelu", "hq")
    assert wide.name == "torch"
    assert "not numba: it computes in float32 and bfloat16, not float64" in str(wide)
    assert explain("upsample2d", x, "ideal").name == "numba"
    assert "no activation but" in str(explain("filtered_activation2d", x, torch.sin, "hq"))
    with pytest.raises(ArgumentError, match="unknown op 'upsample'"):
        explain("upsample", x, "hq")


def test_an_explicit_backend_that_cannot_run_says_why():
    with pytest.raises(BackendError, match=r"'numba' cannot run this upsample2d: it computes in float32"):
        upsample2d(torch.zeros(1, 1, 8, 8, dtype=torch.float64), "hq", backend="numba")
    with pytest.raises(BackendError, match="unknown backend 'numbo'; did you mean 'numba'"):
        upsample2d(torch.zeros(1, 1, 8, 8), "hq", backend="numbo")


def test_the_environment_stands_for_auto(monkeypatch):
    x = torch.randn(1, 2, 8, 8)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "reference")
    assert explain("upsample2d", x, "hq").name == "reference"
    assert torch.equal(upsample2d(x, "hq"), upsample2d_reference(x, FilterSpec.named("hq")))
    assert explain("upsample2d", x, "hq", backend="numba").name == "numba"
    monkeypatch.setenv(dispatch.ENVIRONMENT, "cuda")
    with pytest.raises(BackendError, match=r"unknown backend 'cuda' in \$ALIASFREE_BACKEND"):
        upsample2d(x, "hq")


def test_a_large_tensor_without_a_kernel_is_said_once():
    x = torch.zeros(1, 1, 1024, 1024, dtype=torch.float64)
    custom_ops._warn.cache_clear()
    with pytest.warns(UserWarning, match=r"upsample2d runs without a kernel.*numba says that it computes in float32"):
        upsample2d(x, "2N")
    upsample2d(x, "2N")  # pytest turns a second warning of ours into an error
