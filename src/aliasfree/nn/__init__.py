"""Layers: thin modules over the ops, and the blocks of the paper's UNet."""

from aliasfree.nn.blocks import DoubleConv, DownBlock, SelfAttention, UpBlock, time_encoding
from aliasfree.nn.layers import BilinearUpsample2d, Downsample2d, FilteredActivation2d, Layers, Upsample2d

__all__ = [
    "BilinearUpsample2d",
    "DoubleConv",
    "DownBlock",
    "Downsample2d",
    "FilteredActivation2d",
    "Layers",
    "SelfAttention",
    "UpBlock",
    "Upsample2d",
    "time_encoding",
]
