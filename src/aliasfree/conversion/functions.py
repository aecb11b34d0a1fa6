"""Parts of diffusers that resample or distort planes by calling functions in their `forward`.

Each becomes a class with the stock `forward`, in which `F` is `Filtered`: the same functions, and those that alias
replaced. Another part takes one line in `_PARTS`.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoUpsampleCausal3D
from diffusers.models.autoencoders.autoencoder_kl_magvit import EasyAnimateUpsampler3D
from diffusers.models.upsampling import CogVideoXUpsample3D
from torch import Tensor, nn

from aliasfree.conversion.modules import Converted
from aliasfree.conversion.treatment import Treatment, on_planes

__all__ = ["BY_FUNCTIONS"]


class Filtered:
    """`torch.nn.functional` with alias-free resampling of planes (N, C, H, W) and of videos, frame by frame."""

    def __init__(self, treatment: Treatment) -> None:
        self.how = treatment

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)

    def interpolate(self, x: Tensor, scale_factor: Any = None, mode: str = "nearest", **others: Any) -> Tensor:
        """Nearest-neighbour upsampling by whole factors; frames are repeated as before."""
        factors = list(scale_factor) if isinstance(scale_factor, tuple | list) else [scale_factor] * (x.ndim - 2)
        time, factor = factors[:-2], int(factors[-1])
        if factor > 1:
            x = on_planes(x, (x.ndim - 2, x.ndim - 1), lambda planes: self.how.interpolate(planes, factor))
        if any(f != 1 for f in time):
            x = F.interpolate(x, scale_factor=(*map(float, time), 1.0, 1.0), mode=mode, **others)
        return x

    def pixel_shuffle(self, x: Tensor, factor: int) -> Tensor:
        return self.how.low_pass(F.pixel_shuffle(x, factor), factor)

    def pixel_unshuffle(self, x: Tensor, factor: int) -> Tensor:
        return F.pixel_unshuffle(self.how.low_pass(x, factor), factor)


class AliasFreeByFunctions(Converted):
    """A part whose functions are filtered."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        stock: Any = next(c for c in type(self).__mro__ if not issubclass(c, Converted))
        stock = stock.forward
        names = {**stock.__globals__, "F": Filtered(self._treatment)}
        function = FunctionType(stock.__code__, names, "forward", stock.__defaults__, stock.__closure__)
        function.__kwdefaults__ = stock.__kwdefaults__
        return function(self, *args, **kwargs)


class AliasFreeDCDownBlock2d(AliasFreeByFunctions, DCDownBlock2d): ...


class AliasFreeDCUpBlock2d(AliasFreeByFunctions, DCUpBlock2d): ...


class AliasFreeHunyuanVideoUpsampleCausal3D(AliasFreeByFunctions, HunyuanVideoUpsampleCausal3D): ...


class AliasFreeEasyAnimateUpsampler3D(AliasFreeByFunctions, EasyAnimateUpsampler3D): ...


class AliasFreeCogVideoXUpsample3D(AliasFreeByFunctions, CogVideoXUpsample3D): ...


_PARTS: tuple[type[AliasFreeByFunctions], ...] = (
    AliasFreeDCDownBlock2d,
    AliasFreeDCUpBlock2d,
    AliasFreeHunyuanVideoUpsampleCausal3D,
    AliasFreeEasyAnimateUpsampler3D,
    AliasFreeCogVideoXUpsample3D,
)
BY_FUNCTIONS: dict[type[nn.Module], type[Converted]] = {cls.__bases__[1]: cls for cls in _PARTS}
"""stock class -> what it becomes in configs that filter resampling."""
