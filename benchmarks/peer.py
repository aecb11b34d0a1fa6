"""The paper's published code, from a checkout that the user gives: its UNets under our names and weights.

The published UNet lies in `modules/ddpm_models.py` and imports its siblings as `modules....`; it needs pandas,
torchvision, matplotlib and tqdm. Nothing of it is part of this project.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from aliasfree.config import Config
from aliasfree.errors import ArgumentError
from aliasfree.models import AliasFreeUNet2DModel
from aliasfree.models.reference import translate_name

__all__ = ["PublishedUNet", "published_unet"]

UNET_FILE = Path("modules", "ddpm_models.py")
VARIANTS = {"A": 0, "B": 1, "C": 2, "D": 3}
TOLERANCE = 1e-4
"""Largest difference from our outputs, relative to their largest, at which it is taken to be the same network."""


class PublishedUNet(nn.Module):
    """Gives the published UNet the call and the result of ours."""

    def __init__(self, unet: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.unet, self.device = unet, device

    def forward(self, sample: Tensor, timestep: Tensor | float) -> UNet2DOutput:
        """Predict the noise in `sample` (N, C, H, W) at `timestep`, a number or (N,)."""
        t = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        return UNet2DOutput(sample=self.unet(sample, t))


def published_unet(checkout: str, model: AliasFreeUNet2DModel) -> PublishedUNet:
    """The published network of the config of `model`, with its weights; checked to give the same output.

    Raises ArgumentError when the checkout is not one, needs a package that is missing, has no such config, or
    computes something else.
    """
    config = Config.parse(model.config["alias_free"])
    width, image_size = model.outc.in_channels, model.config["sample_size"]
    if config.letter != "A" and str(config) != f"{config.letter}-2N":
        raise ArgumentError(f"the published code has no config {config}: compare A or D-2N")
    side = image_size if isinstance(image_size, int) else image_size[0]
    if side != width:
        raise ArgumentError(f"the published network is as wide as its images, {side}, not {width}")
    filters = {"kernel_size": 3, "kaiser_beta": 2, "omega_c_down": math.pi / 2, "omega_c_up": math.pi / 2}
    with _checkout(checkout) as module, contextlib.redirect_stdout(io.StringIO()):
        unet = module.UNet(
            c_in=model.config["in_channels"],
            c_out=model.config["out_channels"],
            image_size=side,
            device=str(model.device),
            f_settings=filters,
            variant=VARIANTS[config.letter],
        )
    weights = model.state_dict()
    unet.load_state_dict({name: weights[translate_name(name)] for name in unet.state_dict()})
    published = PublishedUNet(unet.to(model.device), model.device).eval()
    _check_equal(published, model)
    return published


@contextlib.contextmanager
def _checkout(path: str) -> Iterator[Any]:
    """Its module of UNets, imported from there and from nowhere else; `sys.path` and `sys.modules` as before."""
    root = Path(path).expanduser().resolve()
    if not (root / UNET_FILE).is_file():
        raise ArgumentError(
            f"no {UNET_FILE.as_posix()} in {path}: give --peer the root of a checkout of the published code"
        )
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "modules"}
    sys.path.insert(0, str(root))
    try:
        yield importlib.import_module("modules.ddpm_models")
    except ModuleNotFoundError as error:
        raise ArgumentError(
            f"the published code in {path} needs the package {error.name!r}: install it, or leave out --peer"
        ) from error
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.split(".")[0] == "modules"]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _check_equal(published: PublishedUNet, model: AliasFreeUNet2DModel) -> None:
    """Both networks on one image. Raises ArgumentError when they differ."""
    side = model.config["sample_size"]
    height, width = (side, side) if isinstance(side, int) else side
    x = torch.randn(1, model.config["in_channels"], height, width, device=model.device)
    t = torch.tensor([500], device=model.device)
    with torch.no_grad():
        ours, theirs = model(x, t).sample, published(x, t).sample
    difference = float((ours - theirs).abs().max() / ours.abs().max())
    if not difference < TOLERANCE:
        raise ArgumentError(
            f"the checkout computes another network than ours (relative difference {difference:.1e}): "
            "give --peer the code published with arXiv 2411.09174"
        )
