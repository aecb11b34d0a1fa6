"""How a chosen backend runs: as a function of autograd, or, for what traces, as an op that PyTorch knows by name.

A call on real tensors goes from `run` through one of three `torch.autograd.Function`s to the kernels that `choose`
gave. What records calls (torch.compile, torch.export, a dispatch mode) sees the ops `aliasfree::upsample2d`,
`downsample2d`, `filtered_activation2d`, `attention` and the `..._backward` of each instead. Their schemas hold filters
as `FilterSpec.key` and the backend by name: they choose when they run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

import torch
from torch import SymInt, Tensor

from aliasfree.errors import BackendError
from aliasfree.filters import FilterSpec
from aliasfree.ops.dispatch import ARGUMENTS, PLAIN, Arguments, choose, kernels_of
from aliasfree.ops.memory_format import memory_format
from aliasfree.ops.pointwise import ACTIVATIONS
from aliasfree.ops.reference import attention_reference
from aliasfree.ops.tracing import has_tangent, is_intercepted, is_plain, is_tracing

__all__ = ["OPS", "run"]

LARGE = 1 << 20
"""From this many elements on, "auto" warns when no kernel serves a tensor."""
Size: TypeAlias = tuple[int, int]
Ctx: TypeAlias = Any  # `FunctionCtx` with what an op keeps on it
Gradients: TypeAlias = tuple[Tensor | None, ...]


def run(op: str, x: Tensor, arguments: Arguments, backend: str, size: Size | None = None) -> Tensor:
    """`op` on x by the backend that `choose` gives; with `size`, its transpose on a gradient x.

    arguments  checked ones, as `dispatch.ARGUMENTS` lists them
    size       (H, W) of the result; for the two resampling ops
    """
    if is_tracing():
        if torch._C._functorch.maybe_current_level() is not None:  # a compiler stops here, and runs it uncompiled
            raise BackendError(f"{op} cannot be traced within a transform of torch.func")
        if op == "attention" and backend in PLAIN:
            return kernels_of(op, backend).attention(x, *arguments)[0]
        return _record(op, x, arguments, backend, size)
    plain, recorded = is_plain(), is_intercepted(x)
    choice = choose(op, x, arguments, "torch" if plain else backend, size, once=not recorded)
    if recorded and not plain and (choice.name not in PLAIN or any(isinstance(n, SymInt) for n in x.shape)):
        return _record(op, x, arguments, backend, size)
    kernels = kernels_of(op, choice.name)
    if choice.name in PLAIN:
        if choice.refusals and choice.asked == "auto" and x.numel() >= LARGE:
            _warn(op, *choice.refusals[0])
        y = getattr(kernels, op)(x, *arguments) if size is None else _transpose(kernels, op, x, arguments, size)
        return y[0] if op == "attention" else y
    if op == "attention":
        return _Attention.apply(x, kernels, arguments[0])
    if op == "filtered_activation2d":
        return _Activation.apply(x, kernels, (*arguments, backend))
    return _Resampling.apply(x, kernels, op, arguments, size)


@lru_cache(maxsize=64)
def _warn(op: str, name: str, reason: str) -> None:
    warnings.warn(
        f"{op} runs without a kernel, several times slower: {name} says that {reason}. backend='torch' silences this.",
        stacklevel=4,
    )


def _record(op: str, x: Tensor, arguments: Arguments, backend: str, size: Size | None) -> Tensor:
    encoded = [a.key if isinstance(a, FilterSpec) else a for a in arguments]
    if size is not None:
        return OPS[f"{op}_backward"](x, *size, *encoded, backend)
    y = OPS[op](x, *encoded, backend)
    return y[0] if op == "attention" else y


def _transpose(kernels: Any, op: str, grad: Tensor, arguments: Arguments, size: Size) -> Tensor:
    return getattr(kernels, f"{op}_backward")(grad, *arguments, size)


# calls on real tensors


class _Resampling(torch.autograd.Function):
    """A linear step or, with the size of its input, its transpose; each is the gradient of the other."""

    @staticmethod
    def forward(ctx: Ctx, x: Tensor, kernels: Any, op: str, arguments: Arguments, size: Size | None) -> Tensor:
        ctx.kernels, ctx.op, ctx.arguments = kernels, op, arguments
        ctx.size = x.shape[2:] if size is None else None
        return getattr(kernels, op)(x, *arguments) if size is None else _transpose(kernels, op, x, arguments, size)

    @staticmethod
    def backward(ctx: Ctx, grad: Tensor) -> Gradients:
        return _Resampling.apply(grad, ctx.kernels, ctx.op, ctx.arguments, ctx.size), None, None, None, None


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Ctx, x: Tensor, kernels: Any, arguments: Arguments) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernels, ctx.arguments = kernels, arguments
        return kernels.filtered_activation2d(x, *arguments[:-1])

    @staticmethod
    def backward(ctx: Ctx, grad: Tensor) -> Gradients:
        return _ActivationBackward.apply(grad, *ctx.saved_tensors, ctx.kernels, ctx.arguments), None, None


class _ActivationBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Ctx, grad: Tensor, x: Tensor, kernels: Any, arguments: Arguments) -> Tensor:
        ctx.save_for_backward(grad, x)
        ctx.arguments = arguments
        return kernels.filtered_activation2d_backward(grad, x, *arguments[:-1])

    @staticmethod
    def backward(ctx: Ctx, cotangent: Tensor) -> Gradients:
        return *_activation_double_backward(cotangent, *ctx.saved_tensors, *ctx.arguments), None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Ctx, qkv: Tensor, kernels: Any, heads: int) -> Tensor:
        out, statistics = kernels.attention(qkv, heads)
        ctx.save_for_backward(qkv, out, statistics)
        ctx.kernels, ctx.heads = kernels, heads
        return out

    @staticmethod
    def backward(ctx: Ctx, grad: Tensor) -> Gradients:
        return _AttentionBackward.apply(grad, *ctx.saved_tensors, ctx.kernels, ctx.heads), None, None


class _AttentionBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Ctx, grad: Tensor, qkv: Tensor, out: Tensor, statistics: Tensor, kernels: Any, heads: int
    ) -> Tensor:
        ctx.save_for_backward(grad, qkv)
        ctx.heads = heads
        return kernels.attention_backward(grad, qkv, out, statistics, heads)

    @staticmethod
    def backward(ctx: Ctx, cotangent: Tensor) -> Gradients:
        grad, qkv = ctx.saved_tensors
        return *_attention_double_backward(cotangent, grad, qkv, ctx.heads), None, None, None, None


# second derivatives: no kernel has one, so they are made of the resampling steps and of PyTorch's own operations


def _activation_double_backward(
    cotangent: Tensor,
    grad: Tensor,
    x: Tensor,
    activation: str,
    up: FilterSpec,
    down: FilterSpec,
    factor: int,
    padding: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of <cotangent, U'(act'(U x) D' grad)> with respect to grad and x; U and D are the two steps."""
    backend = backend if backend in PLAIN else "auto"
    first, last = (up, factor, padding), (down, factor, padding)
    high, raised = (run("upsample2d", v, first, backend) for v in (x, cotangent))
    lifted = run("downsample2d", grad, last, backend, (high.shape[2], high.shape[3]))
    derivative = ACTIVATIONS[activation].derivative
    to_grad = run("downsample2d", derivative(raised, high), last, backend)
    with torch.enable_grad():
        point = _alias(high)
        slopes = derivative(raised * lifted, point)
    to_high = _gradients(slopes, (point,), torch.ones_like(slopes))[0]
    return to_grad, run("upsample2d", to_high, first, backend, (x.shape[2], x.shape[3]))


def _attention_double_backward(cotangent: Tensor, grad: Tensor, qkv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        grad, qkv = _alias(grad), _alias(qkv)
        (first,) = torch.autograd.grad(attention_reference(qkv, heads), qkv, grad, create_graph=True)
    to_grad, to_qkv = _gradients(first, (grad, qkv), cotangent)
    return to_grad, to_qkv


def _alias(x: Tensor) -> Tensor:
    """x as a variable of its own, so that gradients for it do not take in what depends on x elsewhere."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _gradients(y: Tensor, variables: tuple[Tensor, ...], cotangent: Tensor) -> tuple[Tensor, ...]:
    if not y.requires_grad:  # y does not depend on them
        return tuple(torch.zeros_like(v) for v in variables)
    again = torch.is_grad_enabled()
    return torch.autograd.grad(y, variables, cotangent, create_graph=again, materialize_grads=True)


# ops that PyTorch knows by name


@lru_cache(maxsize=1024)
def _decoded(op: str, arguments: tuple[str | int, ...]) -> Arguments:
    """Arguments with the filters that their keys stand for."""
    pairs = zip(ARGUMENTS[op], arguments, strict=True)
    return tuple(FilterSpec(**json.loads(str(a))) if field in ("up", "down") else a for field, a in pairs)


def _chosen(op: str, x: Tensor, encoded: tuple[Any, ...], size: Size | None = None) -> tuple[Any, Arguments]:
    """The kernels, and the arguments, of an op that runs; `encoded` ends with the backend."""
    if has_tangent(x):
        raise BackendError(f"a traced {op} has no forward-mode derivative; differentiate the function, not its trace")
    arguments = _decoded(op, encoded[:-1])
    return kernels_of(op, choose(op, x, arguments, encoded[-1], size).name), arguments


def _forward(op: str, x: Tensor, *encoded: Any) -> Any:
    kernels, arguments = _chosen(op, x, encoded)
    return getattr(kernels, op)(x, *arguments)


def _resampling_backward(op: str, grad: Tensor, height: int, width: int, *encoded: Any) -> Tensor:
    kernels, arguments = _chosen(op, grad, encoded, (height, width))
    return _transpose(kernels, op, grad, arguments, (height, width))


def _activation_backward(grad: Tensor, x: Tensor, *encoded: Any) -> Tensor:
    kernels, arguments = _chosen("filtered_activation2d", x, encoded)
    return kernels.filtered_activation2d_backward(grad, x, *arguments)


def _attention_backward(grad: Tensor, qkv: Tensor, out: Tensor, statistics: Tensor, *encoded: Any) -> Tensor:
    kernels, arguments = _chosen("attention", qkv, encoded)
    return kernels.attention_backward(grad, qkv, out, statistics, *arguments)


OPS: dict[str, Any] = {}
"""Name -> the op `aliasfree::name`."""


def _define(name: str, schema: str, body: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    op = torch.library.custom_op(f"aliasfree::{name}", body, mutates_args=(), schema=schema)
    op.register_fake(fake)
    OPS[name] = op
    return op


def _like(x: Tensor, height: int, width: int) -> Tensor:
    shape = (x.shape[0], x.shape[1], height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _keep_size(ctx: Ctx, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size, ctx.rest = inputs[0].shape[2:], inputs[1:]


def _keep_rest(ctx: Ctx, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.rest = inputs[3:]


def _define_resampling(op: str, sizes: Callable[[int, int], int]) -> None:
    """The op and its transpose; `sizes` gives the length of an axis of the result."""
    arguments = "str spec, int factor, str padding, str backend"
    forward = _define(
        op,
        f"(Tensor x, {arguments}) -> Tensor",
        partial(_forward, op),
        lambda x, spec, factor, *_: _like(x, sizes(x.shape[2], factor), sizes(x.shape[3], factor)),
    )
    backward = _define(
        f"{op}_backward",
        f"(Tensor grad, SymInt height, SymInt width, {arguments}) -> Tensor",
        partial(_resampling_backward, op),
        lambda grad, height, width, *_: _like(grad, height, width),
    )
    forward.register_autograd(
        lambda ctx, grad: (backward(grad, *ctx.size, *ctx.rest), None, None, None, None), setup_context=_keep_size
    )
    backward.register_autograd(lambda ctx, grad: (forward(grad, *ctx.rest), *[None] * 6), setup_context=_keep_rest)


_define_resampling("upsample2d", lambda n, factor: n * factor)
_define_resampling("downsample2d", lambda n, factor: -(-n // factor))

_ACTIVATION = "str activation, str up, str down, int factor, str padding, str backend"
_activate = _define(
    "filtered_activation2d",
    f"(Tensor x, {_ACTIVATION}) -> Tensor",
    partial(_forward, "filtered_activation2d"),
    lambda x, *_: _like(x, x.shape[2], x.shape[3]),
)
_activate_backward = _define(
    "filtered_activation2d_backward",
    f"(Tensor grad, Tensor x, {_ACTIVATION}) -> Tensor",
    _activation_backward,
    lambda grad, x, *_: _like(x, x.shape[2], x.shape[3]),
)


def _keep_activation(ctx: Ctx, inputs: tuple[Any, ...], output: Tensor) -> None:
    tensors = [v for v in inputs if isinstance(v, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.rest = inputs[len(tensors) :]


def _activation_double_gradient(ctx: Ctx, cotangent: Tensor) -> Gradients:
    *encoded, backend = ctx.rest
    arguments = _decoded("filtered_activation2d", tuple(encoded))
    gradients = _activation_double_backward(cotangent, *ctx.saved_tensors, *(*arguments, backend))
    return *gradients, *[None] * 6


_activate.register_autograd(
    lambda ctx, grad: (_activate_backward(grad, *ctx.saved_tensors, *ctx.rest), *[None] * 6),
    setup_context=_keep_activation,
)
_activate_backward.register_autograd(_activation_double_gradient, setup_context=_keep_activation)

_attend = _define(
    "attention",
    "(Tensor qkv, int heads, str backend) -> (Tensor, Tensor)",
    partial(_forward, "attention"),
    lambda qkv, heads, _: (
        qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3),
        qkv.new_empty(qkv.shape[0], heads, qkv.shape[1], dtype=torch.float32),
    ),
)
_attend_backward = _define(
    "attention_backward",
    "(Tensor grad, Tensor qkv, Tensor out, Tensor statistics, int heads, str backend) -> Tensor",
    _attention_backward,
    lambda grad, qkv, *_: torch.empty_like(qkv, memory_format=torch.contiguous_format),
)


def _keep_attention(ctx: Ctx, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, *ctx.rest = inputs
    ctx.save_for_backward(qkv, *output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])


def _attention_gradient(ctx: Ctx, grad: Tensor | None, _: Tensor | None) -> Gradients:
    return None if grad is None else _attend_backward(grad, *ctx.saved_tensors, *ctx.rest), None, None


def _keep_attention_backward(ctx: Ctx, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, qkv, _, _, ctx.heads, _ = inputs
    ctx.save_for_backward(grad, qkv)


def _attention_double_gradient(ctx: Ctx, cotangent: Tensor) -> Gradients:
    grad, qkv = ctx.saved_tensors
    return *_attention_double_backward(cotangent, grad, qkv, ctx.heads), None, None, None, None


_attend.register_autograd(_attention_gradient, setup_context=_keep_attention)
_attend_backward.register_autograd(_attention_double_gradient, setup_context=_keep_attention_backward)
