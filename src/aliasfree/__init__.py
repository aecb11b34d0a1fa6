"""aliasfree: diffusion models whose every resampling step obeys the sampling theorem.

Names are imported on first use, so that `import aliasfree` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "AliasFreeAutoencoderKL": "conversion",
    "AliasFreeControlNetModel": "conversion",
    "AliasFreePipeline": "diffusion",
    "AliasFreeStockUNet2DModel": "conversion",
    "AliasFreeUNet2DConditionModel": "conversion",
    "AliasFreeUNet2DModel": "models",
    "AliasfreeError": "errors",
    "Config": "config",
    "FilterSpec": "filters",
    "Frame": "nn",
    "ModelMixin": "conversion",  # diffusers asks for it when it loads one of the models above from a saved pipeline
    "PaperDDPMScheduler": "diffusion",
    "conversion_report": "conversion",
    "convert": "conversion",
    "downsample2d": "ops",
    "filtered_activation2d": "ops",
    "revert": "conversion",
    "rotate2d": "ops",
    "tile": "conversion",
    "translate2d": "ops",
    "untile": "conversion",
    "upsample2d": "ops",
    "zoom2d": "ops",
}

__all__ = [
    "AliasFreeAutoencoderKL",
    "AliasFreeControlNetModel",
    "AliasFreePipeline",
    "AliasFreeStockUNet2DModel",
    "AliasFreeUNet2DConditionModel",
    "AliasFreeUNet2DModel",
    "AliasfreeError",
    "Config",
    "FilterSpec",
    "Frame",
    "PaperDDPMScheduler",
    "__version__",
    "conversion_report",
    "convert",
    "downsample2d",
    "filtered_activation2d",
    "revert",
    "rotate2d",
    "tile",
    "translate2d",
    "untile",
    "upsample2d",
    "zoom2d",
]

if TYPE_CHECKING:
    from aliasfree.config import Config
    from aliasfree.conversion import (
        AliasFreeAutoencoderKL,
        AliasFreeControlNetModel,
        AliasFreeStockUNet2DModel,
        AliasFreeUNet2DConditionModel,
        conversion_report,
        convert,
        revert,
        tile,
        untile,
    )
    from aliasfree.diffusion import AliasFreePipeline, PaperDDPMScheduler
    from aliasfree.errors import AliasfreeError
    from aliasfree.filters import FilterSpec
    from aliasfree.models import AliasFreeUNet2DModel
    from aliasfree.nn import Frame
    from aliasfree.ops import (
        downsample2d,
        filtered_activation2d,
        rotate2d,
        translate2d,
        upsample2d,
        zoom2d,
    )


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"aliasfree.{_WHERE[name]}"), name)
    if name.startswith("AliasFree"):  # the converted counterpart of any other model class of diffusers
        found = importlib.import_module("aliasfree.conversion.multi_model").class_named(name)
        if found is not None:
            return found
    raise AttributeError(f"module 'aliasfree' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
