"""Functional operations on planes (N, C, H, W); the plain PyTorch reference stands beside each."""

from aliasfree.ops.activation import ACTIVATIONS, filtered_activation2d, filtered_activation2d_reference
from aliasfree.ops.explain import explain
from aliasfree.ops.radial import (
    centre2d,
    disc_filter2d,
    disc_window2d,
    radial_conv2d,
    radial_conv2d_reference,
)
from aliasfree.ops.reference import downsample2d_reference, upsample2d_reference
from aliasfree.ops.resample import downsample2d, upsample2d
from aliasfree.ops.spatial import rotate2d, translate2d, zoom2d

__all__ = [
    "ACTIVATIONS",
    "centre2d",
    "disc_filter2d",
    "disc_window2d",
    "downsample2d",
    "downsample2d_reference",
    "explain",
    "filtered_activation2d",
    "filtered_activation2d_reference",
    "radial_conv2d",
    "radial_conv2d_reference",
    "rotate2d",
    "translate2d",
    "upsample2d",
    "upsample2d_reference",
    "zoom2d",
]
