"""What pipelines show their networks and that has to move along: conditions of ControlNets, masks, images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from aliasfree.diffusion.layouts import Layout

__all__ = ["Conditions"]

NAMES = ("controlnet_cond", "control_context", "effnet")
"""Arguments of networks that are images: of ControlNets, of Z-Image's, of decoders that enlarge other latents."""


def _arguments(network: nn.Module) -> list[str]:
    """Names of what a network is called with; those of a compiled one are its own."""
    return list(signature(getattr(network, "_orig_mod", network).forward).parameters)


class Conditions:
    """Hooks on the networks of a pipeline: what they are given comes moved, as far as the motion is by then.

    move     of planes (k N, C, H, W) of any size, from the start of the motion to where it is
    moving   whether anything has moved yet
    upright  True = the pipeline's own latents have not moved and do it here too; False = they have

    Moved are the channels that stand behind the latents' own in a network's first argument (masks, images), and the
    arguments of `NAMES`. The values of images stay in their range. Tokens of reference images that stand behind the
    latents' tokens are left: they are read as a prompt is.
    """

    def __init__(
        self, pipeline: Any, layout: Layout, move: Callable[[Tensor], Tensor], moving: Callable[[], bool], upright: bool
    ) -> None:
        self.layout, self.move, self.moving, self.upright = layout, move, moving, upright
        self.scheduler, self.timesteps = pipeline.scheduler, pipeline.scheduler.timesteps
        self.fills = int(getattr(pipeline, "vae_scale_factor", 0) or 0) ** 2
        networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
        self.hooks = [
            network.register_forward_pre_hook(partial(self._enter, _arguments(network)), with_kwargs=True)
            for network in networks
        ]

    def let_go(self) -> None:
        """Take the hooks off."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def _enter(self, names: list[str], network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del network
        if self.scheduler.timesteps is not self.timesteps:  # the run was interrupted, and another has begun
            self.let_go()
            return None
        if not self.moving():
            return None
        given = dict(zip(names, args, strict=False)) | kwargs
        if names and names[0] in given:
            given[names[0]] = self._first(given[names[0]])
        given |= {name: self._image(given[name]) for name in NAMES if name in given}
        own = tuple(given[name] for name in names[: len(args)])
        return own + args[len(names) :], {name: given[name] for name in kwargs}

    def _image(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._image(each) for each in value]
        if not isinstance(value, Tensor):
            return value
        planes = value if value.ndim == 4 else self.layout.planes(value)
        moved = self._bounded(planes)
        return moved if value.ndim == 4 else self.layout.back(moved, value)

    def _bounded(self, planes: Tensor) -> Tensor:
        if not planes.numel():
            return planes
        return self.move(planes).clamp(planes.amin((0, 2, 3), keepdim=True), planes.amax((0, 2, 3), keepdim=True))

    def _first(self, value: Any) -> Any:
        """The argument that holds the latents, and perhaps images behind them."""
        if isinstance(value, list):  # one a sample, (C, 1, H, W)
            if not self.upright or not all(isinstance(v, Tensor) and v.shape == value[0].shape for v in value):
                return value
            return list(self._first(torch.stack(value)).unbind(0))
        if not isinstance(value, Tensor) or not self._holds_latents(value):
            return value
        own = value[:, : self.layout.count] if value.ndim == 3 else value
        planes = self.layout.planes(own)
        latents, images = planes[:, : self.layout.channels], planes[:, self.layout.channels :]
        if not self.upright and not images.shape[1]:
            return value
        moved = self.layout.back(
            torch.cat([self.move(latents) if self.upright else latents, self._behind(images)], 1), own
        )
        return torch.cat([moved, value[:, self.layout.count :]], 1) if value.ndim == 3 else moved

    def _holds_latents(self, value: Tensor) -> bool:
        if value.ndim == 3:
            return self.layout.is_tokens and value.shape[1] >= self.layout.count
        if value.ndim not in (4, 5, 6) or self.layout.is_tokens or not value.is_floating_point():
            return False
        planes = self.layout.planes(value)
        return planes.shape[-2:] == self.layout.size and planes.shape[1] >= self.layout.channels

    def _behind(self, images: Tensor) -> Tensor:
        """Images in the places of latents; a mask may have all its pixels in the channels, as Flux Fill has it."""
        at = images.shape[1] - self.fills
        if self.layout.is_tokens and at == self.layout.channels:
            side = round(self.fills**0.5)
            mask = pixel_unshuffle(self._bounded(pixel_shuffle(images[:, at:], side)), side)
            return torch.cat([self._bounded(images[:, :at]), mask], 1)
        return self._bounded(images)
