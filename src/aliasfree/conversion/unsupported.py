"""Why known kinds of modules cannot be converted as they are."""

from __future__ import annotations

from typing import Any

from diffusers.models.downsampling import FirDownsample2D
from diffusers.models.upsampling import FirUpsample2D, Upsample2D
from torch import nn

from aliasfree.conversion.plane_filters import FACTORS
from aliasfree.conversion.resampling import sides

__all__ = ["NEVER", "unsupported", "whole"]

_SIGNALS = {
    nn.Conv1d: "acts on signals", nn.ConvTranspose1d: "acts on signals", nn.MaxPool1d: "acts on signals",
    nn.AvgPool1d: "acts on signals", nn.LPPool1d: "acts on signals", nn.AdaptiveAvgPool1d: "acts on signals",
    nn.AdaptiveMaxPool1d: "acts on signals", nn.ConvTranspose3d: "resamples frames along with planes",
    nn.MaxPool3d: "resamples frames along with planes", nn.AvgPool3d: "resamples frames along with planes",
    nn.AdaptiveAvgPool3d: "pools to a fixed size", nn.AdaptiveMaxPool3d: "pools to a fixed size",
    nn.AdaptiveAvgPool2d: "pools to a fixed size", nn.AdaptiveMaxPool2d: "pools to a fixed size",
    nn.LPPool2d: "pools powers: not converted", nn.FractionalMaxPool2d: "pools at random places",
    nn.MaxUnpool2d: "puts values where maxima were", nn.Unfold: "makes tokens of patches",
    nn.Fold: "adds patches up", nn.RReLU: "a random slope",
}  # fmt: skip
"""Kinds that are never converted, and why."""
NEVER = tuple(_SIGNALS)


def unsupported(module: nn.Module) -> str:
    """Why a known kind of module cannot be converted as it is; "" = it can."""
    for kind, reason in _SIGNALS.items():
        if isinstance(module, kind):
            return reason
    if isinstance(module, nn.MaxPool2d):
        if module.return_indices:
            return "returns where the maxima were"
        return _unsupported_pool(module, sides(module.dilation))
    if isinstance(module, nn.AvgPool2d):
        return "divides by another number" if module.divisor_override is not None else _unsupported_pool(module, (1, 1))
    if isinstance(module, nn.ConvTranspose2d):
        strides = sides(module.stride)
        if strides[0] != strides[1] or strides[0] not in FACTORS:
            return f"stride {strides[0]}x{strides[1]}: only equal strides from 2 to {FACTORS[-1]} are converted"
    if isinstance(module, nn.PixelShuffle | nn.PixelUnshuffle):
        factor = getattr(module, "upscale_factor", None) or module.downscale_factor
        return "" if factor in FACTORS else f"by {factor}: only factors from 2 to {FACTORS[-1]} are converted"
    if isinstance(module, nn.Upsample):
        if module.align_corners or module.mode not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
            return f"{module.mode} upsampling{' with corners aligned' if module.align_corners else ''}"
        if module.size is None and not whole(sides(module.scale_factor)):
            return f"upsampling other than by 2 to {FACTORS[-1]}, rows and columns alike"
    if isinstance(module, Upsample2D) and module.use_conv_transpose:
        return "its transposed convolution is listed by itself"
    if isinstance(module, Upsample2D) and not module.interpolate:
        return "does not interpolate"
    if isinstance(module, FirUpsample2D | FirDownsample2D) and module.use_conv:
        return "its convolution is fused with its filter"
    return ""


def whole(factors: tuple[Any, Any]) -> bool:
    return factors[0] == factors[1] and factors[0] in FACTORS


def _unsupported_pool(module: Any, dilation: tuple[int, int]) -> str:
    window, stride, padding = sides(module.kernel_size), sides(module.stride), sides(module.padding)
    if any(a != b for a, b in (window, stride, padding, dilation)):
        return "a pool with oblong windows"
    if stride[0] not in FACTORS:
        return f"a pool with stride {stride[0]}: only 2 to {FACTORS[-1]} are converted"
    return "a padded pool that rounds its size up" if module.ceil_mode and padding[0] else ""
