"""Several ControlNets or adapters in one module, some of them converted.

diffusers saves each in a folder of its own, and loads all of them as stock ones; these load each as it was.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import diffusers
from diffusers import ControlNetModel, ControlNetUnionModel, MultiAdapter, MultiControlNetModel, T2IAdapter, UNet2DModel
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from aliasfree.conversion.models import PREFIX, counterpart
from aliasfree.errors import ArgumentError

__all__ = ["MULTI_MODELS", "class_named"]


def _from_pretrained(one: type[ModelMixin]) -> Any:
    """`from_pretrained` of several models, stock ones of which are of the class `one`."""

    def from_pretrained(cls: Any, pretrained_model_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        first = last = os.fspath(pretrained_model_path)
        parts = []
        for i in itertools.count(1):
            if not Path(last).is_dir():
                break
            kind: Any = one
            kind = class_named(kind.load_config(last)["_class_name"]) or one
            parts.append(kind.from_pretrained(last, **kwargs))
            # MultiAdapter writes the third as adapter_1_2
            names = f"{first}_{i}", f"{last}_{i}"
            last = next((name for name in names if Path(name).is_dir()), names[0])
        if not parts:
            raise ArgumentError(f"there is no folder {first} with a {one.__name__}")
        return cls(parts)

    return classmethod(from_pretrained)


def _loading_each(stock: type[ModelMixin], one: type[ModelMixin]) -> type[ModelMixin]:
    about = f"A `{stock.__name__}` of diffusers, converted parts of which come back converted."
    entries = {"from_pretrained": _from_pretrained(one), "__module__": "aliasfree", "__doc__": about}
    return type(f"AliasFree{stock.__name__}", (stock,), entries)


MULTI_MODELS: dict[type[ModelMixin], tuple[type[ModelMixin], type[ModelMixin]]] = {
    stock: (_loading_each(stock, one), one)
    for stock, one in (
        (MultiControlNetModel, ControlNetModel),
        (MultiControlNetUnionModel, ControlNetUnionModel),
        (MultiAdapter, T2IAdapter),
    )
}
"""stock class -> its subclass that loads each part as it was, and the stock class of the parts."""


def class_named(name: str) -> type[nn.Module] | None:
    """The converted class of this name, as "AliasFreeVQModel"; None = there is none."""
    for converted, _ in MULTI_MODELS.values():
        if converted.__name__ == name:
            return converted
    stock = getattr(diffusers, name.removeprefix(PREFIX), None) if name.startswith(PREFIX) else None
    if not isinstance(stock, type) or stock is UNet2DModel:  # AliasFreeUNet2DModel is the paper's network
        return None
    return counterpart(stock)
