"""`convert` and `revert`: change a model in place, and change it back."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TypeVar

from diffusers import ConfigMixin
from diffusers.configuration_utils import FrozenDict
from torch import nn

from aliasfree.config import Config
from aliasfree.conversion.inputs import Inputs, inputs_to_config
from aliasfree.conversion.models import counterpart
from aliasfree.conversion.operation import (
    Conversion,
    PartIsLost,
    check_operable,
    check_undoable,
    conversion_of,
    operate,
    refuse_to_save,
    undo,
)
from aliasfree.errors import ArgumentError
from aliasfree.ops.resample import Padding

__all__ = ["convert", "enter_into_config", "forget", "revert"]

Model = TypeVar("Model", bound=nn.Module)


def convert(
    model: Model,
    config: str | Config = "D-hq",
    padding_mode: Padding | None = None,
    feed_forward: bool = False,
    inputs: Inputs | None = None,
    attention_rate: int = 1,
) -> Model:
    """Make every resampling step and nonlinearity of planes alias-free, in place. Returns the model.

    model         a diffusers model (UNet2DModel, UNet2DConditionModel, AutoencoderKL, ControlNetModel ...) or any
                  module built of known parts: strided convolutions, average pools, nearest-neighbour and bilinear
                  upsampling, activation modules
    config        letter: B resampling, C nonlinearities, D both, A neither; after the dash the filter. "T" = D with
                  filters that keep nothing at the Nyquist frequency, nonlinearities at twice the rate in training and
                  four times outside, feed_forward, and circular padding unless `padding_mode` says otherwise
    padding_mode  "zeros", "circular" or "reflect" for convolutions and filters alike; None = convolutions keep
                  theirs and filters find the plane reflected
    feed_forward  also filter the GEGLU of transformer blocks, which acts on tokens
    inputs        arguments of one call, in which the model is watched: a list, or by name (shapes count, values do
                  not). None = what the config of a diffusers model implies, or one image
    attention_rate   2 or 4 = attention over the pixels of planes is carried out at so many times their rate, with
                  16 or 256 times as many pairs of pixels; 1 = as it is

    Parameters, buffers and state-dict keys stay as they are: weights may be loaded before or after. `conversion_report`
    says what was done. A saved model remembers a conversion of the whole, not of a part: convert the whole model.
    Raises ArgumentError for a model that is converted, compiled, carries LoRA layers, or has modules whose `forward`
    was replaced on the object (by offloading, device maps, layerwise casting).

    >>> import torch
    >>> from aliasfree import convert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> x = torch.randn(1, 3, 16, 16)
    >>> before = model(x)
    >>> after = convert(model, "D-hq")(x)
    >>> tuple(after.shape), torch.equal(after, before)
    ((1, 8, 8, 8), False)
    """
    conversion = Conversion.of(config, padding_mode, feed_forward, inputs_to_config(inputs), attention_rate)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"expected a module, not {type(model).__name__}; of a pipeline convert the parts: convert(pipe.unet)"
        )
    if any("_stock_state" in m.__dict__ or conversion_of(m) is not None for m in model.modules()):
        raise ArgumentError(
            "this model, or a part of it, is converted already; revert(model) first (and tile it again afterwards, if "
            "it is tiled)"
        )
    check_operable(model)
    operate(model, conversion, inputs)
    if not any("_stock_state" in m.__dict__ for m in model.modules()) and conversion.filters.config.traits.is_filtered:
        warnings.warn(
            f"convert changed nothing in this {type(model).__name__}; str(conversion_report(model)) says why",
            stacklevel=2,
        )
    enter_into_config(model, conversion)
    return model


def revert(model: Model) -> Model:
    """Undo `convert` exactly, in place. Returns the model.

    Raises ArgumentError for a model that is not converted, or as `convert` does.

    >>> import torch
    >>> from aliasfree import convert, revert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> x = torch.randn(1, 3, 16, 16)
    >>> before = model(x)
    >>> torch.equal(revert(convert(model, "D-hq"))(x), before)
    True
    """
    conversion = conversion_of(model)
    if conversion is None:
        part = next((name for name, m in model.named_modules() if conversion_of(m) is not None), None)
        instead = "there is nothing to revert" if part is None else f"revert its part {part}, which is"
        raise ArgumentError(f"this model is not converted: {instead}")
    check_undoable(model)
    undo(model)
    forget(model, conversion)
    return model


def enter_into_config(model: nn.Module, conversion: Conversion) -> None:
    """Let a diffusers model know what it is, so that saving and loading it keeps the conversion."""
    if not isinstance(model, ConfigMixin):
        model.register_state_dict_pre_hook(PartIsLost())
        return
    converted = counterpart(type(model))
    if converted is not None:
        model.__class__ = converted
    else:  # from_pretrained of its class would give it back stock
        model.__dict__["save_pretrained"] = partial(refuse_to_save, type(model).__name__)
    model.register_to_config(**conversion.to_config())


def forget(model: nn.Module, conversion: Conversion) -> None:
    """Take a conversion out of a diffusers model's config."""
    if isinstance(model, ConfigMixin):
        entries = conversion.to_config()
        model._internal_dict = FrozenDict({k: v for k, v in model.config.items() if k not in entries})
