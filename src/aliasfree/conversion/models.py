"""diffusers models that are converted from birth, so that saving, loading and sharing them keeps the conversion.

`convert` makes a stock model one of these. Their config is the stock model's and the entries `alias_free`,
`alias_free_padding_mode` and `alias_free_feed_forward`; their weights have the stock model's names.

A saved pipeline names its parts by module and class. These call themselves parts of `aliasfree`, so that
`import aliasfree` is all it takes to load one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from diffusers.models.modeling_utils import ModelMixin

from aliasfree.config import Config
from aliasfree.conversion.surgery import ROUND_TRIP, Conversion, operate
from aliasfree.ops.resample import Padding

__all__ = [
    "AliasFreeAutoencoderKL",
    "AliasFreeControlNetModel",
    "AliasFreeStockUNet2DModel",
    "AliasFreeUNet2DConditionModel",
    "ModelMixin",  # diffusers looks here for it to see how a saved part is loaded
]


def _init(stock: type[ModelMixin]) -> Callable[..., None]:
    """`__init__` of the converted counterpart. diffusers reads the arguments off its signature: theirs and ours."""

    def init(
        self: Any,
        *args: Any,
        alias_free: str | dict[str, Any] | Config = "D-hq",
        alias_free_padding_mode: Padding | None = None,
        alias_free_feed_forward: bool = False,
        **kwargs: Any,
    ) -> None:
        conversion = Conversion.of(alias_free, alias_free_padding_mode, alias_free_feed_forward)
        stock.__init__(self, *args, **kwargs)
        operate(self, conversion)
        self.register_to_config(**conversion.to_config())

    theirs = list(inspect.signature(stock.__init__).parameters.values())
    ours = [p for p in inspect.signature(init).parameters.values() if p.name.startswith("alias_free")]
    init.__signature__ = inspect.Signature(theirs + ours)  # type: ignore[attr-defined]
    return init


class AliasFreeStockUNet2DModel(UNet2DModel):
    """A converted `UNet2DModel` of diffusers (`AliasFreeUNet2DModel` is the paper's network). Arguments: its own,
    `alias_free` (config name or `Config`), `alias_free_padding_mode` and `alias_free_feed_forward` as in `convert`."""

    __init__ = _init(UNet2DModel)


class AliasFreeUNet2DConditionModel(UNet2DConditionModel):
    """A converted `UNet2DConditionModel`; arguments as for `AliasFreeStockUNet2DModel`."""

    __init__ = _init(UNet2DConditionModel)


class AliasFreeAutoencoderKL(AutoencoderKL):
    """A converted `AutoencoderKL`; arguments as for `AliasFreeStockUNet2DModel`."""

    __init__ = _init(AutoencoderKL)


class AliasFreeControlNetModel(ControlNetModel):
    """A converted `ControlNetModel`; arguments as for `AliasFreeStockUNet2DModel`."""

    __init__ = _init(ControlNetModel)


for _class in (
    AliasFreeStockUNet2DModel,
    AliasFreeUNet2DConditionModel,
    AliasFreeAutoencoderKL,
    AliasFreeControlNetModel,
):
    _class.__module__ = "aliasfree"
    ROUND_TRIP[_class.__bases__[0]] = _class
