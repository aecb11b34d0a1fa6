"""What sampling will take of memory and disk, told before it begins."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError

if TYPE_CHECKING:
    from aliasfree.sampling.sampler import Sampler

__all__ = ["check_cost"]

_ACTIVATIONS = 120
"""Bytes that a forward pass holds at once for a pixel and channel of the first layer: 22 to 30 float32 numbers were
measured for A, D and T."""
_BLOCK = 4096
"""Bytes that the smallest file takes of a disk."""


def check_cost(sampler: Sampler, num: int, out: Path, *, kept: int, files: int, yes: bool) -> None:
    """Raise ArgumentError, saying what it will take, where sampling takes more memory or disk than is free.

    num    images sampled
    out    where they will lie
    kept   of them, how many are held in memory together
    files  of them, how many become a file each
    yes    do it all the same
    """
    if yes:
        return
    import psutil

    config, device = sampler.pipeline.unet.config, sampler.pipeline.device
    pixels, channels = math.prod(sampler.image_size), int(config["in_channels"])
    width = int(config.get("base_channels") or (config.get("block_out_channels") or [max(sampler.image_size)])[0])
    batch = min(num, sampler.settings.batch_size)
    needed = batch * pixels * width * _ACTIVATIONS
    there = psutil.virtual_memory().available
    if device.type != "cpu":
        import torch

        _compare("A batch of {:.3g} images", batch, needed, torch.cuda.mem_get_info(device)[0], "`batch_size`")
        needed = 0
    _compare("{:.3g} images", num, needed + 4 * kept * pixels * channels, there, "`batch_size` or `num`")
    place = next((p for p in out.absolute().parents if p.exists()), Path("/"))
    disk = files * max(_BLOCK, pixels * channels)
    _compare("{:.3g} images", files, disk, shutil.disk_usage(place).free, "`num`", what="disk")


def _compare(words: str, count: int, needed: int, there: int, smaller: str, what: str = "memory") -> None:
    if needed > there:
        raise ArgumentError(
            f"{words.format(float(count))} will take about {float(needed) / 1e9:,.0f} GB of {what}, and "
            f"{there / 1e9:,.0f} GB are free; choose a smaller {smaller}, or give `yes=True` to begin all the same."
        )
