"""Who runs a call: what the registry promises besides the numbers."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import BackendError
from aliasfree.filters import FilterSpec
from aliasfree.ops import custom_ops, dispatch, downsample2d, explain, filtered_activation2d, upsample2d
from aliasfree.ops.attention import attention, attention_reference
from aliasfree.ops.pointwise import _ACTIVATIONS, Pointwise
from aliasfree.ops.reference import downsample2d_reference, upsample2d_reference

HQ = FilterSpec.named("hq")


@pytest.fixture
def softsign(monkeypatch):
    """An activation added as CONTRIBUTING says: one entry, and no formula in any kernel."""
    entry = Pointwise(torch.nn.functional.softsign, lambda g, x: g / (1 + x.abs()) ** 2)
    monkeypatch.setitem(_ACTIVATIONS, "softsign", entry)
    return entry.function


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_an_activation_is_added_by_one_entry(softsign, backend):
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    y = filtered_activation2d(x, "softsign", "hq", backend=backend)
    exact = x.detach().double().requires_grad_()
    expected = downsample2d_reference(softsign(upsample2d_reference(exact, HQ)), HQ)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    g = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, g)
    (gradient,) = torch.autograd.grad(expected, exact, g.double())
    torch.testing.assert_close(dx.double(), gradient, rtol=1e-5, atol=1e-5)


def test_kernels_refuse_an_activation_they_have_no_formula_for(softsign):
    x = torch.randn(1, 2, 8, 8)
    assert "not numba: it knows no activation but " in str(explain("filtered_activation2d", x, "softsign", "hq"))
    with pytest.raises(BackendError, match="'numba' cannot run this filtered_activation2d: it knows no activation"):
        filtered_activation2d(x, "softsign", "hq", backend="numba")
    with pytest.raises(BackendError, match="it knows no activation"):
        custom_ops.OPS["filtered_activation2d"](x, "softsign", HQ.key, HQ.key, 2, "zeros", "numba")


def test_a_traced_call_chooses_when_it_runs(softsign):
    compiled = torch.compile(lambda x: filtered_activation2d(x, "softsign", "hq"), fullgraph=True, backend="aot_eager")
    x = torch.randn(1, 2, 8, 8)
    torch.testing.assert_close(compiled(x), filtered_activation2d(x, "softsign", "hq"), rtol=1e-5, atol=1e-6)


def test_equal_calls_are_decided_once():
    arguments = (HQ, 2, "zeros")
    first = dispatch.choose("upsample2d", torch.zeros(1, 2, 8, 8), arguments)
    assert dispatch.choose("upsample2d", torch.ones(1, 2, 8, 8), (FilterSpec(**HQ.to_dict()), 2, "zeros")) is first
    assert dispatch.choose("upsample2d", torch.zeros(1, 2, 8, 8).double(), arguments).name == "torch"


@pytest.mark.parametrize("op", dispatch.ARGUMENTS)
def test_explain_knows_every_op_and_tells_what_the_op_itself_would_use(op, monkeypatch):
    monkeypatch.delenv(dispatch.ENVIRONMENT, raising=False)
    arguments = {
        "attention": (torch.zeros(1, 16, 24), 2),
        "filtered_activation2d": (torch.zeros(1, 2, 8, 8), "silu", "hq"),
    }.get(op, (torch.zeros(1, 2, 8, 8), "hq"))
    assert explain(op, *arguments).name == "numba"
    assert explain(op, *arguments, backend="torch").name == "torch"
    with pytest.raises(TypeError, match="missing a required argument"):
        explain(op, arguments[0])
    monkeypatch.setenv(dispatch.ENVIRONMENT, "reference")
    assert explain(op, *arguments).name == "reference"


def test_the_environment_counts_for_attention_too(monkeypatch):
    fits, odd = torch.randn(1, 16, 24), torch.randn(1, 15, 24)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "numba")
    assert explain("attention", fits, 2).asked == "numba"
    with pytest.raises(BackendError, match=r"'numba' in \$ALIASFREE_BACKEND cannot run this attention: .* 16 tokens"):
        attention(odd, 2)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "cuda")
    with pytest.raises(BackendError, match=r"unknown backend 'cuda' in \$ALIASFREE_BACKEND"):
        attention(odd, 2)


def test_a_backend_without_attention_has_no_say_in_it_where_the_environment_names_it(monkeypatch):
    qkv = torch.randn(1, 15, 24)
    monkeypatch.setenv(dispatch.ENVIRONMENT, "triton")
    choice = explain("attention", qkv, 2)
    assert (choice.name, choice.asked) == ("torch", "triton")
    assert "not triton: it has no kernel for attention" in str(choice)
    assert "not numba: it serves multiples of 16 tokens" in str(choice)
    torch.testing.assert_close(attention(qkv, 2), attention_reference(qkv, 2))
    with pytest.raises(BackendError, match="'triton' cannot run this attention"):
        attention(qkv, 2, "triton")


def test_the_warning_of_a_slow_call_names_the_line_that_makes_it():
    x = torch.zeros(1, 1, 1024, 1024, dtype=torch.float64)
    for op in (upsample2d, downsample2d, lambda x, f: filtered_activation2d(x, "gelu", f)):
        custom_ops._warn.cache_clear()
        with pytest.warns(UserWarning, match="runs without a kernel") as caught:
            op(x, "2N")
        assert caught[0].filename == __file__


def test_a_custom_op_asks_again_so_that_a_wrong_backend_reads_no_foreign_memory():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(BackendError, match="it computes in float32 and bfloat16, not float64"):
        torch.ops.aliasfree.upsample2d(x, HQ.key, 2, "zeros", "numba")
