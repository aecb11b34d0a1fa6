"""The kernels as PyTorch custom ops: known to autograd, torch.compile, torch.export and opcheck.

Six ops in the namespace `aliasfree`: `upsample2d`, `downsample2d`, `filtered_activation2d` and the `..._backward` of
each. Filters travel as `FilterSpec.key`; `backend` is any name of the registry, resolved when the op runs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from aliasfree.filters import FilterSpec
from aliasfree.ops.backends.registry import Call, choose, kernel_backend
from aliasfree.ops.plain import PlainBackend, double_backward

__all__ = ["call_of", "downsample2d", "filtered_activation2d", "upsample2d"]


@lru_cache(maxsize=256)
def _spec(key: str) -> FilterSpec:
    return FilterSpec(**json.loads(key))


def call_of(
    op: str,
    x: Tensor,
    activation: str | None,
    up: FilterSpec | None,
    down: FilterSpec | None,
    factor: int,
    padding: str,
) -> Call:
    """What the registry has to know."""
    return Call(op, tuple(x.shape), x.dtype, x.device, activation, up, down, factor, padding, _channels_last(x))


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _runner(
    op: str, x: Tensor, activation: str | None, up: str, down: str, factor: int, padding: str, backend: str,
    size: tuple[int, int] | None = None,
) -> Any:  # fmt: skip
    """Who runs an op on x, or (with the `size` of its input) the backward of that op on its gradient."""
    specs = _spec(up) if up else None, _spec(down) if down else None
    call = call_of(op, x, activation, *specs, factor, padding)
    if size is not None:
        call = replace(call, shape=(*call.shape[:2], *size))
    name = choose(call, backend).name
    if name in ("torch", "reference"):
        return PlainBackend(name)
    return kernel_backend(name)


def _like(x: Tensor, height: Any, width: Any) -> Tensor:
    """An empty tensor of x's dtype and memory format."""
    n, c = x.shape[:2]
    memory_format = torch.channels_last if _channels_last(x) else torch.contiguous_format
    return torch.empty((n, c, height, width), dtype=x.dtype, device=x.device, memory_format=memory_format)


custom_op = torch.library.custom_op


@custom_op("aliasfree::upsample2d", mutates_args=())
def upsample2d(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    run = _runner("upsample2d", x, None, spec, "", factor, padding, backend)
    return run.upsample2d(x, _spec(spec), factor, padding)


@custom_op("aliasfree::upsample2d_backward", mutates_args=())
def upsample2d_backward(
    grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("upsample2d", grad, None, spec, "", factor, padding, backend, (height, width))
    return run.upsample2d_backward(grad, _spec(spec), factor, padding, (height, width))


@custom_op("aliasfree::downsample2d", mutates_args=())
def downsample2d(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    run = _runner("downsample2d", x, None, "", spec, factor, padding, backend)
    return run.downsample2d(x, _spec(spec), factor, padding)


@custom_op("aliasfree::downsample2d_backward", mutates_args=())
def downsample2d_backward(
    grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("downsample2d", grad, None, "", spec, factor, padding, backend, (height, width))
    return run.downsample2d_backward(grad, _spec(spec), factor, padding, (height, width))


@custom_op("aliasfree::filtered_activation2d", mutates_args=())
def filtered_activation2d(
    x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("filtered_activation2d", x, activation, up, down, factor, padding, backend)
    return run.filtered_activation2d(x, activation, _spec(up), _spec(down), factor, padding)


@custom_op("aliasfree::filtered_activation2d_backward", mutates_args=())
def filtered_activation2d_backward(
    grad: Tensor, x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("filtered_activation2d", x, activation, up, down, factor, padding, backend)
    return run.filtered_activation2d_backward(grad, x, activation, _spec(up), _spec(down), factor, padding)


# shapes, for compilers that trace without data


@upsample2d.register_fake
def _(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(x, x.shape[2] * factor, x.shape[3] * factor)


@upsample2d_backward.register_fake
def _(grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(grad, height, width)


@downsample2d.register_fake
def _(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(x, -(-x.shape[2] // factor), -(-x.shape[3] // factor))


@downsample2d_backward.register_fake
def _(grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(grad, height, width)


@filtered_activation2d.register_fake
def _(x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(x, x.shape[2], x.shape[3])


@filtered_activation2d_backward.register_fake
def _(grad: Tensor, x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str) -> Tensor:
    return _like(x, x.shape[2], x.shape[3])


# gradients; up- and downsampling are linear, so the gradient of their backward is the op itself


def _keep_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size, ctx.rest = inputs[0].shape[2:], inputs[1:]


def _keep_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.rest = inputs[3:]


def _upsample_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return upsample2d_backward(grad, *ctx.size, *ctx.rest), None, None, None, None


def _downsample_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return downsample2d_backward(grad, *ctx.size, *ctx.rest), None, None, None, None


upsample2d.register_autograd(_upsample_gradient, setup_context=_keep_linear)
downsample2d.register_autograd(_downsample_gradient, setup_context=_keep_linear)
upsample2d_backward.register_autograd(
    lambda ctx, grad: (upsample2d(grad, *ctx.rest), *[None] * 6), setup_context=_keep_backward
)
downsample2d_backward.register_autograd(
    lambda ctx, grad: (downsample2d(grad, *ctx.rest), *[None] * 6), setup_context=_keep_backward
)


def _keep_activation(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.rest = inputs[1:]


def _activation_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (x,) = ctx.saved_tensors
    return filtered_activation2d_backward(grad, x, *ctx.rest), *[None] * 6


def _keep_activation_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.rest = inputs[2:]


def _activation_double_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """No kernel has a second derivative: PyTorch's own differentiation of the plain path gives it."""
    activation, up, down, factor, padding, _ = ctx.rest
    seed, x = ctx.saved_tensors
    gradients = double_backward(grad, seed, x, activation, _spec(up), _spec(down), factor, padding)
    return *gradients, *[None] * 6


filtered_activation2d.register_autograd(_activation_gradient, setup_context=_keep_activation)
filtered_activation2d_backward.register_autograd(_activation_double_gradient, setup_context=_keep_activation_backward)
