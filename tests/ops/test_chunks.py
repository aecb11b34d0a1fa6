"""'ideal' filters on large planes: worked on in chunks, with the same result and little memory."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aliasfree.filters import FilterSpec
from aliasfree.ops import chunks, filtered_activation2d, filtered_activation2d_reference, upsample2d
from aliasfree.ops.plain import filtered_activation

IDEAL = FilterSpec.named("ideal")


@pytest.fixture(params=[1, 5, 40])
def chunk(request, monkeypatch):
    """Planes of (6, 10) at twice the rate that go into a chunk: less than an image, and more than one."""
    monkeypatch.setattr(chunks, "CHUNK", request.param * 4 * 60)


def with_gradients(op, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, its gradient and the gradient of the gradient's norm."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = op(x)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return y, first, second


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_chunks_change_neither_the_result_nor_its_gradients(layout):
    x = torch.randn(3, 7, 6, 10, dtype=torch.float64).contiguous(memory_format=layout)
    for function in (F.mish, functools.partial(F.gelu, approximate="tanh"), lambda x: x * torch.sigmoid(x)):
        found = with_gradients(lambda x, f=function: filtered_activation2d(x, f, IDEAL, backend="torch"), x)
        expected = with_gradients(lambda x, f=function: filtered_activation2d_reference(x, f, IDEAL), x)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
        assert found[0].is_contiguous(memory_format=layout)
        with torch.no_grad():
            torch.testing.assert_close(filtered_activation2d(x, function, IDEAL, backend="torch"), expected[0])


@pytest.mark.usefixtures("chunk")
def test_a_function_with_a_parameter_for_each_channel_sees_all_channels():
    x, prelu = torch.randn(2, 7, 6, 10), nn.PReLU(7)
    with torch.no_grad():
        prelu.weight.copy_(torch.linspace(-1, 1, 7))
    filtered_activation2d(x, prelu, IDEAL, backend="torch").sum().backward()
    gradient, prelu.weight.grad = prelu.weight.grad, None
    filtered_activation2d_reference(x, prelu, IDEAL).sum().backward()
    torch.testing.assert_close(gradient, prelu.weight.grad, rtol=1e-4, atol=1e-4)


def test_spectra_of_large_planes_are_taken_in_chunks_too(monkeypatch):
    x = torch.randn(2, 3, 130, 132, dtype=torch.float64)
    expected = upsample2d(x, IDEAL, backend="torch")
    monkeypatch.setattr(chunks, "CHUNK", 1)
    torch.testing.assert_close(upsample2d(x, IDEAL, backend="torch"), expected)


def largest_memory(work) -> int:
    """Most bytes that tensors made by `work` occupy at a time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = work()
    del result
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("side", [96, 160])
@pytest.mark.parametrize("train", [False, True])
def test_a_large_activation_takes_the_memory_of_its_result_and_for_training_once_more(side, train, monkeypatch):
    x = torch.randn(2, 64, side, side, requires_grad=train)
    monkeypatch.setattr(chunks, "CHUNK", 2 * 4 * side * side)
    function = F.mish

    def work() -> Tensor:
        with torch.set_grad_enabled(train):
            return filtered_activation(x, function, IDEAL, IDEAL, 2, "circular")

    work()  # makes the tables
    size = x.numel() * x.element_size()
    most = largest_memory(work)
    assert size <= most
    assert most <= (2.2 if train else 1.3) * size
