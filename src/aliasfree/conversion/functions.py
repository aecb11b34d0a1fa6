"""Parts of diffusers that resample or distort planes by calling functions in their `forward`.

Each becomes a class with the stock `forward`, in which `F` is `Filtered`: the same functions, and those that alias
replaced, or that pad a plane which is tiled. Another part takes one class here.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, ClassVar

import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import (
    HunyuanVideoCausalConv3d,
    HunyuanVideoUpsampleCausal3D,
)
from diffusers.models.autoencoders.autoencoder_kl_magvit import EasyAnimateDownsampler3D, EasyAnimateUpsampler3D
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from diffusers.models.downsampling import CogVideoXDownsample3D
from diffusers.models.upsampling import CogVideoXUpsample3D
from torch import Tensor

from aliasfree.conversion.converted_module import Converted, Rule, register_block
from aliasfree.conversion.plane_filters import PlaneFilters, on_planes

__all__ = ["AliasFreeByFunctions", "AliasFreePadsByFunctions"]


class Filtered:
    """`torch.nn.functional` with alias-free resampling of planes (N, C, H, W) and of videos, frame by frame, and the
    padding of a plane that is tiled."""

    def __init__(self, filters: PlaneFilters) -> None:
        self.filters = filters

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)

    def interpolate(self, x: Tensor, scale_factor: Any = None, mode: str = "nearest", **others: Any) -> Tensor:
        """Nearest-neighbour upsampling by whole factors; frames are repeated as before."""
        if not self.filters.config.filters_resampling:
            return F.interpolate(x, scale_factor=scale_factor, mode=mode, **others)
        factors = list(scale_factor) if isinstance(scale_factor, tuple | list) else [scale_factor] * (x.ndim - 2)
        time, factor = factors[:-2], int(factors[-1])
        if factor > 1:
            x = on_planes(x, (x.ndim - 2, x.ndim - 1), lambda planes: self.filters.interpolate(planes, factor))
        if any(f != 1 for f in time):
            x = F.interpolate(x, scale_factor=(*map(float, time), 1.0, 1.0), mode=mode, **others)
        return x

    def pad(self, x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
        """Of planes and videos; frames are padded as before."""
        pad = tuple(pad)
        if not self.filters.tile or x.ndim not in (4, 5) or not any(pad[:4]):
            return F.pad(x, pad, mode, value)
        x = self.filters.pad(x, (*pad, 0, 0)[:4], mode)
        if not any(pad[4:]):
            return x
        return F.pad(x, (0, 0, 0, 0, *pad[4:]), mode, value)

    def pixel_shuffle(self, x: Tensor, factor: int) -> Tensor:
        y = F.pixel_shuffle(x, factor)
        return self.filters.low_pass(y, factor) if self.filters.config.filters_resampling else y

    def pixel_unshuffle(self, x: Tensor, factor: int) -> Tensor:
        return F.pixel_unshuffle(
            self.filters.low_pass(x, factor) if self.filters.config.filters_resampling else x, factor
        )


class AliasFreeByFunctions(Converted):
    """A part whose functions are filtered."""

    change = "the functions it resamples by are filtered"
    rule: ClassVar[Rule] = "by_functions"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        stock: Any = next(c for c in type(self).__mro__ if not issubclass(c, Converted))
        stock = stock.forward
        names = {**stock.__globals__, "F": Filtered(self._filters)}
        function = FunctionType(stock.__code__, names, "forward", stock.__defaults__, stock.__closure__)
        function.__kwdefaults__ = stock.__kwdefaults__
        return function(self, *args, **kwargs)


@register_block
class AliasFreeDCDownBlock2d(AliasFreeByFunctions, DCDownBlock2d): ...


@register_block
class AliasFreeDCUpBlock2d(AliasFreeByFunctions, DCUpBlock2d): ...


@register_block
class AliasFreeHunyuanVideoUpsampleCausal3D(AliasFreeByFunctions, HunyuanVideoUpsampleCausal3D): ...


@register_block
class AliasFreeEasyAnimateUpsampler3D(AliasFreeByFunctions, EasyAnimateUpsampler3D): ...


@register_block
class AliasFreeCogVideoXUpsample3D(AliasFreeByFunctions, CogVideoXUpsample3D): ...


class AliasFreePadsByFunctions(AliasFreeByFunctions):
    """A part that pads planes by a function; it changes where they are tiled."""

    rule: ClassVar[Rule] = "pads_by_functions"


@register_block
class AliasFreeWanCausalConv3d(AliasFreePadsByFunctions, WanCausalConv3d): ...


@register_block
class AliasFreeQwenImageCausalConv3d(AliasFreePadsByFunctions, QwenImageCausalConv3d): ...


@register_block
class AliasFreeHunyuanVideoCausalConv3d(AliasFreePadsByFunctions, HunyuanVideoCausalConv3d): ...


@register_block
class AliasFreeEasyAnimateDownsampler3D(AliasFreePadsByFunctions, EasyAnimateDownsampler3D): ...


@register_block
class AliasFreeCogVideoXDownsample3D(AliasFreePadsByFunctions, CogVideoXDownsample3D): ...
