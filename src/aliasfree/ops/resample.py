"""Band-limited up- and downsampling of planes.

    y = upsample2d(x):    1. insert factor-1 zeros after every sample of each axis
                          2. filter with the kernel (times factor^2 for gain "unity")
    y = downsample2d(x):  1. filter with the kernel   2. keep every factor-th sample

Neither is carried out that way: the zeros are never multiplied and the dropped samples never computed. The literal
algorithm stands beside each op as `..._reference`.

Even kernels are pixel-centred: output pixel i of an upsampling lies at (i + 0.5) / factor - 0.5. Odd kernels and
kernels of gain "none" keep the published code's alignment (sample 0 on pixel 0).
"""

from __future__ import annotations

from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.filters import FilterSpec
from aliasfree.ops import custom_ops
from aliasfree.ops.padding import PADDINGS, Padding
from aliasfree.ops.reference import downsample2d_reference, upsample2d_reference

__all__ = ["Padding", "downsample2d", "downsample2d_reference", "upsample2d", "upsample2d_reference"]


def upsample2d(
    x: Tensor,
    filter: FilterSpec | str,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> Tensor:
    """Upsample (N, C, H, W) to (N, C, factor H, factor W).

    filter    a FilterSpec for this rate, or the name of one ("hq", "2N", ...)
    factor    integer >= 2
    padding   what lies outside the plane: "zeros", "circular" or "reflect"; "ideal" is always periodic
    backend   "auto" = the fastest that can (`aliasfree.ops.explain` tells which); "numba", "triton", "torch", or
              "reference" (the literal algorithm); $ALIASFREE_BACKEND stands for "auto"

    Dtype, device and memory format are those of x; differentiable in x. Raises ShapeError, ArgumentError,
    ConfigError and BackendError. Source: arXiv 2411.09174, section on alias-free resampling.

    >>> import torch
    >>> from aliasfree import upsample2d
    >>> y = upsample2d(torch.ones(1, 3, 8, 8), "hq", padding="circular")
    >>> tuple(y.shape), torch.allclose(y, torch.ones_like(y))
    ((1, 3, 16, 16), True)
    """
    return custom_ops.run("upsample2d", x, check_arguments(x, filter, factor, padding), backend)


def downsample2d(
    x: Tensor,
    filter: FilterSpec | str,
    factor: int = 2,
    padding: Padding = "zeros",
    backend: str = "auto",
) -> Tensor:
    """Downsample (N, C, H, W) to (N, C, ceil(H / factor), ceil(W / factor)); arguments as for `upsample2d`.

    For gain "unity" this is the adjoint of `upsample2d` divided by factor^2 (padding "zeros" and "circular").

    >>> import torch
    >>> from aliasfree import downsample2d
    >>> stripes = torch.tensor([1.0, -1.0]).repeat(16, 8)[None, None]
    >>> bool((stripes[..., ::2, ::2] == 1).all())  # without a filter they fold to a constant
    True
    >>> bool(downsample2d(stripes, "hq", padding="circular").abs().max() < 0.01)
    True
    """
    return custom_ops.run("downsample2d", x, check_arguments(x, filter, factor, padding), backend)


def check_arguments(x: Tensor, filter: FilterSpec | str, factor: int, padding: str) -> tuple[FilterSpec, int, str]:
    """The checked arguments, the filter by its description. Raises ShapeError, ArgumentError, ConfigError."""
    if x.ndim != 4:
        raise ShapeError(f"expected images of shape (N, C, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ShapeError(f"expected a floating-point tensor, got {x.dtype}; scale integer images first")
    if not isinstance(factor, int) or factor < 2:
        raise ArgumentError(f"a resampling factor is an integer >= 2, not {factor!r}")
    if padding not in PADDINGS:
        raise ArgumentError(f"unknown padding {padding!r}{did_you_mean(str(padding), PADDINGS)}")
    return FilterSpec.named(filter) if isinstance(filter, str) else filter, factor, padding
