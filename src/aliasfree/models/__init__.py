"""Networks."""

from aliasfree.models.unet import AliasFreeUNet2DModel

__all__ = ["AliasFreeUNet2DModel"]
