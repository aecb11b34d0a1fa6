"""diffusers models that are converted when they are built, so that saving and loading them keeps the conversion.

`convert` makes a stock model one of these. Their config is the stock model's and the entries `alias_free`,
`alias_free_padding_mode` and `alias_free_feed_forward`; their weights have the stock model's names.

A saved pipeline names its parts by module and class. The module of these is given as `aliasfree`, so that after
`import aliasfree` diffusers can load them.
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
        alias_free_inputs: Any = None,
        **kwargs: Any,
    ) -> None:
        conversion = Conversion.of(alias_free, alias_free_padding_mode, alias_free_feed_forward, alias_free_inputs)
        stock.__init__(self, *args, **kwargs)
        operate(self, conversion)
        self.register_to_config(**conversion.to_config())

    theirs = list(inspect.signature(stock.__init__).parameters.values())
    ours = [p for p in inspect.signature(init).parameters.values() if p.name.startswith("alias_free")]
    init.__signature__ = inspect.Signature(theirs + ours)  # type: ignore[attr-defined]
    return init


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


for _class in (
    AliasFreeStockUNet2DModel,
    AliasFreeUNet2DConditionModel,
    AliasFreeAutoencoderKL,
    AliasFreeControlNetModel,
):
    _class.__module__ = "aliasfree"
    ROUND_TRIP[_class.__bases__[0]] = _class
