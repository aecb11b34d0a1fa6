"""diffusers models that are converted when they are built, so that saving and loading them keeps the conversion.

`convert` makes a stock model one of these. Their config is the stock model's and the entries `alias_free`,
`alias_free_padding_mode`, `alias_free_feed_forward`, `alias_free_inputs`, `alias_free_attention_rate` and
`alias_free_tile`; their weights have the stock model's names.
Four are written out below; every other model class of diffusers has one by the name of AliasFree and its own, made when
it is first asked for.

A saved pipeline names its parts by module and class. The module of these is given as `aliasfree`, so that after
`import aliasfree` diffusers can load them.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import diffusers
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from aliasfree.config import Config
from aliasfree.conversion.operation import Conversion, conversion_of, operate
from aliasfree.errors import ArgumentError
from aliasfree.ops.resample import Padding

__all__ = [
    "AliasFreeAutoencoderKL",
    "AliasFreeControlNetModel",
    "AliasFreeStockUNet2DModel",
    "AliasFreeUNet2DConditionModel",
    "ModelMixin",  # diffusers looks here for it to see how a saved part is loaded
    "counterpart",
]

PREFIX = "AliasFree"


def _init(stock: type[ModelMixin]) -> Callable[..., None]:
    """`__init__` of the converted counterpart. diffusers reads the arguments off its signature: theirs and ours."""

    def init(
        self: Any,
        *args: Any,
        alias_free: str | dict[str, Any] | Config = "D-hq",
        alias_free_padding_mode: Padding | None = None,
        alias_free_feed_forward: bool = False,
        alias_free_inputs: Any = None,
        alias_free_attention_rate: int = 1,
        alias_free_tile: str = "",
        **kwargs: Any,
    ) -> None:
        options = (alias_free_padding_mode, alias_free_feed_forward, alias_free_inputs, alias_free_attention_rate)
        conversion = Conversion.of(alias_free, *options, alias_free_tile)
        stock.__init__(self, *args, **kwargs)
        operate(self, conversion)
        self.register_to_config(**conversion.to_config())

    theirs = list(inspect.signature(stock.__init__).parameters.values())
    ours = [p for p in inspect.signature(init).parameters.values() if p.name.startswith("alias_free")]
    init.__signature__ = inspect.Signature(theirs + ours)  # type: ignore[attr-defined]
    return init


def _from_unet(stock: Any) -> Any:
    """`from_unet` of a ControlNet's converted counterpart: converted as the UNet is."""

    def from_unet(cls: Any, unet: Any, *args: Any, **kwargs: Any) -> Any:
        conversion = conversion_of(unet)
        if conversion is None:
            raise ArgumentError(f"the unet is not converted; use {stock.__name__}.from_unet, or convert(unet) first")
        conversion = replace(conversion, inputs=None)  # those were a UNet's
        made = inspect.unwrap(stock.from_unet.__func__)(stock, unet, *args, **kwargs)
        operate(made, conversion)
        made.__class__ = cls
        made.register_to_config(**conversion.to_config())
        return made

    return classmethod(from_unet)


class AliasFreeStockUNet2DModel(UNet2DModel):
    """A converted `UNet2DModel` of diffusers (`AliasFreeUNet2DModel` is the paper's network). Arguments: its own,
    `alias_free` (config name or `Config`), `alias_free_padding_mode` and `alias_free_feed_forward` as in `convert`.

    >>> from diffusers import UNet2DModel
    >>> from aliasfree import AliasFreeStockUNet2DModel, convert
    >>> small = dict(block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, sample_size=16)
    >>> blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)
    >>> model = convert(UNet2DModel(**small, **blocks), "D-hq")
    >>> type(model).__name__
    'AliasFreeStockUNet2DModel'
    >>> model.save_pretrained("unet")
    >>> AliasFreeStockUNet2DModel.from_pretrained("unet").config["alias_free"]
    'D-hq'
    """

    __init__ = _init(UNet2DModel)


class AliasFreeUNet2DConditionModel(UNet2DConditionModel):
    """A converted `UNet2DConditionModel`; arguments as for `AliasFreeStockUNet2DModel`.

    >>> from aliasfree import AliasFreeUNet2DConditionModel
    >>> small = dict(block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, sample_size=16)
    >>> blocks = dict(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)
    >>> model = AliasFreeUNet2DConditionModel(**small, **blocks, cross_attention_dim=8, alias_free="D-hq")
    >>> model.config["alias_free"]
    'D-hq'
    """

    __init__ = _init(UNet2DConditionModel)


class AliasFreeAutoencoderKL(AutoencoderKL):
    """A converted `AutoencoderKL`; arguments as for `AliasFreeStockUNet2DModel`.

    >>> import torch
    >>> from aliasfree import AliasFreeAutoencoderKL
    >>> model = AliasFreeAutoencoderKL(block_out_channels=(8,), norm_num_groups=4, alias_free="C-hq")
    >>> tuple(model(torch.zeros(1, 3, 16, 16)).sample.shape)
    (1, 3, 16, 16)
    """

    __init__ = _init(AutoencoderKL)


class AliasFreeControlNetModel(ControlNetModel):
    """A converted `ControlNetModel`; arguments as for `AliasFreeStockUNet2DModel`.

    >>> from aliasfree import AliasFreeControlNetModel
    >>> small = dict(block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, cross_attention_dim=8)
    >>> blocks = dict(down_block_types=("DownBlock2D",) * 2, mid_block_type="UNetMidBlock2D")
    >>> model = AliasFreeControlNetModel(**small, **blocks, alias_free="B-hq", alias_free_padding_mode="circular")
    >>> model.config["alias_free_padding_mode"]
    'circular'
    """

    __init__ = _init(ControlNetModel)
    from_unet = _from_unet(ControlNetModel)


ROUND_TRIP: dict[type[nn.Module], type[nn.Module]] = {}
"""stock model -> its subclass that is converted when it is built."""

SPATIAL_TILING = re.compile(r"enable_tiling|_?(spatial_)?tiled_(en|de)code")
"""Methods of autoencoders that cut planes into overlapping pieces."""


def _refuse_pieces(converted: Any, stock: type) -> None:
    """Let an autoencoder whose planes are a torus refuse to cut them into pieces, whose blended edges are a seam."""

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            conversion = conversion_of(self)
            if conversion is not None and any(conversion.filters.around):
                raise ArgumentError(
                    "VAE tiling works on overlapping pieces and blends them, which would put seams into a seamless "
                    "image: disable_tiling(), and use smaller images or enable_slicing()"
                )
            return method(self, *args, **kwargs)

        return run

    for name in dir(stock):
        if SPATIAL_TILING.fullmatch(name):
            setattr(converted, name, guarded(getattr(stock, name)))


def _enter(converted: Any, stock: type[nn.Module]) -> None:
    converted._stock_class = stock  # what `undo` gives a model back
    ROUND_TRIP[stock] = converted
    _refuse_pieces(converted, stock)


for _class in (
    AliasFreeStockUNet2DModel,
    AliasFreeUNet2DConditionModel,
    AliasFreeAutoencoderKL,
    AliasFreeControlNetModel,
):
    _class.__module__ = "aliasfree"
    _enter(_class, _class.__bases__[0])


def counterpart(stock: type) -> type[nn.Module] | None:
    """The class that a converted model of the class `stock` becomes; None = it is no model class of diffusers."""
    if stock not in ROUND_TRIP:
        known = issubclass(stock, ModelMixin) and getattr(diffusers, stock.__name__, None) is stock
        if not known:
            return None
        about = f"A converted `{stock.__name__}` of diffusers; arguments as for `AliasFreeStockUNet2DModel`."
        entries: dict[str, Any] = {"__init__": _init(stock), "__module__": "aliasfree", "__doc__": about}
        if hasattr(stock, "from_unet"):
            entries["from_unet"] = _from_unet(stock)
        _enter(type(f"{PREFIX}{stock.__name__}", (stock,), entries), stock)
    return ROUND_TRIP[stock]
