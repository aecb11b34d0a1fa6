"""The paper's noise schedule and its ancestral sampler, and DDIM on it with any number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers import KarrasDiffusionSchedulers
from diffusers.utils import BaseOutput
from torch import Tensor

from aliasfree.diffusion.clipping import check_rate, clip
from aliasfree.diffusion.noise import Generators, draw, per_sample_generators
from aliasfree.diffusion.times import even_times, trailing_times
from aliasfree.errors import ArgumentError

__all__ = [
    "AnyStepDDIMScheduler",
    "ClippedDDIMScheduler",
    "ClippedDDPMScheduler",
    "PaperDDPMScheduler",
    "PaperSchedulerOutput",
]


@dataclass
class PaperSchedulerOutput(BaseOutput):
    """prev_sample (N, C, H, W): the state at the next, less noisy timestep."""

    prev_sample: Tensor


class _LinearSchedule(SchedulerMixin, ConfigMixin):
    """T timesteps 0 .. T-1, beta linear; what `PaperDDPMScheduler` and `AnyStepDDIMScheduler` have in common."""

    order = 1
    init_noise_sigma = 1.0
    # `OtherScheduler.from_config(this.config)` takes the noise schedule over
    _compatibles = [e.name for e in KarrasDiffusionSchedulers]  # noqa: RUF012

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> None:
        if num_train_timesteps < 2:
            raise ArgumentError(f"num_train_timesteps must be at least 2, not {num_train_timesteps}")
        if not 0 < beta_start <= beta_end < 1:
            raise ArgumentError(f"beta must rise within 0..1, not from {beta_start} to {beta_end}")
        self.betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float32)
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        # as plain numbers, so that a step never waits for the device
        self._alpha, self._ahat = self.alphas.tolist(), self.alphas_cumprod.tolist()
        self.set_timesteps(num_train_timesteps - 1)

    def _visited(self, total: int, steps: int) -> list[int]:
        raise NotImplementedError

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Visit `num_inference_steps` (1 .. T-1) `timesteps`, falling. Raises ArgumentError for another number."""
        times = self._visited(len(self), num_inference_steps)
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.tensor(times, device=device)
        self._next: dict[int, int | None] = dict(zip(times, [*times[1:], None], strict=True))

    def _next_time(self, timestep: int | Tensor) -> tuple[int, int | None]:
        """The time itself and the one visited next, None after the last."""
        t = int(timestep)
        if t not in self._next:
            raise ArgumentError(f"timestep {t} is not visited with {self.num_inference_steps} steps; see `timesteps`")
        return t, self._next[t]

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The sample itself; there for interchangeability with other schedulers."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = sqrt(ahat_t) x_0 + sqrt(1 - ahat_t) noise for images (N, C, H, W) and timesteps (N,)."""
        if self.alphas_cumprod.device != original_samples.device:
            self.alphas_cumprod = self.alphas_cumprod.to(original_samples.device)
        ahat = self.alphas_cumprod[timesteps].to(original_samples.dtype).reshape(-1, 1, 1, 1)
        return ahat.sqrt() * original_samples + (1 - ahat).sqrt() * noise

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])


class PaperDDPMScheduler(_LinearSchedule):
    """The paper's diffusion (arXiv 2411.09174; Ho et al. 2020, algorithm 2): beta linear, T timesteps 0 .. T-1.

    At full length the sampler visits t = T-1 .. 1 (t = 0 never) and the last step adds no noise:
    x <- (x - (1 - alpha_t) / sqrt(1 - ahat_t) eps) / sqrt(alpha_t) + sqrt(beta_t) noise. With fewer steps the visited
    times are evenly spaced over T-1 .. 1, alpha_t becomes ahat_t / ahat_next and beta_t = 1 - alpha_t.

    >>> import torch
    >>> from aliasfree import PaperDDPMScheduler
    >>> scheduler = PaperDDPMScheduler()
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps.tolist()
    [999, 666, 334, 1]
    >>> x = torch.randn(1, 3, 8, 8)
    >>> for t in scheduler.timesteps:
    ...     predicted_noise = torch.zeros_like(x)  # a network's
    ...     x = scheduler.step(predicted_noise, t, x).prev_sample
    >>> tuple(x.shape)
    (1, 3, 8, 8)
    """

    def _visited(self, total: int, steps: int) -> list[int]:
        return even_times(total, steps, 1.0)

    @property
    def motion_steps(self) -> int:
        """Over how many shares a motion is spread: T at full length, so that the T-1 steps make (T-1)/T of it (the
        paper's chain), else the number of steps."""
        return len(self) if self.num_inference_steps == len(self) - 1 else int(self.num_inference_steps)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        noise: Tensor | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> PaperSchedulerOutput | tuple[Tensor]:
        """One ancestral step from `timestep` to the next time visited, from the last one to t = 0.

        model_output, sample   predicted noise and state (N, C, H, W)
        noise                  standard normal (N, C, H, W); None = drawn from `generator`: one per sample, or a single
                               one, or None = torch's own, which give each sample a seed
        Raises ArgumentError for a time that `set_timesteps` does not visit.
        """
        t, after = self._next_time(timestep)
        # consecutive times use the tabulated alpha, as the paper does
        alpha = self._alpha[t] if (after or 0) == t - 1 else self._ahat[t] / self._ahat[after or 0]
        x = (sample - (1 - alpha) / (1 - self._ahat[t]) ** 0.5 * model_output) / alpha**0.5
        if after is not None:
            x = x + (1 - alpha) ** 0.5 * (_standard_normal(sample, generator) if noise is None else noise)
        return PaperSchedulerOutput(prev_sample=x) if return_dict else (x,)


class ClippedDDPMScheduler(_LinearSchedule):
    """Ancestral sampling whose predicted clean image is clipped to [-1, 1] at every step (Ho et al. 2020, eq. 6 and 7).

    x <- mean and variance of q(x_next | x_t, clip(x_0)), the smaller of their two variances. A network that has
    trained little drifts out of the range of images; the clipping keeps it there. The paper's sampler does not clip.

    clip_rate   see `clip`: 1 = pixel by pixel, as Ho et al.; above 1 it commutes with shifts, as config T does
    """

    @register_to_config
    def __init__(
        self, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, clip_rate: int = 1
    ) -> None:
        check_rate(clip_rate)
        super().__init__(num_train_timesteps, beta_start, beta_end)

    def _visited(self, total: int, steps: int) -> list[int]:
        return trailing_times(total, steps)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        noise: Tensor | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> PaperSchedulerOutput | tuple[Tensor]:
        """One step from `timestep` to the next time visited, from the last one to the clean image.

        Arguments and errors are those of `PaperDDPMScheduler.step`.
        """
        t, after = self._next_time(timestep)
        ahat, ahat_after = self._ahat[t], 1.0 if after is None else self._ahat[after]
        alpha = ahat / ahat_after
        clean = clip((sample - (1 - ahat) ** 0.5 * model_output) / ahat**0.5, self.config["clip_rate"])
        x = (ahat_after**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - ahat_after) * sample) / (1 - ahat)
        if after is not None:
            deviation = ((1 - alpha) * (1 - ahat_after) / (1 - ahat)) ** 0.5
            x = x + deviation * (_standard_normal(sample, generator) if noise is None else noise)
        return PaperSchedulerOutput(prev_sample=x) if return_dict else (x,)


class AnyStepDDIMScheduler(_LinearSchedule):
    """DDIM (Song et al. 2021, eq. 12) on the paper's noise schedule, exact for any number of steps.

    Where the number of steps divides T it equals diffusers' `DDIMScheduler` with timestep_spacing="trailing", which
    for other numbers steps to T // steps before the current time instead of to the time it visits next.
    """

    clips = False

    def _visited(self, total: int, steps: int) -> list[int]:
        return trailing_times(total, steps)

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        noise: Tensor | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> PaperSchedulerOutput | tuple[Tensor]:
        """One step from `timestep` to the next time visited, from the last one to the clean image.

        eta   0 = deterministic .. 1 = ancestral; the rest as in `PaperDDPMScheduler.step`
        """
        t, after = self._next_time(timestep)
        ahat, ahat_after = self._ahat[t], 1.0 if after is None else self._ahat[after]
        clean = (sample - (1 - ahat) ** 0.5 * model_output) / ahat**0.5
        if self.clips:
            clean = clip(clean, self.config["clip_rate"])
            model_output = (sample - ahat**0.5 * clean) / (1 - ahat) ** 0.5
        variance = eta**2 * (1 - ahat_after) / (1 - ahat) * (1 - ahat / ahat_after)
        x = ahat_after**0.5 * clean + max(0.0, 1 - ahat_after - variance) ** 0.5 * model_output
        if variance > 0:
            x = x + variance**0.5 * (_standard_normal(sample, generator) if noise is None else noise)
        return PaperSchedulerOutput(prev_sample=x) if return_dict else (x,)


class ClippedDDIMScheduler(AnyStepDDIMScheduler):
    """DDIM whose predicted clean image is clipped to [-1, 1] at every step, and the predicted noise made to fit it.

    For images in [-1, 1] alone, not for latents. Where no noise is injected, nothing else removes the
    errors of a network that has trained little; at the noisiest times they count a hundredfold in the clean image.
    `clip_rate` is that of `ClippedDDPMScheduler`.
    """

    clips = True

    @register_to_config
    def __init__(
        self, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, clip_rate: int = 1
    ) -> None:
        check_rate(clip_rate)
        super().__init__(num_train_timesteps, beta_start, beta_end)


def _standard_normal(like: Tensor, generator: Generators) -> Tensor:
    return draw(per_sample_generators(generator, len(like)), like.shape[1:], like.device, like.dtype)
