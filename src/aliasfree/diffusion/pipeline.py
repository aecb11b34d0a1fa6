"""Sampling, upright or in motion: rotation-controlled sampling (arXiv 2411.09174, 'Config E') and its kin."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor

from aliasfree.config import Config
from aliasfree.diffusion.history import move_history
from aliasfree.diffusion.names import NOISE, NOISES, default_window
from aliasfree.diffusion.noise import Generators, MovedNoise, draw, per_sample_generators
from aliasfree.diffusion.transforms import Motion, Window
from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.nn.frame import Frame
from aliasfree.ops.spatial import Amount, Method
from aliasfree.pictures import to_uint8

__all__ = ["AliasFreePipeline", "AliasFreePipelineOutput"]


@dataclass
class AliasFreePipelineOutput(BaseOutput):
    """What `AliasFreePipeline` gives.

    images   as `output_type` says: a list of N PIL images, or float (N, H, W, C) or (N, C, H, W) in [0, 1]
    frames   the same for each kept step, as a list or with an axis in front; None unless `return_frames`

    >>> from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel, PaperDDPMScheduler
    >>> unet = AliasFreeUNet2DModel("A", sample_size=16, base_channels=4)
    >>> output = AliasFreePipeline(unet, PaperDDPMScheduler())(
    ...     batch_size=2, num_inference_steps=3, output_type="pt", return_frames=True
    ... )
    >>> tuple(output.images.shape), tuple(output.frames.shape)
    ((2, 3, 16, 16), (3, 2, 3, 16, 16))
    """

    images: Any
    frames: Any = None


class AliasFreePipeline(DiffusionPipeline):
    """Samples from a noise-predicting UNet with any scheduler, moving the frame while it samples.

    unet        forward(sample, t[, class_labels]).sample predicts the noise: `AliasFreeUNet2DModel`, diffusers'
                `UNet2DModel`, or what looks like them (`config`, `dtype`)
    scheduler   `PaperDDPMScheduler`, or any of diffusers' that predicts noise

    >>> from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel, PaperDDPMScheduler
    >>> from aliasfree.diffusion import sample_generators
    >>> unet = AliasFreeUNet2DModel("A", sample_size=16, in_channels=1, out_channels=1, base_channels=4)
    >>> pipeline = AliasFreePipeline(unet, PaperDDPMScheduler())
    >>> output = pipeline(
    ...     batch_size=2, num_inference_steps=3, rotate=[0.0, 45.0], generator=sample_generators(seed=0, indices=[7, 7])
    ... )
    >>> [image.size for image in output.images]
    [(16, 16), (16, 16)]
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        rotate: Amount = 0.0,
        translate: tuple[Amount, Amount] = (0.0, 0.0),
        zoom: Amount = 1.0,
        method: Method = "fourier",
        noise: str = NOISE,
        schedule: Window | None = None,
        class_labels: int | Sequence[int] | Tensor | None = None,
        guidance_scale: float = 1.0,
        generator: Generators = None,
        output_type: str = "pil",
        return_frames: bool = False,
        frame_every: int = 1,
        return_dict: bool = True,
        progress: Callable[[int, int], None] | None = None,
        eta: float = 0.0,
        latents: Tensor | None = None,
        step_noise: Sequence[Tensor] | Tensor | None = None,
        null_class: int | None = None,
    ) -> AliasFreePipelineOutput | tuple[Any, Any]:
        """Sample `batch_size` images.

        num_inference_steps   1 .. T-1; None = T-1, the paper's full length
        rotate                degrees within +-3600, counter-clockwise positive
        translate             pixels down, pixels right
        zoom                  factor, 0.1 .. 10. All three are the whole motion, for all samples or one for each: a list
                              of angles with equal generators samples one image at many angles in one batch
        method                "fourier" (keeps white noise white), "spline" (the paper's) or "bicubic"
        noise                 "co-moving": injected noise turns with the frame, so that an equivariant network gives the
                              moved image; or "independent" (the paper's)
        schedule              window (start, end) of sampling progress over which the motion is spread (start = end: all
                              at once, and (0, 0) before the first step), or a callable from progress to share; None =
                              (0, 1) for a motion that the network commutes with, the frame moving along (T: shifts, R:
                              turns), else `names.LATE`. The paper's way is schedule=(0, 1), method="spline",
                              noise="independent". After step i of N the progress is i/N, but i/T for
                              `PaperDDPMScheduler` at full length N = T-1: the paper's chain of T-1 steps of rotate/T,
                              which ends 1/T short
        class_labels          one class for all, or one per image; None = no class
        guidance_scale        classifier-free guidance s: eps_null + s (eps_class - eps_null); 1 = off
        generator             one per sample (`sample_generators`), or one, which gives each sample a seed; None =
                              torch's global one. An image depends on its own generator only, not on batch or device
        output_type           "pil" (uint8, fraction cut off as in the paper), "np" float (N, H, W, C) in [0, 1],
                              "pt" float (N, C, H, W) in [0, 1], or "latent": the last state as it is, (N, C, H, W)
        return_frames         also the states after every `frame_every`-th step and the last, in the same form, kept in
                              main memory: float32 each, 4 N C H W bytes a frame (a quarter of that for "pil")
        progress              called with (steps done, steps); None = a progress bar on the terminal
        eta                   of DDIM: 0 deterministic, 1 ancestral
        latents               starting noise (N, C, H, W), standard normal; None = drawn
        null_class            the class that stands for "no class" in guidance; None = our networks' row behind the last
        step_noise            noise to inject, (steps, N, C, H, W), turned too when co-moving; None = drawn

        The state is kept in float32 (float64 for a float64 UNet) whatever the UNet's dtype.
        Returns AliasFreePipelineOutput(images, frames) or the pair. Raises ArgumentError, ShapeError.
        """
        _check_choice("noise", noise, NOISES)
        _check_choice("output_type", output_type, ("pil", "np", "pt", "latent"))
        for name, count in (("batch_size", batch_size), ("frame_every", frame_every)):
            if not isinstance(count, Integral) or count < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, not {count!r}")
        if num_inference_steps is not None and not isinstance(num_inference_steps, Integral):
            raise ArgumentError(f"num_inference_steps must be a whole number, not {num_inference_steps!r}")
        for name, given in (("latents", latents), ("step_noise", step_noise)):
            if given is not None and not isinstance(given, Tensor):
                raise ArgumentError(f"{name} must be a tensor, not {type(given).__name__}: torch.as_tensor({name})")
        knows_frame = bool(self.unet.config.get("frame_features"))
        window = default_window(self._commutes(rotate, translate, zoom)) if schedule is None else schedule
        motion = Motion.of(rotate, translate, zoom, method, window, batch_size)
        co_moving = bool(motion) and noise == "co-moving"
        each = any(torch.as_tensor(amount).numel() > 1 for amount in (rotate, *translate, zoom))
        device = self._execution_device
        dtype = torch.float64 if self.unet.dtype == torch.float64 else torch.float32
        generators = per_sample_generators(generator, batch_size)
        null = self._null_class(null_class)
        labels = self._labels(class_labels, batch_size, guidance_scale, device, null)
        steps, shares = self._set_timesteps(num_inference_steps)
        times = self.scheduler.timesteps.to(device)  # the network's; the scheduler's stay where reading them is free
        parameters = inspect.signature(self.scheduler.step).parameters
        noise_name = self._noise_name(parameters, eta, co_moving)
        options: dict[str, Any] = {"eta": eta} if eta else {}
        if noise_name is None and "generator" in parameters:
            options["generator"] = generators

        shape = (batch_size, int(self.unet.config["in_channels"]), *self._size(latents))
        for given, expected in ((latents, shape), (step_noise, (steps, *shape))):
            if given is not None and np.shape(given)[: len(expected)] != expected:
                raise ShapeError(f"expected given noise of shape {expected}, got {tuple(np.shape(given))}")
        x = draw(generators, shape[1:], device, dtype) if latents is None else latents.to(device, dtype)
        x = x * getattr(self.scheduler, "init_noise_sigma", 1.0)  # flow matching starts from plain noise
        frames: list[Any] = []
        done = motion.schedule.share(0.0)
        x = motion.move(x, 0.0, done)
        with contextlib.nullcontext() if progress else self.progress_bar(total=steps) as bar:
            for i, t in enumerate(self.scheduler.timesteps):
                frame = motion.frame(done) if knows_frame else None
                eps = self._predict(x, t, times[i], labels, guidance_scale, frame, null)
                if noise_name:
                    injected = draw(generators, shape[1:], device, dtype) if step_noise is None else step_noise[i].to(x)
                    # the frame has turned by `done` so far
                    options[noise_name] = motion.move(injected, 0.0, done) if co_moving else injected
                draws_itself = co_moving and not noise_name and done
                to_frame = MovedNoise(partial(motion.move, start=0.0, end=done), x.shape, each)
                with to_frame if draws_itself else contextlib.nullcontext():
                    x = self.scheduler.step(eps, t, x, **options).prev_sample.to(dtype)
                share = motion.schedule.share((i + 1) / shares)
                if motion and share != done:
                    x = motion.move(x, done, share)
                    move_history(self.scheduler, x.shape, partial(motion.move, start=done, end=share))
                    done = share
                if return_frames and ((i + 1) % frame_every == 0 or i == steps - 1):
                    frames.append(_finish(x.cpu(), output_type))
                if progress:
                    progress(i + 1, steps)
                elif bar is not None:
                    bar.update()
        images = _finish(x, output_type)
        kept: Any = frames if return_frames else None
        if frames and output_type != "pil":
            kept = np.stack(frames) if output_type == "np" else torch.stack(frames)
        self.maybe_free_model_hooks()
        return AliasFreePipelineOutput(images, kept) if return_dict else (images, kept)

    def _set_timesteps(self, steps: int | None) -> tuple[int, int]:
        """Prepare the scheduler; the number of its steps, and of the shares a whole motion is cut into."""
        total = int(self.scheduler.config["num_train_timesteps"])
        count = total - 1 if steps is None else steps
        if not 1 <= count <= total - 1:
            raise ArgumentError(f"num_inference_steps must be in 1..{total - 1}, not {count}")
        self.scheduler.set_timesteps(count)
        times = self.scheduler.timesteps
        if not times.is_floating_point() and int(times.min()) < 0:
            raise ArgumentError(f"{type(self.scheduler).__name__} cannot do {count} steps: take another number")
        actual = len(times)  # second-order schedulers call the network twice a step
        return actual, getattr(self.scheduler, "motion_steps", actual)

    def _size(self, latents: Tensor | None) -> tuple[int, int]:
        """(height, width) of the images."""
        size = self.unet.config["sample_size"]
        if size is not None:
            return _pair(size)
        if latents is None or latents.ndim != 4:
            raise ArgumentError("this network has no sample_size: give the starting noise as `latents` (N, C, H, W)")
        return int(latents.shape[2]), int(latents.shape[3])

    def _null_class(self, given: int | None) -> int | None:
        """The class that stands for "no class": our networks have a row more for it, UNet2DModel has not."""
        classes = self.unet.config.get("num_class_embeds")
        if given is not None:
            if classes is None or not 0 <= given < getattr(self.unet.class_embedding, "num_embeddings", classes):
                raise ArgumentError(f"null_class is one of the network's classes, not {given}")
            return given
        if classes is not None and getattr(self.unet.class_embedding, "num_embeddings", 0) > classes:
            return int(classes)
        return None

    def _labels(self, labels: Any, n: int, scale: float, device: torch.device, null: int | None) -> Tensor | None:
        classes = self.unet.config.get("num_class_embeds")
        kind = self.unet.config.get("class_embed_type")
        has_null = classes is None or null is not None
        if not np.isfinite(scale):
            raise ArgumentError(f"guidance_scale must be finite, not {scale}")
        if labels is None:
            if scale != 1:
                raise ArgumentError("guidance_scale strengthens a class: give class_labels, or leave it at 1")
            if not has_null:
                raise ArgumentError(f"this network needs class_labels in 0..{classes - 1}")
            if kind is not None:
                raise ArgumentError(f"this network (class_embed_type {kind!r}) needs class_labels, numbers or vectors")
            return None
        if kind is not None:
            return self._embedded_labels(labels, n, scale, kind).to(device)
        if classes is None:
            raise ArgumentError("this model has no classes: leave out class_labels, or train it class-conditional")
        if scale != 1 and not has_null:
            raise ArgumentError(
                "this network was not trained without a class: leave guidance_scale at 1, or if one of its classes "
                "stands for none, give it as null_class"
            )
        given = torch.as_tensor(labels).reshape(-1)
        if given.is_floating_point() or given.dtype == torch.bool:
            raise ArgumentError(f"class labels are integers in 0..{classes - 1}, not {given.dtype}")
        if given.numel() not in (1, n):
            raise ArgumentError(f"expected one class label or {n}, got {given.numel()}")
        if int(given.min()) < 0 or int(given.max()) >= classes:
            raise ArgumentError(f"class labels must be in 0..{classes - 1}, not {sorted(set(given.tolist()))}")
        return given.long().expand(n).to(device)

    def _embedded_labels(self, labels: Any, n: int, scale: float, kind: str) -> Tensor:
        """Of networks that embed numbers ("timestep") or take vectors ("identity") for classes."""
        if scale != 1:
            raise ArgumentError(
                f"a network with class_embed_type {kind!r} has no null class: leave guidance_scale at 1"
            )
        given = torch.as_tensor(labels)
        width = 4 * self.unet.config["block_out_channels"][0]
        if kind == "identity" and (given.ndim == 0 or given.shape[-1] != width):
            raise ArgumentError(
                f"this network (class_embed_type 'identity') takes vectors of {width} numbers for classes"
            )
        given = given.reshape(-1) if kind == "timestep" else given.reshape(-1, width).to(self.unet.dtype)
        if len(given) not in (1, n):
            raise ArgumentError(f"expected one class label or {n}, got {len(given)}")
        return given.expand(n, *given.shape[1:])

    def _commutes(self, rotate: Amount, translate: tuple[Amount, Amount], zoom: Amount) -> bool:
        """Whether the network, which must know the frame, is built to commute with the motion."""
        config = self.unet.config
        if not config.get("frame_features"):
            return False
        turns, down, right, zooms = (
            bool((torch.as_tensor(amount) != still).any())
            for amount, still in ((rotate, 0), (translate[0], 0), (translate[1], 0), (zoom, 1))
        )
        return Config.parse(config["alias_free"]).commutes_with(turns=turns, shifts=down or right, zooms=zooms)

    def _predict(
        self,
        x: Tensor,
        t: Tensor,
        t_device: Tensor,
        labels: Tensor | None,
        scale: float,
        frame: Frame | None,
        null_class: int | None,
    ) -> Tensor:
        """The predicted noise, in the state's dtype; with guidance both predictions in one batch."""
        scaled = self.scheduler.scale_model_input(x, t) if hasattr(self.scheduler, "scale_model_input") else x
        sample = scaled.to(self.unet.dtype)
        given: dict[str, Any] = {} if frame is None else {"frame": frame}
        if labels is None:
            eps = self.unet(sample, t_device, **given).sample
        elif scale == 1:
            eps = self.unet(sample, t_device, class_labels=labels, **given).sample
        else:
            null = torch.full_like(labels, null_class if null_class is not None else 0)
            given = {} if frame is None else {"frame": frame.repeat(2)}
            both = self.unet(torch.cat([sample] * 2), t_device, class_labels=torch.cat([null, labels]), **given).sample
            eps_null, eps_class = both.to(x.dtype).chunk(2)
            eps = eps_null + scale * (eps_class - eps_null)
        if eps.shape != x.shape:
            raise ShapeError(f"the network turned {tuple(x.shape)} into {tuple(eps.shape)}; it must predict noise only")
        return eps.to(x.dtype)

    def _noise_name(self, parameters: Any, eta: float, co_moving: bool) -> str | None:
        """The name under which the scheduler takes its noise from outside, if it is going to inject any."""
        if not 0 <= eta <= 1:
            raise ArgumentError(f"eta must be in 0..1, not {eta}")
        if eta and "eta" not in parameters:
            raise ArgumentError(f"{type(self.scheduler).__name__} has no eta: leave it at 0, or use the scheduler ddim")
        if "noise" in parameters:
            return "noise" if eta > 0 or "eta" not in parameters else None
        if co_moving and hasattr(self.scheduler, "noise_sampler"):
            raise ArgumentError(
                f"{type(self.scheduler).__name__} draws its noise from a tree, so it cannot move along: "
                f"use noise='independent' or another scheduler"
            )
        algorithm = str(self.scheduler.config.get("algorithm_type", ""))
        stochastic = eta > 0 if "eta" in parameters else algorithm.startswith("sde")
        return "variance_noise" if "variance_noise" in parameters and stochastic else None


def _check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ArgumentError(f"unknown {name} {value!r}{did_you_mean(str(value), valid)}")


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _finish(x: Tensor, output_type: str) -> Any:
    if output_type == "pil":
        from PIL import Image

        return [Image.fromarray(i[..., 0] if i.shape[-1] == 1 else i) for i in to_uint8(x)]
    if output_type == "latent":
        return x
    unit = (x.float() / 2 + 0.5).clamp(0, 1)
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()
