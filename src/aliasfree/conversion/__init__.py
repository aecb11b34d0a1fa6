"""One-call conversion of diffusers models, and its undoing."""

from aliasfree.conversion.convert import convert, revert
from aliasfree.conversion.converted_module import Converted, register_block
from aliasfree.conversion.models import (
    AliasFreeAutoencoderKL,
    AliasFreeControlNetModel,
    AliasFreeStockUNet2DModel,
    AliasFreeUNet2DConditionModel,
    ModelMixin,
)
from aliasfree.conversion.proof import rolled_db
from aliasfree.conversion.report import ConversionReport, conversion_report
from aliasfree.conversion.tiling import tile, untile

__all__ = [
    "AliasFreeAutoencoderKL",
    "AliasFreeControlNetModel",
    "AliasFreeStockUNet2DModel",
    "AliasFreeUNet2DConditionModel",
    "ConversionReport",
    "Converted",
    "ModelMixin",
    "conversion_report",
    "convert",
    "register_block",
    "revert",
    "rolled_db",
    "tile",
    "untile",
]
