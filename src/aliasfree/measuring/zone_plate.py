"""The zone plate, and what a picture becomes when a config's network makes it half as large and large again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aliasfree.config import Config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["down_and_up", "zone_plate"]


def zone_plate(side: int = 192) -> Tensor:
    """cos(pi r^2 / side), r pixels from the middle: (1, 1, side, side) in [-1, 1].

    Its local frequency is r / side cycles a pixel along r, so it reaches Nyquist at the middles of the edges and half
    of it, what half the pixels can hold, half way there.
    """
    import torch

    line = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    return torch.cos(np.pi * (line[:, None] ** 2 + line**2) / side)[None, None]


def down_and_up(name: str, image: Tensor) -> Tensor:
    """An image (N, C, H, W), H and W multiples of 4, after the down- and upsampling of the config's own layers.

    The plane is reflected at its edges, or periodic where the config asks for that. Configs A and C: 2x2 max pool, and
    bilinear with corners aligned. Raises ConfigError.

    >>> from aliasfree.measuring.zone_plate import down_and_up, zone_plate
    >>> tuple(down_and_up("D-hq", zone_plate(64)).shape)
    (1, 1, 64, 64)
    """
    import torch

    from aliasfree.nn.layers import Layers

    config = Config.parse(name)
    layers = Layers(config, "circular" if config.traits.periodic else "reflect")
    with torch.no_grad():
        y: Tensor = layers.upsample()(layers.downsample()(image))
    return y
