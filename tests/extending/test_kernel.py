"""A kernel that is registered for an op, attention included, is the one that runs where explain says so."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ArgumentError, BackendError
from aliasfree.ops import dispatch, downsample2d, explain, upsample2d
from aliasfree.ops.attention import attention, attention_reference
from aliasfree.ops.dispatch import register_kernel
from aliasfree.ops.plain_backend import Torch


class Counting(Torch):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def refusal(self, call):
        return None if call.dtype == torch.float64 else "it computes in float64"

    def attention(self, qkv, heads):
        self.calls.append("attention")
        return attention_reference(qkv, heads), torch.zeros(qkv.shape[0], heads, qkv.shape[1])

    def attention_backward(self, *arguments):
        self.calls.append("attention_backward")
        return super().attention_backward(*arguments)

    def upsample2d(self, *arguments):
        self.calls.append("upsample2d")
        return super().upsample2d(*arguments)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(dispatch, "_KERNELS", dict(dispatch._KERNELS))
    monkeypatch.setattr(dispatch, "_DEVICES", dict(dispatch._DEVICES))
    kernels = Counting()
    for op in ("attention", "upsample2d"):
        register_kernel(op, "counting", kernels, device="cpu")
    yield kernels
    dispatch._decide_once.cache_clear()


def test_it_runs_forward_and_backward_where_explain_says_so(counting):
    qkv = torch.randn(1, 16, 24, dtype=torch.float64, requires_grad=True)
    assert explain("attention", qkv, 2).name == "counting"
    attention(qkv, 2).sum().backward()
    assert counting.calls == ["attention", "attention_backward"]
    torch.testing.assert_close(qkv.grad, torch.autograd.grad(attention_reference(qkv, 2).sum(), qkv)[0])
    upsample2d(torch.zeros(1, 1, 4, 4, dtype=torch.float64), "hq", backend="counting")
    assert counting.calls[-1] == "upsample2d"


def test_what_it_refuses_or_has_no_kernel_for_is_said(counting):
    assert explain("attention", torch.zeros(1, 16, 24), 2).name == "numba"
    with pytest.raises(BackendError, match="it computes in float64"):
        upsample2d(torch.zeros(1, 1, 4, 4), "hq", backend="counting")
    with pytest.raises(BackendError, match="no kernel for downsample2d"):
        downsample2d(torch.zeros(1, 1, 4, 4).double(), "hq", backend="counting")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("blur", "mine", Torch(), "cpu"), "unknown op 'blur'"),
        (("attention", "numba", Torch()), "already"),
        (("attention", "mine", Torch()), "must name its `device`"),
        (("attention", "triton", Torch(), "cpu"), "is for 'cuda'"),
        (("attention", "mine", object(), "cpu"), "need a function 'refusal'"),
    ],
)
def test_kernels_that_could_not_run_are_refused_when_they_are_registered(arguments, says):
    with pytest.raises(ArgumentError, match=says):
        register_kernel(*arguments)
