"""The CPU's attention for narrow heads against the formula in float64, and what PyTorch expects of a custom op."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from aliasfree.errors import BackendError, ShapeError
from aliasfree.ops import explain
from aliasfree.ops.attention import attention, attention_reference
from aliasfree.ops.backends.cpu.attention import backend as numba_attention

# (images, tokens, heads, numbers a head): one tile, more keys than are held at a time, odd widths, one image, heads in
# several parts
CASES = [(2, 16, 4, 4), (1, 80, 2, 8), (3, 256, 1, 16), (2, 48, 3, 5), (1, 64, 2, 1), (2, 48, 2, 32), (1, 32, 2, 24)]


def packed(n: int, tokens: int, heads: int, width: int, spread: float = 1.5) -> torch.Tensor:
    return spread * torch.randn(n, tokens, 3 * heads * width)


def error(y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((y.detach().double() - expected.detach()).abs().max() / expected.detach().abs().max())


def with_gradient(op, qkv: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    qkv = qkv.detach().clone().requires_grad_()
    y = op(qkv)
    return y.detach(), torch.autograd.grad(y, qkv, grad)[0]


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_the_formula_in_float64(case):
    qkv, heads = packed(*case), case[2]
    grad = torch.randn(case[0], case[1], heads * case[3])
    y, dx = with_gradient(lambda x: attention(x, heads, "numba"), qkv, grad)
    expected, gradient = with_gradient(lambda x: attention_reference(x, heads), qkv.double(), grad.double())
    assert error(y, expected) < 1e-5
    assert error(dx, gradient) < 1e-5


def test_the_formula_is_that_of_pytorch():
    qkv = packed(2, 32, 4, 8).double()
    q, k, v = qkv.reshape(2, 32, 3, 4, 8).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 32, 32)
    torch.testing.assert_close(attention_reference(qkv, 4), expected)
    torch.testing.assert_close(attention(qkv, 4), expected)


def test_scores_far_apart_neither_overflow_nor_vanish():
    qkv = packed(1, 64, 1, 8, spread=60.0)
    grad = torch.randn(1, 64, 8)
    y, dx = with_gradient(lambda x: attention(x, 1, "numba"), qkv, grad)
    expected, gradient = with_gradient(lambda x: attention_reference(x, 1), qkv.double(), grad.double())
    assert error(y, expected) < 1e-4  # scores of thousands leave float32 fewer digits of their differences
    assert error(dx, gradient) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_goes_through_as_in_the_formula(value, dtype):
    qkv = packed(2, 32, 2, 4).to(dtype)
    qkv[0, 5, 3] = value  # a query of the first head
    y, expected = attention(qkv, 2, "numba"), attention(qkv, 2, "reference")
    assert y.isnan().equal(expected.isnan())
    rounding = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(y.nan_to_num(), expected.nan_to_num(), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_bfloat16_rounds_numbers_not_sums(case, pairs, monkeypatch):
    if not pairs:
        monkeypatch.setattr(numba_attention, "multiplies_pairs", lambda: False)
    qkv, heads = packed(*case).bfloat16(), case[2]
    grad = torch.randn(case[0], case[1], heads * case[3]).bfloat16()
    y, dx = with_gradient(lambda x: attention(x, heads, "numba"), qkv, grad)
    expected, gradient = with_gradient(lambda x: attention_reference(x, heads), qkv.double(), grad.double())
    assert y.dtype == dx.dtype == torch.bfloat16
    assert error(y, expected) < 5e-3
    assert error(dx, gradient) < 1e-2


def test_weights_of_bfloat16_keep_their_sum_over_many_keys():
    """Rounding must not pull one way: the mean of a constant stays that constant, of 4,096 keys too."""
    qkv = packed(1, 4096, 1, 8).bfloat16()
    qkv[..., 16:] = 1.7109375
    torch.testing.assert_close(attention(qkv, 1, "numba"), torch.full((1, 4096, 8), 1.7109375, dtype=torch.bfloat16))


def test_the_number_of_threads_changes_no_bit():
    qkv, grad = packed(3, 64, 4, 8), torch.randn(3, 64, 32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(with_gradient(lambda x: attention(x, 4, "numba"), qkv, grad))
    finally:
        torch.set_num_threads(before)
    assert results[0][0].equal(results[1][0])
    assert results[0][1].equal(results[1][1])


def test_images_do_not_see_each_other():
    qkv = packed(3, 32, 2, 8)
    assert attention(qkv, 2, "numba")[1:2].equal(attention(qkv[1:2], 2, "numba"))


def test_no_images_give_none():
    assert attention(packed(0, 32, 2, 8), 2, "numba").shape == (0, 32, 16)


def test_slices_that_are_not_contiguous_are_taken():
    qkv = packed(2, 32, 2, 8)
    apart = torch.stack([qkv, qkv], dim=-1)[..., 0]
    assert not apart.is_contiguous()
    assert attention(apart, 2, "numba").equal(attention(qkv, 2, "numba"))


def test_what_the_kernel_cannot_do_is_left_to_pytorch_and_said(monkeypatch):
    assert explain("attention", packed(1, 32, 2, 8), 2).name == "numba"
    for qkv, heads, why in (
        (packed(1, 32, 1, 65), 1, "at most 64"),
        (packed(1, 20, 2, 8), 2, "multiples of 16"),
        (packed(1, 32, 2, 8).double(), 2, "float64"),
    ):
        choice = explain("attention", qkv, heads)
        assert choice.name == "torch"
        assert why in str(choice)
        with pytest.raises(BackendError, match=why):
            attention(qkv, heads, "numba")
    monkeypatch.setenv("ALIASFREE_BACKEND", "torch")
    assert explain("attention", packed(1, 32, 2, 8), 2).name == "torch"


def test_wrong_input_is_named():
    with pytest.raises(ShapeError, match="expected tokens"):
        attention(torch.zeros(2, 16, 10), 2)
    with pytest.raises(BackendError, match="unknown backend"):
        attention(packed(1, 16, 2, 4), 2, "numbs")
    with pytest.raises(BackendError, match="triton"):
        attention(packed(1, 16, 2, 4), 2, "triton")
