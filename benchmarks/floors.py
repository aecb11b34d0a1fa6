"""Two floors under every op: no program that computes it so can be faster.

Memory-bound floor: a plain copy that moves as many bytes (half of them read, half written) as the op must when it
reads and writes everything once; timed in the same rounds. In planes of the input's size, for factor f:

    filtered activation   forward 2 (x in, y out)           backward 3 more (x and dy in, dx out: only x is kept)
    upsampling            forward 1 + f^2                   backward f^2 + 1 more
    downsampling          forward 1 + 1/f^2                 backward 1/f^2 + 1 more

Arithmetic floor: the multiply-adds of the polyphase algorithm over the rate of multiply-adds that a cached float32
matrix product reaches, plus the evaluations of the activation over the rate of the plain activation on a cached tensor,
both read in the same round. For a kernel of T x T taps that is a sum of R outer products (`separable_terms`), one
resampling step costs, per pixel of the lower rate,

    min(T^2,  R T (1 + f))          directly, or one axis after the other

multiply-adds. A filtered activation takes two steps and f^2 evaluations; its backward pass three (the upsampled input
again, the adjoint of each filter) and f^2 evaluations of the derivative. Edges count as if they were inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from aliasfree.filters import FilterSpec, separable_terms
from benchmarks.timing import Function, Readings, Samples

__all__ = ["Operation", "Work", "arithmetic_floor", "probes", "step_multiply_adds", "work"]

Operation = Literal["filtered GELU", "upsampling", "downsampling"]

_PRODUCT_SIDE = {"cpu": 512, "cuda": 4096}
_CACHED_ELEMENTS = {"cpu": 2**18, "cuda": 2**22}


@dataclass(frozen=True)
class Work:
    """What an op must do at least.

    planes          moved, in units of the input
    multiply_adds   in all
    evaluations     of the activation, in all
    derivatives     of the activation, in all
    """

    planes: float
    multiply_adds: float
    evaluations: int = 0
    derivatives: int = 0


def step_multiply_adds(spec: FilterSpec, factor: int = 2, *, up: bool) -> int:
    """Multiply-adds of one resampling step per pixel of the lower rate."""
    taps, terms = spec.taps, len(separable_terms(spec, factor, up=up))
    return min(taps * taps, terms * taps * (1 + factor))


def work(operation: Operation, spec: FilterSpec, shape: tuple[int, ...], *, backward: bool, factor: int = 2) -> Work:
    """Least work of an op on an input of `shape`, forward, or forward and backward."""
    elements = int(torch.Size(shape).numel())
    up, down = (step_multiply_adds(spec, factor, up=direction) for direction in (True, False))
    area = factor**2
    if operation == "upsampling":
        return Work((1 + area) * (1 + backward), elements * up * (1 + backward))
    if operation == "downsampling":
        low = elements / area
        return Work((1 + 1 / area) * (1 + backward), low * down * (1 + backward))
    multiply_adds = elements * (up + down + backward * (2 * up + down))
    return Work(2 + 3 * backward, multiply_adds, elements * area, elements * area * backward)


def probes(least: Work, elements: int, dtype: torch.dtype, device: torch.device) -> dict[str, Function]:
    """What is timed beside an op on an input of `elements` numbers: "memory floor", and for the rates of the arithmetic
    floor "product", "evaluation" and "derivative"."""
    source = torch.randn(round(elements * least.planes / 2), device=device).to(dtype)
    target = torch.empty_like(source)
    side, cached = _PRODUCT_SIDE[device.type], _CACHED_ELEMENTS[device.type]
    a, b, c = (torch.randn(side, side, device=device) for _ in range(3))
    x, gradient = (torch.randn(cached, device=device).to(dtype) for _ in range(2))
    return {
        "memory floor": lambda: target.copy_(source),
        "product": lambda: torch.mm(a, b, out=c),
        "evaluation": lambda: F.gelu(x),
        "derivative": lambda: torch.ops.aten.gelu_backward(gradient, x),
    }


def arithmetic_floor(samples: Samples, least: Work, device: torch.device) -> Readings:
    """Seconds in each round."""
    side, elements = _PRODUCT_SIDE[device.type], _CACHED_ELEMENTS[device.type]
    activation = least.evaluations * samples["evaluation"] + least.derivatives * samples["derivative"]
    return samples["product"] * least.multiply_adds / side**3 + activation / elements
