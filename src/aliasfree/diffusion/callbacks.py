"""Motion in diffusers' own pipelines, by the callback they call after every sampling step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from diffusers.callbacks import PipelineCallback
from torch import Tensor

from aliasfree.diffusion.conditions import CONDITIONS, Conditions
from aliasfree.diffusion.history import move_history
from aliasfree.diffusion.noise import MovedNoise
from aliasfree.diffusion.transforms import Motion, Window
from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.ops.spatial import Amount, Method
from aliasfree.sampling import LATE, NOISE, NOISES

__all__ = ["PIPELINES", "MotionCallback"]

PLANES, PACKED = LAYOUTS = ("planes", "packed")
PIPELINES: dict[str, str] = dict.fromkeys(
    (
        *(name for name in CONDITIONS if not name.startswith("Flux")),
        "AuraFlowPipeline",
        "CogView4Pipeline",
        "LatentConsistencyModelImg2ImgPipeline",
        "LatentConsistencyModelPipeline",
        "Lumina2Pipeline",
        "SanaPAGPipeline",
        "SanaPipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3PAGImg2ImgPipeline",
        "StableDiffusion3PAGPipeline",
        "StableDiffusion3Pipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionPAGImg2ImgPipeline",
        "StableDiffusionPAGPipeline",
        "StableDiffusionPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLPAGImg2ImgPipeline",
        "StableDiffusionXLPAGPipeline",
        "StableDiffusionXLPipeline",
        "ZImageImg2ImgPipeline",
        "ZImagePipeline",
    ),
    PLANES,
) | dict.fromkeys(
    (
        "ChromaImg2ImgPipeline",
        "ChromaPipeline",
        "FluxControlNetPipeline",
        "FluxImg2ImgPipeline",
        "FluxPipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImagePipeline",
    ),
    PACKED,
)
"""Pipelines that motion was tested in, and how they keep their latents: "planes" (N, C, H, W), or "packed" into
tokens (N, H/2 W/2, 4 C). Of those that hold other images beside the latents, the ones of `CONDITIONS` are among them;
those for videos are not."""

HELD = ("mask_image", "control_image", "controlnet_conditioning_scale", "adapter_conditioning_scale", "depth_map")
"""Arguments of pipelines that hold images beside the latents, which would have to move too."""


class MotionCallback(PipelineCallback):
    """Rotates, shifts or zooms the latents of a diffusers pipeline while it samples.

        pipe(prompt, callback_on_step_end=MotionCallback(rotate=45, schedule=(0.5, 1)))

    rotate     degrees within +-3600, counter-clockwise positive; needs square images
    translate  pixels of the image down and right
    zoom       factor, 0.1 .. 10. All three are the whole motion, for all samples or a list with one for each
    method     "fourier" (keeps white noise white), "spline" or "bicubic"
    schedule   window of sampling progress over which the motion is spread, or a function from progress to share;
               None = `sampling.LATE`, since these pipelines' networks know no frame
    noise      "co-moving": noise the scheduler injects turns with the frame; or "independent"
    size       (height, width) of the image, for oblong images of pipelines that pack their latents; None = square
    layout     of the latents of a pipeline that is not in `PIPELINES`: "planes" (N, C, H, W), or "packed" two by two
               into tokens (N, H/2 W/2, 4 C); None = it is refused
    beside     names of images that the pipeline holds beside its latents, which move too: `CONDITIONS` has them for
               each pipeline, ["mask", "masked_image_latents"] for inpainting, ["image"] or ["control_image"] for
               ControlNets

    These arguments and their defaults are `AliasFreePipeline`'s. The defaults were measured on pixel models and not on
    latents, and move all at once at 95 % of sampling: with fewer than 20 steps, after the last, so give a window then.

    What the scheduler remembers of past steps moves along. May be used again, and for several runs one after the other.
    Raises ArgumentError for amounts out of range, a pipeline not in `PIPELINES` without a `layout`, and co-moving noise
    of a scheduler that keeps a noise tree.

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
        beside: Sequence[str] = (),
    ) -> None:
        self.beside = beside
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
        self._done = 0.0
        self._beside: Conditions | None = None

    @property
    def tensor_inputs(self) -> list[str]:
        """What diffusers asks the pipeline for."""
        return ["latents", *self.beside]

    def callback_fn(
        self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Called by the pipeline after step `step_index`: moves what it is given, and the scheduler's history."""
        del timestep
        layout = _layout(pipeline, self.layout)
        latents = callback_kwargs["latents"]
        if latents.ndim != (4 if layout == PLANES else 3):
            raise ShapeError(
                f"latents of layout {layout!r} have {4 if layout == PLANES else 3} axes, not {latents.ndim}"
            )
        if step_index == 0:
            self._begin(pipeline, callback_kwargs)
        steps = getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps)
        share = self._motion.schedule.share((step_index + 1) / steps)
        if share != self._done:
            move = partial(self._move, start=self._done, end=share, unpack=self._unpack(pipeline, layout, latents))
            move_history(pipeline.scheduler, latents.shape, move)
            for name in ("latents", "denoised"):
                if name in callback_kwargs:
                    callback_kwargs[name] = move(callback_kwargs[name])
            if self._beside is not None:
                callback_kwargs |= self._beside.moved(
                    partial(
                        self._move_beside, share=share, latents=latents, unpack=self._unpack(pipeline, layout, latents)
                    )
                )
            self._done = share
        if self.noise == "co-moving":
            if step_index + 1 < steps:
                self._co_move(pipeline.scheduler, latents.shape, self._unpack(pipeline, layout, latents))
            else:
                _let_go(pipeline.scheduler)
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
        scale = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "movq_scale_factor", None)
        if scale is None:
            raise ArgumentError(
                f"{type(pipeline).__name__} does not tell how many pixels one of its latents stands for"
            )
        per_pixel = 1 / scale
        dy, dx = (torch.as_tensor(a, dtype=torch.float64) * per_pixel for a in self.translate)
        self._motion = self._motion_of(translate=(dy.tolist(), dx.tolist()), batch_size=len(latents))
        self._latent_shift = (dy, dx)
        self._done = 0.0
        self._beside = Conditions(pipeline, given, self.beside)
        _let_go(pipeline.scheduler)
        if self._motion and self.noise == "co-moving" and hasattr(pipeline.scheduler, "noise_sampler"):
            raise ArgumentError(
                f"{type(pipeline.scheduler).__name__} draws its noise from a tree, so it cannot move along: use "
                f"noise='independent' or another scheduler"
            )

    def _move(self, x: Tensor, start: float, end: float, unpack: _Unpack | None) -> Tensor:
        planes = x if unpack is None else unpack(x)
        exact = planes if planes.dtype == torch.float64 else planes.float()
        moved = self._motion.move(exact, start, end).to(x.dtype)
        return moved if unpack is None else unpack.pack(moved)

    def _move_beside(self, x: Tensor, share: float, latents: Tensor, unpack: _Unpack | None) -> Tensor:
        """Images held beside the latents, from the start."""
        if unpack is not None and x.ndim == 3:
            return self._move(x, 0.0, share, unpack)
        planes = latents if unpack is None else unpack(latents)
        scale = x.shape[-1] / planes.shape[-1]
        return self._scaled(scale, len(x)).move(x.float(), 0.0, share).to(x.dtype)

    def _scaled(self, scale: float, batch: int) -> Any:
        """The motion of planes that are so many times as large as the latents."""
        dy, dx = ((shift * scale).tolist() for shift in self._latent_shift)
        return self._motion_of(translate=(dy, dx), batch_size=batch)

    def _unpack(self, pipeline: Any, layout: str, latents: Tensor) -> _Unpack | None:
        return _Unpack.of(pipeline, latents, self.size) if layout == "packed" else None

    def _co_move(self, scheduler: Any, shape: torch.Size, unpack: _Unpack | None) -> None:
        """Let the scheduler's next step inject noise of the frame as it is now."""
        _let_go(scheduler)
        if self._done == 0.0:
            return
        move = partial(self._move, start=0.0, end=self._done, unpack=unpack)
        plain, timesteps = scheduler.step, scheduler.timesteps

        @functools.wraps(plain)
        def step(*args: Any, **kwargs: Any) -> Any:
            if scheduler.timesteps is not timesteps:  # the run was interrupted, and another has begun
                _let_go(scheduler)
                return plain(*args, **kwargs)
            with MovedNoise(move, shape, each=self._each):
                return plain(*args, **kwargs)

        scheduler.step = step


def _layout(pipeline: Any, given: str | None) -> str:
    for kind in type(pipeline).__mro__:
        if kind.__name__ in PIPELINES:
            return PIPELINES[kind.__name__]
    if given is not None:
        return given
    raise ArgumentError(
        f"motion was not tested in {type(pipeline).__name__}, which {_like(pipeline)}. Tested are "
        f"{', '.join(PIPELINES)}; AliasFreePipeline is there for unconditional models"
    )


def _like(pipeline: Any) -> str:
    """What an untested pipeline does, by its own methods, and so which `layout` it has, if any."""
    arguments = signature(type(pipeline).__call__).parameters
    held = [name for name in HELD if name in arguments]
    if held:
        return f"holds other images beside its latents ({', '.join(held)}), which would have to move too"
    if "num_frames" in arguments or "video" in arguments:
        return "makes videos"
    if hasattr(pipeline, "_unpack_latents"):
        if _packs_two_by_two(pipeline):
            return "packs its latents two by two: try MotionCallback(layout='packed')"
        return "packs its latents in a way of its own"
    return "does not pack its latents: if they are (N, C, H, W), try MotionCallback(layout='planes')"


def _packs_two_by_two(pipeline: Any) -> bool:
    planes = torch.arange(2.0 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    try:
        return torch.equal(pipeline._pack_latents(planes, *planes.shape), _Unpack(2, 3).pack(planes))
    except (TypeError, RuntimeError, AttributeError):
        return False


def _let_go(scheduler: Any) -> None:
    """Give a scheduler its own `step` back."""
    vars(scheduler).pop("step", None)


class _Unpack:
    """Latents packed 2x2 into tokens (N, H/2 W/2, 4 C), to planes (N, C, H, W); `pack` goes back."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    @classmethod
    def of(cls, pipeline: Any, tokens: Tensor, size: Sequence[int] | None) -> _Unpack:
        count = tokens.shape[1]
        if size is None:
            side = round(count**0.5)
            if side * side != count:
                raise ShapeError(f"{count} tokens are no square image; give MotionCallback size=(height, width)")
            return cls(side, side)
        height, width = (side // (2 * pipeline.vae_scale_factor) for side in size)
        if height * width != count:
            raise ShapeError(f"an image of {size[0]}x{size[1]} has {height * width} tokens, not {count}")
        return cls(height, width)

    def __call__(self, tokens: Tensor) -> Tensor:
        n, _, c = tokens.shape
        planes = tokens.reshape(n, self.height, self.width, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return planes.reshape(n, c // 4, 2 * self.height, 2 * self.width)

    def pack(self, planes: Tensor) -> Tensor:
        n, c = planes.shape[:2]
        cells = planes.reshape(n, c, self.height, 2, self.width, 2).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(n, self.height * self.width, 4 * c)
