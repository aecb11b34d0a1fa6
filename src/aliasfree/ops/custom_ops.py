"""The kernels as PyTorch custom ops: known to autograd, torch.compile, torch.export and opcheck.

Six ops in the namespace `aliasfree`: `upsample2d`, `downsample2d`, `filtered_activation2d` and the `..._backward` of
each. Filters are given as `FilterSpec.key`. `backend` is any name of `dispatch.NAMES`: the op chooses again when it
runs, because compilers, exported programs and gradients call it directly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aliasfree.ops.dispatch import call_of, choose, kernels, spec_of
from aliasfree.ops.memory_format import memory_format
from aliasfree.ops.plain import PlainBackend, double_backward

__all__ = ["downsample2d", "filtered_activation2d", "upsample2d"]


def _runner(op: str, x: Tensor, *arguments: Any, size: tuple[int, int] | None = None) -> Any:
    """The object that computes the op: the kernels of the backend that the last argument names, or the plain path.

    size  of the op's input, when x is the gradient of its output
    """
    *rest, backend = arguments
    name = choose(call_of(op, x, *rest, size=size), backend).name
    return PlainBackend(name) if name in ("torch", "reference") else kernels(op, name)


def _like(x: Tensor, height: Any, width: Any) -> Tensor:
    """An empty tensor of x's dtype and memory format."""
    n, c = x.shape[:2]
    return torch.empty((n, c, height, width), dtype=x.dtype, device=x.device, memory_format=memory_format(x))


custom_op = torch.library.custom_op


@custom_op("aliasfree::upsample2d", mutates_args=())
def upsample2d(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    run = _runner("upsample2d", x, spec, factor, padding, backend)
    return run.upsample2d(x, spec_of(spec), factor, padding)


@custom_op("aliasfree::upsample2d_backward", mutates_args=())
def upsample2d_backward(
    grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("upsample2d", grad, spec, factor, padding, backend, size=(height, width))
    return run.upsample2d_backward(grad, spec_of(spec), factor, padding, (height, width))


@custom_op("aliasfree::downsample2d", mutates_args=())
def downsample2d(x: Tensor, spec: str, factor: int, padding: str, backend: str) -> Tensor:
    run = _runner("downsample2d", x, spec, factor, padding, backend)
    return run.downsample2d(x, spec_of(spec), factor, padding)


@custom_op("aliasfree::downsample2d_backward", mutates_args=())
def downsample2d_backward(
    grad: Tensor, height: int, width: int, spec: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("downsample2d", grad, spec, factor, padding, backend, size=(height, width))
    return run.downsample2d_backward(grad, spec_of(spec), factor, padding, (height, width))


@custom_op("aliasfree::filtered_activation2d", mutates_args=())
def filtered_activation2d(
    x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("filtered_activation2d", x, activation, up, down, factor, padding, backend)
    return run.filtered_activation2d(x, activation, spec_of(up), spec_of(down), factor, padding)


@custom_op("aliasfree::filtered_activation2d_backward", mutates_args=())
def filtered_activation2d_backward(
    grad: Tensor, x: Tensor, activation: str, up: str, down: str, factor: int, padding: str, backend: str
) -> Tensor:
    run = _runner("filtered_activation2d", x, activation, up, down, factor, padding, backend)
    return run.filtered_activation2d_backward(grad, x, activation, spec_of(up), spec_of(down), factor, padding)


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
    gradients = double_backward(grad, seed, x, activation, spec_of(up), spec_of(down), factor, padding)
    return *gradients, *[None] * 6


filtered_activation2d.register_autograd(_activation_gradient, setup_context=_keep_activation)
filtered_activation2d_backward.register_autograd(_activation_double_gradient, setup_context=_keep_activation_backward)
