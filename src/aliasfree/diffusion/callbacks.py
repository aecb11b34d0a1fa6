"""Motion in diffusers' own pipelines, by the callback they call after every sampling step."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import torch
from diffusers.callbacks import PipelineCallback
from torch import Tensor

from aliasfree.diffusion.conditions import Conditions
from aliasfree.diffusion.history import move_history
from aliasfree.diffusion.layouts import LAYOUTS, TAKES_NOTHING_BACK, Layout, keeps_images_upright, layout_of
from aliasfree.diffusion.names import LATE, NOISE, NOISES
from aliasfree.diffusion.noise import MovedNoise
from aliasfree.diffusion.transforms import Motion, Window
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.ops.spatial import Amount, Method

__all__ = ["MotionCallback"]


class MotionCallback(PipelineCallback):
    """Rotates, shifts or zooms the latents of a diffusers pipeline while it samples.

        pipe(prompt, callback_on_step_end=MotionCallback(rotate=45, schedule=(0.5, 1)))

    rotate     degrees within +-3600, counter-clockwise positive; needs square images
    translate  pixels of the image down and right
    zoom       factor, 0.1 .. 10. All three are the whole motion, for all samples or a list with one for each
    method     "fourier" (keeps white noise white), "spline" or "bicubic"
    schedule   window of sampling progress over which the motion is spread, or a function from progress to share;
               None = `names.LATE`, since these pipelines' networks know no frame
    noise      "co-moving": noise the scheduler injects turns with the frame; or "independent"
    size       (height, width) of the image, for oblong images of pipelines that pack their latents; None = square
    layout     of the latents of a pipeline whose own functions do not tell: "planes" (N, C, H, W), or "packed" two by
               two into tokens (N, H/2 W/2, 4 C); None = it is refused

    These arguments and their defaults are `AliasFreePipeline`'s. The defaults were measured on pixel models and not on
    latents, and move all at once at 95 % of sampling: with fewer than 20 steps, after the last, so give a window then.

    What the scheduler remembers of past steps moves along, and so do masks and conditions of ControlNets, as the
    networks see them. A pipeline that takes a mask may put parts of an image back at every step: it keeps what it holds
    upright, noise included, its networks work in the moved frame, and the last step moves the result.
    May be used again, and for several runs one after the other.
    Raises ArgumentError for amounts out of range, a pipeline that motion is not for (`layouts.refusal`), and co-moving
    noise of a scheduler that keeps a noise tree.

    >>> from aliasfree.diffusion import MotionCallback
    >>> turning = MotionCallback(rotate=45.0, schedule=(0.5, 1.0))  # for pipe(prompt, callback_on_step_end=turning)
    >>> turning.tensor_inputs, turning.noise
    (['latents'], 'co-moving')
    """

    def __init__(
        self,
        rotate: Amount = 0.0,
        translate: tuple[Amount, Amount] = (0.0, 0.0),
        zoom: Amount = 1.0,
        method: Method = "fourier",
        schedule: Window | None = None,
        noise: str = NOISE,
        size: tuple[int, int] | None = None,
        layout: str | None = None,
    ) -> None:
        if noise not in NOISES:
            raise ArgumentError(f"unknown noise {noise!r}{did_you_mean(str(noise), NOISES)}")
        if layout is not None and layout not in LAYOUTS:
            raise ArgumentError(f"unknown layout {layout!r}{did_you_mean(str(layout), LAYOUTS)}")
        self.layout = layout
        self.noise, self.size, self.translate = noise, size, translate
        self._motion_of = partial(Motion.of, rotate, zoom=zoom, method=method, schedule=schedule or LATE)
        longest = max(torch.as_tensor(a).numel() for a in (rotate, *translate, zoom))
        self._each = longest > 1
        self._motion = self._motion_of(
            translate=translate, batch_size=longest
        )  # refuses bad amounts before any sampling
        self._done, self._upright = 0.0, False
        self._layout: Layout | None = None
        self._conditions: Conditions | None = None

    @property
    def tensor_inputs(self) -> list[str]:
        """What diffusers asks the pipeline for."""
        return ["latents"]

    def callback_fn(
        self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Called by the pipeline after step `step_index`: moves what it is given, and the scheduler's history."""
        del timestep
        latents = callback_kwargs["latents"]
        if step_index == 0:
            self._begin(pipeline, callback_kwargs)
        steps = getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps)
        last = step_index + 1 >= steps
        share = self._motion.schedule.share((step_index + 1) / steps)
        if self._upright:
            start, self._done = (0.0 if last else share), share
        else:
            start, self._done = self._done, share
        if share != start:
            move = partial(self._move, start=start, end=share)
            move_history(pipeline.scheduler, latents.shape, move)
            for name in ("latents", "denoised"):
                if name in callback_kwargs:
                    callback_kwargs[name] = move(callback_kwargs[name])
            if any(kind.__name__ in TAKES_NOTHING_BACK for kind in type(pipeline).__mro__):
                latents.copy_(callback_kwargs["latents"])
        if last:
            self._let_go(pipeline.scheduler)
            if self._upright and "mask_image" in pipeline._callback_tensor_inputs:
                callback_kwargs["mask_image"] = latents.new_zeros(1, 1, 1, 1)  # Kandinsky puts its image back once more
        elif self._motion:
            self._wrap(pipeline.scheduler, latents.shape)
        return callback_kwargs

    def __call__(
        self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """What diffusers calls; see `callback_fn`."""
        return self.callback_fn(pipeline, step_index, timestep, callback_kwargs)

    def _begin(self, pipeline: Any, given: dict[str, Any]) -> None:
        latents = given["latents"]
        if "denoised" in pipeline._callback_tensor_inputs and "denoised" not in given:
            raise ArgumentError(
                f"{type(pipeline).__name__} shows what it calls denoised: pass "
                f"callback_on_step_end_tensor_inputs=['latents', 'denoised'], so that it moves too"
            )
        self._let_go(pipeline.scheduler)
        self._done, self._upright = 0.0, keeps_images_upright(type(pipeline))
        self._layout = Layout(pipeline, latents, layout_of(type(pipeline), self.layout), self.size)
        pixels = self._layout.pixels()
        self._latent_shift = [torch.as_tensor(a, dtype=torch.float64) / pixels for a in self.translate]
        self._batch = len(latents)
        self._motion = self._scaled(1.0, self._batch)
        if not self._motion:
            return
        if self._upright and self.noise != "co-moving":
            raise ArgumentError(
                f"a {type(pipeline).__name__} may put parts of an image back at every step, so its noise moves along: "
                f"leave noise='co-moving'"
            )
        if not self._upright and self.noise == "co-moving" and hasattr(pipeline.scheduler, "noise_sampler"):
            raise ArgumentError(
                f"{type(pipeline.scheduler).__name__} draws its noise from a tree, so it cannot move along: use "
                f"noise='independent' or another scheduler"
            )
        self._conditions = Conditions(
            pipeline, self._layout, self._move_planes, moving=lambda: self._done != 0.0, upright=self._upright
        )

    def _move(self, x: Tensor, start: float, end: float) -> Tensor:
        """What has the latents' layout."""
        assert self._layout is not None  # `_begin` has found it
        planes = self._layout.planes(x)
        exact = planes if planes.dtype == torch.float64 else planes.float()
        return self._layout.back(self._motion.move(exact, start, end).to(x.dtype), x)

    def _move_planes(self, planes: Tensor) -> Tensor:
        """Planes of any size from the start of the motion to where it is; guidance holds a batch several times."""
        assert self._layout is not None  # `_begin` has found it
        scale = planes.shape[-1] / self._layout.size[-1]
        motion = self._motion if scale == 1 else self._scaled(scale, self._batch)
        exact = planes if planes.dtype == torch.float64 else planes.float()
        parts = [motion.move(part, 0.0, self._done) for part in exact.split(self._batch)]
        return torch.cat(parts).to(planes.dtype)

    def _scaled(self, scale: float, batch: int) -> Any:
        """The motion of planes that are so many times as large as the latents."""
        dy, dx = ((shift * scale).tolist() for shift in self._latent_shift)
        return self._motion_of(translate=(dy, dx), batch_size=batch)

    def _wrap(self, scheduler: Any, shape: torch.Size) -> None:
        """Let the scheduler's next step inject noise of the frame as it is now, or work in the upright frame."""
        vars(scheduler).pop("step", None)
        if self._done == 0.0 or not (self._upright or self.noise == "co-moving"):
            return
        done, plain, timesteps = self._done, scheduler.step, scheduler.timesteps

        @functools.wraps(plain)
        def step(*args: Any, **kwargs: Any) -> Any:
            if scheduler.timesteps is not timesteps:  # the run was interrupted, and another has begun
                self._let_go(scheduler)
                return plain(*args, **kwargs)
            if not self._upright:
                with MovedNoise(partial(self._move, start=0.0, end=done), shape, each=self._each):
                    return plain(*args, **kwargs)
            if args:
                return plain(self._move(args[0], done, 0.0), *args[1:], **kwargs)
            return plain(**kwargs | {"model_output": self._move(kwargs["model_output"], done, 0.0)})

        scheduler.step = step

    def _let_go(self, scheduler: Any) -> None:
        """Give a scheduler its own `step` back, and networks what they are given."""
        vars(scheduler).pop("step", None)
        if self._conditions is not None:
            self._conditions.let_go()
            self._conditions = None
