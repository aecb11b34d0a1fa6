"""What every op promises on every backend: the numbers and gradients of the literal algorithm, in every mode of torch.

Kernels have tests of their own beside this for what they alone do: precision, sizes, number formats, infinities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import hessian, jvp, vmap

from aliasfree.errors import ShapeError
from aliasfree.filters import BELOW_NYQUIST, FilterSpec
from aliasfree.ops import custom_ops, downsample2d, explain, filtered_activation2d, upsample2d
from aliasfree.ops.attention import attention

HQ, PAPER = FilterSpec.named("hq"), FilterSpec.named("2N")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Case:
    op: str
    function: Callable[..., Tensor]  # (x, backend)
    shape: tuple[int, ...]
    encoded: tuple[object, ...]  # what the registered op takes after the tensor, without the backend
    out: tuple[int, ...]


IMAGE = (2, 3, 8, 6)
CASES = {
    "up": Case("upsample2d", lambda x, b: upsample2d(x, "hq", backend=b), IMAGE, (HQ.key, 2, "zeros"), (2, 3, 16, 12)),
    "down": Case("downsample2d", lambda x, b: downsample2d(x, "2N", 2, "circular", b), IMAGE,
                 (PAPER.key, 2, "circular"), (2, 3, 4, 3)),
    "gelu": Case("filtered_activation2d", lambda x, b: filtered_activation2d(x, "gelu", "hq", backend=b), IMAGE,
                 ("gelu", HQ.key, HQ.key, 2, "zeros"), IMAGE),
    "ideal silu": Case("filtered_activation2d",
                       lambda x, b: filtered_activation2d(x, "silu", BELOW_NYQUIST, padding="circular", backend=b),
                       IMAGE, ("silu", BELOW_NYQUIST.key, BELOW_NYQUIST.key, 2, "circular"), IMAGE),
    "attention": Case("attention", lambda x, b: attention(x, 2, b), (2, 16, 24), (2,), (2, 16, 8)),
}  # fmt: skip
BACKENDS = ("auto", "numba", "torch", "reference")
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def images(case: Case, *more: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of the case's shape; with `more` sizes in front."""
    return torch.randn(*more, *case.shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def derivatives(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the gradient of its squares, and the gradient of that one's squares."""
    x = x.detach().requires_grad_()
    y = function(x)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return y.detach(), first.detach(), second


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found.double() - expected.double()).abs().max() <= tolerance * expected.abs().max()


@every_case
@every_backend
def test_values_and_derivatives_of_both_orders_are_those_of_the_literal_algorithm(case, backend):
    x = images(case)
    expected = derivatives(lambda v: case.function(v, "reference"), x.double())
    for found, exact in zip(derivatives(lambda v: case.function(v, backend), x), expected, strict=True):
        assert found.dtype == torch.float32
        close(found, exact)


@every_case
def test_gradients_are_right_in_float64(case):
    x = images(case, dtype=torch.float64)[:1].requires_grad_()
    for backend in ("torch", "reference"):
        run = lambda v, backend=backend: case.function(v, backend)  # noqa: E731
        assert torch.autograd.gradcheck(run, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, x, fast_mode=True)


@every_case
@pytest.mark.parametrize("both", [False, True])
def test_forward_mode_has_the_tangent_that_reverse_mode_implies(case, both):
    """<g, J t> = <J' g, t>; with `both`, an image that also asks for its gradient."""
    x, t = images(case), images(case, 1)[0].flip(0)
    y = case.function(x, "auto")
    g = torch.randn_like(y)
    leaf = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(case.function(leaf, "auto"), leaf, g)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(leaf if both else x, t)
        tangent = forward_ad.unpack_dual(case.function(dual, "auto")).tangent
        assert explain_name(case, dual) == "torch"
    assert (tangent * g).sum().item() == pytest.approx((back * t).sum().item(), rel=1e-4)
    close(jvp(lambda v: case.function(v, "auto"), (x,), (t,))[1], tangent)


def explain_name(case: Case, x: Tensor) -> str:
    more = {"attention": (2,), "filtered_activation2d": ("gelu", "hq")}.get(case.op, ("hq",))
    return explain(case.op, x, *more).name


@every_case
def test_vmap_over_any_dimension_and_any_memory_format_is_the_loop(case):
    x = images(case, 4)
    expected = torch.stack([case.function(v, "auto") for v in x])
    for dim in (0, 1, -1):
        moved = x.movedim(0, dim).contiguous()
        close(vmap(lambda v: case.function(v, "auto"), in_dims=dim)(moved), expected)
    if x.ndim == 5:
        last = x.movedim(2, -1).contiguous().movedim(-1, 2)
        close(vmap(lambda v: case.function(v, "auto"))(last), expected)


@every_case
def test_nested_transforms_give_second_derivatives(case):
    x = images(case)[:1, :2, :2]
    if case.op == "attention":
        x = images(case)[:1, :2]
    every = hessian(lambda v: case.function(v, "auto").pow(3).sum())(x).reshape(x.numel(), x.numel())
    exact = torch.autograd.functional.hessian(lambda v: case.function(v, "reference").pow(3).sum(), x.double())
    close(every, exact.reshape(x.numel(), x.numel()), 1e-4)


@every_case
@pytest.mark.parametrize(("backend", "channels_last"), [("numba", True), ("torch", False), ("reference", True)])
def test_registered_ops_pass_opcheck(case, backend, channels_last):
    x = images(case)
    if channels_last and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    arguments = (*case.encoded, backend)
    torch.library.opcheck(custom_ops.OPS[case.op], (x.requires_grad_(), *arguments))
    y = custom_ops.OPS[case.op](x.detach(), *arguments)
    x = x.detach().requires_grad_()
    given = {
        "attention": lambda: (torch.randn_like(y[0]), x.detach(), *y),
        "filtered_activation2d": lambda: (torch.randn_like(y).requires_grad_(), x),
    }.get(case.op, lambda: (torch.randn_like(y).requires_grad_(), *case.shape[2:]))()
    torch.library.opcheck(custom_ops.OPS[f"{case.op}_backward"], (*given, *arguments))


@every_case
@pytest.mark.parametrize(("backend", "dynamic"), [("auto", False), ("auto", True), ("reference", True)])
def test_compiled_whole_it_computes_the_same_and_its_gradient(case, backend, dynamic):
    torch._dynamo.reset()
    run = lambda v: 2 * case.function(v, backend)  # noqa: E731
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for x in (images(case), torch.cat([images(case)] * 2)):
        x = x.requires_grad_()
        y, expected = compiled(x), run(x)
        close(y, expected)
        g = torch.randn_like(y)
        close(torch.autograd.grad(y, x, g)[0], torch.autograd.grad(expected, x, g)[0])


@every_case
@every_backend
def test_shapes_dtypes_and_empty_batches(case, backend):
    x = images(case)
    assert case.function(x, backend).shape == case.out
    assert case.function(x[:0], backend).shape == (0, *case.out[1:])
    assert case.function(x.bfloat16(), backend).dtype == torch.bfloat16
    if x.ndim == 4:
        assert case.function(x.contiguous(memory_format=torch.channels_last), backend).is_contiguous(
            memory_format=torch.channels_last
        )
    with pytest.raises(ShapeError, match="expected"):
        case.function(x[0], backend)
