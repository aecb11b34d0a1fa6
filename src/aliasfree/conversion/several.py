"""Several ControlNets or adapters in one module, some of them converted.

diffusers saves each in a folder of its own, and loads all of them as stock ones; these load each as it was.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from diffusers import ControlNetModel, ControlNetUnionModel, MultiAdapter, MultiControlNetModel, T2IAdapter
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from diffusers.models.modeling_utils import ModelMixin

from aliasfree.errors import ArgumentError

__all__ = ["SEVERAL"]


def _from_pretrained(one: type[ModelMixin]) -> Any:
    """`from_pretrained` of several models, stock ones of which are of the class `one`."""

    def from_pretrained(cls: Any, pretrained_model_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        from aliasfree.conversion.models import class_named

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


SEVERAL: dict[type[ModelMixin], tuple[type[ModelMixin], type[ModelMixin]]] = {
    stock: (_loading_each(stock, one), one)
    for stock, one in (
        (MultiControlNetModel, ControlNetModel),
        (MultiControlNetUnionModel, ControlNetUnionModel),
        (MultiAdapter, T2IAdapter),
    )
}
"""stock class -> its subclass that loads each part as it was, and the stock class of the parts."""
