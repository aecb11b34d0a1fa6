"""Images that pipelines hold beside their latents and that have to move along: masks, conditions of ControlNets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError

__all__ = ["CONDITIONS", "Conditions"]

_INPAINTING = ("mask", "masked_image_latents")
CONDITIONS: dict[str, tuple[str, ...]] = {
    "FluxControlNetPipeline": ("control_image",),
    "StableDiffusionControlNetImg2ImgPipeline": ("control_image",),
    "StableDiffusionControlNetPipeline": ("image",),
    "StableDiffusionInpaintPipeline": _INPAINTING,
    "StableDiffusionInstructPix2PixPipeline": ("image_latents",),
    "StableDiffusionXLControlNetImg2ImgPipeline": ("control_image",),
    "StableDiffusionXLControlNetPipeline": ("image",),
    "StableDiffusionXLInpaintPipeline": _INPAINTING,
    "StableDiffusionXLPAGInpaintPipeline": _INPAINTING,
}
"""Pipeline -> the tensors it shows to a callback, takes back, and hands to its networks at the next step."""


class Conditions:
    """The images of one run, as they were before any motion: they are always moved from there."""

    def __init__(self, pipeline: Any, given: dict[str, Any], beside: Sequence[str]) -> None:
        names = next((CONDITIONS[k.__name__] for k in type(pipeline).__mro__ if k.__name__ in CONDITIONS), ())
        self.batch = len(given["latents"])
        missing = [name for name in names if name not in given]
        if missing:
            raise ArgumentError(
                f"{type(pipeline).__name__} holds images beside its latents, which have to move too: "
                + (
                    f"pass callback_on_step_end_tensor_inputs={['latents', *names]}"
                    if set(names) <= set(beside)
                    else f"make the callback with beside={list(names)}"
                )
            )
        if names == _INPAINTING and pipeline.unet.config["in_channels"] == pipeline.unet.config["out_channels"]:
            raise ArgumentError(
                f"a {type(pipeline).__name__} whose network was not made for inpainting puts the unmoved image back at "
                f"every step; use an inpainting network (9 channels)"
            )
        self.images: dict[str, Tensor] = {n: given[n] for n in names if isinstance(given[n], Tensor)}
        if len(self.images) < len(names):
            raise ArgumentError("several conditions (MultiControlNet) cannot be moved; use one")

    def moved(self, move: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Each image after `move` of as many as there are latents; guidance holds them twice. Values stay in their
        range."""
        found = {}
        for name, image in self.images.items():
            parts = [move(part) for part in image.split(self.batch)]
            found[name] = torch.cat(parts).clamp(image.min(), image.max())
        return found
