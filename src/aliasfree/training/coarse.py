"""The first steps of a training at half the side: the lower half of the frequencies of the same process.

Half as many pixels each way cost a quarter of the time and less. A low-passed image at half the side, times 2, has at
each frequency the power that the whole image has there, relative to white noise of unit variance; so noise of unit
variance makes of it what the low-pass and the factor 2 make of the noised whole image. Time step, noise level and
spectrum keep their meaning, and the network goes on at the whole side with what it knows of layout and classes.
After the progressive growing of Karras et al. 2018, arXiv 1710.10196, whose scales have networks of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aliasfree.nn import Frame, measure_spectrum
from aliasfree.nn.preconditioning import Spectrum
from aliasfree.ops import downsample2d

__all__ = ["coarse_frame", "coarse_images", "coarse_spectrum"]

FACTOR = 2


def coarse_images(x: Tensor) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] as those of the process at half the side: (N, C, H/2, W/2) in about [-2, 2].

    >>> import torch
    >>> from aliasfree.training.coarse import coarse_images
    >>> coarse_images(torch.full((1, 1, 32, 32), 0.5)).mean().item()
    1.0
    """
    return FACTOR * downsample2d(x, "hq", FACTOR, padding="reflect")


def coarse_frame(frame: Frame | None) -> Frame | None:
    """The same frame in pixels of half the size."""
    if frame is None:
        return None
    down, right = (torch.as_tensor(amount) / FACTOR for amount in frame.translate)
    return Frame(frame.rotate, (down, right), frame.zoom)


def coarse_spectrum(images: Tensor, radial: bool) -> Spectrum:
    """The spectrum of the coarse images of uint8 images (N, C, H, W), for the preconditioning."""
    from aliasfree.data import unit_range

    return measure_spectrum(coarse_images(unit_range(images)), radial=radial)


def size_of(images: Any) -> tuple[int, int]:
    """(height, width) at half the side."""
    return images.shape[-2] // FACTOR, images.shape[-1] // FACTOR
