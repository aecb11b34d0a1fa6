"""Layers: thin modules over the ops, and the blocks of the paper's UNet."""

from aliasfree.nn.attention import CrossCovarianceAttention, SelfAttention
from aliasfree.nn.blocks import DoubleConv, DownBlock, UpBlock, time_encoding
from aliasfree.nn.frame import Frame
from aliasfree.nn.layers import Layers
from aliasfree.nn.preconditioning import Spectrum, measure_spectrum
from aliasfree.nn.radial import DiscFilter2d, DiscWindow2d, RadialConv2d
from aliasfree.nn.resampling import BilinearUpsample2d, Downsample2d, FilteredActivation2d, Upsample2d

__all__ = [
    "BilinearUpsample2d",
    "CrossCovarianceAttention",
    "DiscFilter2d",
    "DiscWindow2d",
    "DoubleConv",
    "DownBlock",
    "Downsample2d",
    "FilteredActivation2d",
    "Frame",
    "Layers",
    "RadialConv2d",
    "SelfAttention",
    "Spectrum",
    "UpBlock",
    "Upsample2d",
    "measure_spectrum",
    "time_encoding",
]
