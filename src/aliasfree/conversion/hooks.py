"""Where diffusers would lose a conversion without a word: its methods are wrapped once a model is converted.

A pipeline notes the classes of its parts when they are given to it, and saves them under these: of a part that was
converted, tiled or reverted in its place afterwards the note is old, and the saved pipeline would load another model.
Its `save_pretrained` renews such notes now. What `from_unet` and `from_unet2d` of stock classes make of a converted
UNet is converted alike.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from diffusers import ControlNetModel, DiffusionPipeline, UNetMotionModel
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.controlnets.controlnet_xs import UNetControlNetXSModel
from torch import nn

from aliasfree.conversion.models import counterpart
from aliasfree.conversion.multi_model import MULTI_MODELS
from aliasfree.conversion.operation import BEFORE_CHANGES, conversion_of

__all__ = ["install", "renew"]

MODULAR = "diffusers.modular_pipelines.modular_pipeline"
OURS = "aliasfree"

MADE_OF_UNETS = {
    ControlNetModel: "from_unet",
    ControlNetUnionModel: "from_unet",
    SparseControlNetModel: "from_unet",
    UNetControlNetXSModel: "from_unet",
    UNetMotionModel: "from_unet2d",
}

_WRAPPED: set[type] = set()


def install() -> None:
    """Wrap the methods that are not wrapped yet."""
    modular = getattr(sys.modules.get(MODULAR), "ModularPipeline", None)  # half a second to import, and seldom used
    for pipeline in (DiffusionPipeline, modular):
        if pipeline is not None and pipeline not in _WRAPPED:
            pipeline.save_pretrained = _renewing(pipeline.save_pretrained)
            _WRAPPED.add(pipeline)
    for stock, name in MADE_OF_UNETS.items():
        if stock not in _WRAPPED:
            setattr(stock, name, classmethod(_made_alike(getattr(stock, name).__func__)))
            _WRAPPED.add(stock)


BEFORE_CHANGES.append(install)


def renew(pipeline: Any) -> None:
    """Let a pipeline note the classes that its parts have now, where one of the two is converted."""
    for name, noted in dict(pipeline.config).items():
        part = getattr(pipeline, name, None) if isinstance(noted, tuple | list) and len(noted) > 1 else None
        if not isinstance(part, nn.Module):
            continue
        model: nn.Module = getattr(part, "_orig_mod", part)  # compiled
        _note_multi_model(model)
        kind = type(model)
        if noted[1] != kind.__name__ and OURS in (noted[0], kind.__module__):
            now = kind.__module__.partition(".")[0], kind.__name__
            more = [spec | {"type_hint": now} for spec in noted[2:]]  # a modular pipeline's
            pipeline.register_to_config(**{name: (*now, *more)})


def _note_multi_model(model: nn.Module) -> None:
    """Several ControlNets or adapters in one are of a class that loads each as it was."""
    for stock, (ours, _) in MULTI_MODELS.items():
        if type(model) in (stock, ours):
            some = any(conversion_of(one) is not None for one in model.modules())
            model.__class__ = ours if some else stock


def _renewing(save: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(save)
    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> Any:
        renew(self)
        return save(self, *args, **kwargs)

    return save_pretrained


def _made_alike(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(cls: type[nn.Module], unet: Any, *args: Any, **kwargs: Any) -> Any:
        ours = None if cls.__module__ == OURS or conversion_of(unet) is None else counterpart(cls)
        if ours is None:
            return make(cls, unet, *args, **kwargs)
        return getattr(ours, make.__name__)(unet, *args, **kwargs)

    return made
