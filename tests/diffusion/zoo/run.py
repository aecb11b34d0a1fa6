"""Sampling from the small random pipelines, and what their networks are shown meanwhile."""

from __future__ import annotations

from inspect import signature

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from aliasfree.diffusion import MotionCallback, conditions, layouts


def draw(pipe, inputs, callback=None, size=(16, 16), **more):
    """Latents after two steps, as the pipeline keeps them."""
    taken = signature(pipe.__call__).parameters
    options = {"num_inference_steps": 2, "output_type": "latent", "generator": torch.Generator().manual_seed(0)}
    if "height" in taken and ("image" not in inputs or layouts.layout_of(type(pipe)) == "packed"):
        options |= {"height": size[0], "width": size[1]}
    options = {k: v for k, v in options.items() if k in taken}
    last: list[torch.Tensor] = []

    def keep(pipeline, step_index, timestep, callback_kwargs):
        out = callback_kwargs if callback is None else callback(pipeline, step_index, timestep, callback_kwargs)
        last[:] = [out["latents"]]
        return out

    given = options | inputs | more
    torch.manual_seed(0)  # some encode their images with noise of the global generator
    if given["output_type"] not in ("latent", "pt"):  # a pipeline that only gives images
        pipe(**given, callback_on_step_end=keep)
        return last[0]
    out = pipe(**given, callback_on_step_end=callback)
    return out if isinstance(out, torch.Tensor) else next(iter(out.values()))


def as_planes(pipe, latents, size=None):
    """Latents as (N, C, H, W) by the pipeline's own functions, not by ours."""
    if latents.ndim == 3:
        latents = unpacked(pipe, latents, size)
    elif latents.ndim == 5 and latents.shape[1] == 1:  # channels last
        latents = latents[:, 0].permute(0, 3, 1, 2)
    if latents.ndim == 5:
        latents = latents.squeeze(2)
    if type(pipe).__name__.startswith(("Ernie", "Flux2")) and latents.shape[1] == 16:
        latents = pipe._unpatchify_latents(latents)
    return latents


def unpacked(pipe, tokens, size):
    side = round(tokens.shape[1] ** 0.5)
    rows, columns = (side, side) if size is None else (size[0] // 4, size[1] // 4)
    own = getattr(pipe, "_unpack_latents_no_patch", getattr(pipe, "_unpack_latents", None))
    if own is None:  # Flux 2, whose own asks for the places of tokens
        return tokens.reshape(len(tokens), rows, columns, -1).permute(0, 3, 1, 2)
    taken, scale = signature(own).parameters, pipe.vae_scale_factor
    for cell in (scale, 2 * scale):
        given = {"height": rows * cell, "width": columns * cell, "vae_scale_factor": scale, "patch_size": 2}
        try:
            return own(tokens, **{name: value for name, value in given.items() if name in taken})
        except RuntimeError:  # other sizes than those of tokens of one cell
            continue
    raise AssertionError(f"{type(pipe).__name__} does not unpack its own latents")


class Watched(MotionCallback):
    """A motion that tells what images the networks are shown beside the latents, from the second step on."""

    def __init__(self, **motion) -> None:
        super().__init__(**motion)
        self.seen: list[torch.Tensor] = []
        self.hooks: list = []

    def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
        out = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
        if step_index == 0:  # hooks run in the order of their making: after the motion's
            for part in pipeline.components.values():
                if isinstance(part, nn.Module):
                    self.hooks.append(part.register_forward_pre_hook(self._look, with_kwargs=True))
        return out

    def done(self) -> list[torch.Tensor]:
        """What was seen, as planes, call by call."""
        for hook in self.hooks:
            hook.remove()
        return self.seen

    def _look(self, network, args, kwargs) -> None:
        names = list(signature(network.forward).parameters)
        given = dict(zip(names, args, strict=False)) | kwargs
        for name in conditions.NAMES:
            value = given.get(name)
            for each in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(each, torch.Tensor):
                    self.seen.append(each if each.ndim == 4 else self._layout.planes(each))
        first = given[names[0]]
        if isinstance(first, torch.Tensor) and first.ndim >= 3:
            shown = self._layout.planes(first[:, : self._layout.count] if first.ndim == 3 else first)
            behind = shown[:, self._layout.channels :]
            if behind.shape[1] == self._layout.channels + 4:  # a mask, two by two pixels in one
                self.seen.append(pixel_shuffle(behind[:, -4:], 2))
                behind = behind[:, :-4]
            if behind.shape[1]:
                self.seen.append(behind)
