"""Sampling, upright or in motion: rotation-controlled sampling (arXiv 2411.09174, 'Config E') and its kin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor

from aliasfree.diffusion.transforms import Motion
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.pictures import to_uint8

__all__ = ["AliasFreePipeline", "AliasFreePipelineOutput", "sample_generators"]

Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class AliasFreePipelineOutput(BaseOutput):
    """images in the asked form; frames (F, ...) likewise, one entry a kept step, or None."""

    images: Any
    frames: Any = None


def sample_generators(seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per sample, a function of (seed, index) alone: same seed, same images, whatever the batch."""
    seeds = [int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1) for i in indices]
    return [torch.Generator().manual_seed(s) for s in seeds]


class AliasFreePipeline(DiffusionPipeline):
    """Samples from a noise-predicting UNet with any scheduler, moving the frame while it samples.

    unet        forward(sample, t[, class_labels]).sample predicts the noise
    scheduler   `PaperDDPMScheduler`, or any of diffusers'
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
        rotate: float = 0.0,
        translate: tuple[float, float] = (0.0, 0.0),
        zoom: float = 1.0,
        method: str = "fourier",
        noise: str = "independent",
        schedule: tuple[float, float] | Callable[[float], float] = (0.0, 1.0),
        class_labels: int | Sequence[int] | Tensor | None = None,
        guidance_scale: float = 1.0,
        generator: Generators = None,
        output_type: str = "pil",
        return_frames: bool = False,
        frame_every: int = 1,
        return_dict: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> AliasFreePipelineOutput | tuple[Any, Any]:
        """Draw `batch_size` images.

        num_inference_steps   None = T-1, the paper's full length
        rotate                degrees, counter-clockwise positive; translate (dy, dx) pixels; zoom factor: the whole motion
        method                "fourier" (keeps white noise white), "spline" (the paper's) or "bicubic"
        noise                 "independent" (the paper's), or "co-moving": injected noise turns with the frame, so that an
                              equivariant network gives exactly the moved image
        schedule              window (start, end) of the sampling progress over which the motion is spread, or a callable
                              from progress to share; (0, 1) is the paper's
        class_labels          one class for all, or one per image; None = unconditional
        guidance_scale        classifier-free guidance s: eps_null + s (eps_class - eps_null); 1 = off
        generator             one generator (a seed per sample is drawn from it) or one per sample; None = torch's global
        output_type           "pil", "np" (N, H, W, C) in [0, 1], or "pt" (N, C, H, W) in [0, 1]
        return_frames         also every `frame_every`-th state, in the same form (memory: one batch a frame)
        progress              called with (steps done, steps); None = a progress bar on the terminal

        Returns AliasFreePipelineOutput(images, frames) or the pair. Raises ArgumentError, ShapeError.
        """
        _check_choice("noise", noise, ("independent", "co-moving"))
        _check_choice("output_type", output_type, ("pil", "np", "pt"))
        if batch_size < 1 or frame_every < 1:
            raise ArgumentError("batch_size and frame_every must be at least 1")
        motion = Motion.of(rotate, tuple(translate), zoom, method, schedule)
        device, dtype = self._execution_device, self.unet.dtype
        generators = _per_sample(generator, batch_size)
        labels = self._labels(class_labels, batch_size, device)
        self._set_timesteps(num_inference_steps, device)
        steps = len(self.scheduler.timesteps)
        shares = getattr(self.scheduler, "motion_steps", steps)

        height, width = _pair(self.unet.config["sample_size"])
        shape = (self.unet.config["in_channels"], height, width)
        x = _draw(generators, shape, device, dtype) * self.scheduler.init_noise_sigma
        noise_argument = self._noise_argument(needed=bool(motion) and noise == "co-moving")
        frames, done = [], motion.schedule.share(0.0)
        bar = None if progress else self.progress_bar(total=steps)
        for i, t in enumerate(self.scheduler.timesteps):
            eps = self._predict(x, t, labels, guidance_scale)
            extra: dict[str, Any] = {}
            if noise_argument:
                drawn = _draw(generators, shape, device, dtype)
                extra[noise_argument] = motion.move(drawn, 0.0, done) if noise == "co-moving" else drawn
            elif "generator" in inspect.signature(self.scheduler.step).parameters:
                extra["generator"] = generators
            x = self.scheduler.step(eps, t, x, **extra).prev_sample.to(dtype)
            share = motion.schedule.share((i + 1) / shares)
            if motion and share != done:
                x = motion.move(x, done, share)
                _move_history(self.scheduler, x.shape, lambda h, a=done, b=share: motion.move(h, a, b))
            done = share
            if return_frames and (i % frame_every == frame_every - 1 or i == steps - 1):
                frames.append(_finish(x, output_type))
            if progress:
                progress(i + 1, steps)
            elif bar is not None:
                bar.update()
        if bar is not None:
            bar.close()
        images = _finish(x, output_type)
        stacked: Any = None
        if return_frames:
            stacked = (
                torch.stack(frames) if output_type == "pt" else np.stack(frames) if output_type == "np" else frames
            )
        self.maybe_free_model_hooks()
        return AliasFreePipelineOutput(images, stacked) if return_dict else (images, stacked)

    def _set_timesteps(self, steps: int | None, device: torch.device) -> None:
        total = int(self.scheduler.config["num_train_timesteps"])
        count = total - 1 if steps is None else steps
        if not 1 <= count <= total - 1:
            raise ArgumentError(f"num_inference_steps must be in 1..{total - 1}, not {count}")
        self.scheduler.set_timesteps(count, device=device)

    def _labels(self, labels: Any, n: int, device: torch.device) -> Tensor | None:
        classes = self.unet.config.get("num_class_embeds")
        if labels is None:
            return None
        if classes is None:
            raise ArgumentError("this model has no classes; leave out class_labels or train it class-conditional")
        given = torch.as_tensor(labels, device=device).reshape(-1)
        if given.numel() not in (1, n):
            raise ArgumentError(f"expected one class label or {n}, got {given.numel()}")
        if int(given.min()) < 0 or int(given.max()) >= classes:
            raise ArgumentError(f"class labels must be in 0..{classes - 1}")
        return given.expand(n)

    def _predict(self, x: Tensor, t: Tensor, labels: Tensor | None, scale: float) -> Tensor:
        model_input = self.scheduler.scale_model_input(x, t)
        if labels is None:
            return self.unet(model_input, t).sample
        if scale == 1:
            return self.unet(model_input, t, class_labels=labels).sample
        null = torch.full_like(labels, self.unet.config["num_class_embeds"])
        both = self.unet(torch.cat([model_input] * 2), t, class_labels=torch.cat([null, labels])).sample
        eps_null, eps_class = both.chunk(2)
        return eps_null + scale * (eps_class - eps_null)

    def _noise_argument(self, needed: bool) -> str | None:
        """The name under which the scheduler takes its noise from outside, if it is to inject any."""
        parameters = inspect.signature(self.scheduler.step).parameters
        if "noise" in parameters:
            return "noise"
        algorithm = str(self.scheduler.config.get("algorithm_type", ""))
        if "variance_noise" in parameters and algorithm.startswith("sde-"):
            return "variance_noise"
        # diffusers' other deterministic samplers draw nothing
        draws = "Ancestral" in type(self.scheduler).__name__ or "SDE" in type(self.scheduler).__name__
        if needed and (draws or type(self.scheduler).__name__ in ("DDPMScheduler", "LCMScheduler", "TCDScheduler")):
            raise ArgumentError(
                f"{type(self.scheduler).__name__} draws its own noise, which cannot move along; use noise='independent' or "
                "PaperDDPMScheduler"
            )
        return None


def _check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ArgumentError(f"unknown {name} {value!r}{did_you_mean(str(value), valid)}")


def _per_sample(generator: Generators, n: int) -> list[torch.Generator]:
    if generator is None or isinstance(generator, torch.Generator):
        device = "cpu" if generator is None else generator.device
        seeds = torch.randint(0, 2**62, (n,), generator=generator, device=device).tolist()
        return [torch.Generator().manual_seed(s) for s in seeds]
    if len(generator) != n:
        raise ArgumentError(f"expected one generator or {n} (one per sample), got {len(generator)}")
    return list(generator)


def _draw(
    generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """White noise (N, *shape), drawn per sample so that it does not depend on the batch, moved over in one piece."""
    return torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators]).to(device, dtype)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _move_history(scheduler: Any, shape: torch.Size, move: Callable[[Tensor], Tensor]) -> None:
    """Move every image-shaped tensor that a multistep scheduler keeps: it lives in the frame before the motion."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return move(value) if value.shape == shape else value
        if isinstance(value, list | tuple):
            return type(value)(moved(v) for v in value)
        return value

    for name, value in vars(scheduler).items():
        if not name.startswith("_internal"):
            setattr(scheduler, name, moved(value)) if isinstance(value, Tensor | list | tuple) else None


def _finish(x: Tensor, output_type: str) -> Any:
    if output_type == "pil":
        from PIL import Image

        return [Image.fromarray(i[..., 0] if i.shape[-1] == 1 else i) for i in to_uint8(x)]
    unit = (x.float() / 2 + 0.5).clamp(0, 1)
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()
