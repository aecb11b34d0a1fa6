"""The paper's noise schedule and ancestral sampler, and the other samplers by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers import KarrasDiffusionSchedulers
from diffusers.utils import BaseOutput
from torch import Tensor

from aliasfree.diffusion.noise import Generators, draw, per_sample_generators
from aliasfree.errors import ArgumentError, did_you_mean

__all__ = ["SCHEDULERS", "PaperDDPMScheduler", "PaperDDPMSchedulerOutput", "make_scheduler"]

SCHEDULERS = ("ddpm", "ddim", "dpm++")


@dataclass
class PaperDDPMSchedulerOutput(BaseOutput):
    """prev_sample (N, C, H, W): the state at the next, less noisy timestep."""

    prev_sample: Tensor


class PaperDDPMScheduler(SchedulerMixin, ConfigMixin):
    """The paper's diffusion (arXiv 2411.09174; Ho et al. 2020, algorithm 2): beta linear, T timesteps 0 .. T-1.

    At full length the sampler visits t = T-1 .. 1 (t = 0 never) and the last step adds no noise:
    x <- (x - (1 - alpha_t) / sqrt(1 - ahat_t) eps) / sqrt(alpha_t) + sqrt(beta_t) noise. With fewer steps the visited
    times are evenly spaced over T-1 .. 1 and alpha_t becomes ahat_t / ahat_next.

    motion_steps   over how many shares a motion is spread: T at full length, so that the T-1 steps make (T-1)/T of it
                   (the paper's chain), else the number of steps
    """

    order = 1
    init_noise_sigma = 1.0
    # `OtherScheduler.from_config(this.config)` takes the noise schedule over
    _compatibles = [e.name for e in KarrasDiffusionSchedulers]  # noqa: RUF012

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> None:
        if num_train_timesteps < 2:
            raise ArgumentError(f"num_train_timesteps must be at least 2, not {num_train_timesteps}")
        self.betas = torch.linspace(beta_start, beta_end, num_train_timesteps)
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
        # as plain numbers, so that a step never waits for the device
        self._alpha, self._ahat = self.alphas.tolist(), self.alphas_cumprod.tolist()
        self.set_timesteps(num_train_timesteps - 1)

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Visit `num_inference_steps` (1 .. T-1) times, `timesteps` from T-1 down to 1."""
        total = self.config["num_train_timesteps"]
        if not 1 <= num_inference_steps <= total - 1:
            raise ArgumentError(f"the number of sampling steps must be in 1..{total - 1}, not {num_inference_steps}")
        self.num_inference_steps = num_inference_steps
        if num_inference_steps == 1:
            times = torch.tensor([total - 1])
        else:
            times = torch.linspace(total - 1, 1, num_inference_steps, dtype=torch.float64).round().long()
        self.timesteps = times.to(device)
        # time -> the next one visited; the last step ends at 0
        self._next = dict(zip(times.tolist(), [*times.tolist()[1:], 0], strict=True))

    @property
    def motion_steps(self) -> int:
        total = int(self.config["num_train_timesteps"])
        return total if self.num_inference_steps == total - 1 else int(self.num_inference_steps)

    def scale_model_input(self, sample: Tensor, timestep: int | Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The sample itself; there for interchangeability with other schedulers."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = sqrt(ahat_t) x_0 + sqrt(1 - ahat_t) noise for images (N, C, H, W) and timesteps (N,)."""
        if self.alphas_cumprod.device != original_samples.device:
            self.alphas_cumprod = self.alphas_cumprod.to(original_samples.device)
        ahat = self.alphas_cumprod[timesteps].to(original_samples.dtype).reshape(-1, 1, 1, 1)
        return ahat.sqrt() * original_samples + (1 - ahat).sqrt() * noise

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        noise: Tensor | None = None,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> PaperDDPMSchedulerOutput | tuple[Tensor]:
        """One ancestral step from `timestep` to the next time visited.

        model_output, sample   predicted noise and state (N, C, H, W)
        noise                  standard normal (N, C, H, W); None = drawn from `generator`: one per sample, or a single
                               one, or None = torch's own, which give each sample a seed
        Raises ArgumentError for a time that `set_timesteps` does not visit.
        """
        t = int(timestep)
        if t not in self._next:
            raise ArgumentError(f"timestep {t} is not visited with {self.num_inference_steps} steps; see `timesteps`")
        before = self._next[t]
        ahat = self._ahat[t]
        # consecutive times use the tabulated alpha, as the paper does
        alpha = self._alpha[t] if before == t - 1 else ahat / self._ahat[before]
        mean = (sample - (1 - alpha) / (1 - ahat) ** 0.5 * model_output) / alpha**0.5
        if before > 0:
            if noise is None:
                generators = per_sample_generators(generator, len(sample))
                noise = draw(generators, sample.shape[1:], sample.device, sample.dtype)
            mean = mean + (1 - alpha) ** 0.5 * noise
        return PaperDDPMSchedulerOutput(prev_sample=mean) if return_dict else (mean,)

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])


def make_scheduler(name: str, num_train_timesteps: int = 1000, **options: Any) -> SchedulerMixin:
    """A scheduler for networks trained with the paper's noise schedule.

    name   "ddpm" (the paper's ancestral sampler), "ddim" (deterministic) or "dpm++" (DPM-Solver++ 2M)
    Raises ArgumentError for another name.
    """
    schedule = {"num_train_timesteps": num_train_timesteps, "beta_start": 1e-4, "beta_end": 0.02}
    if name == "ddpm":
        return PaperDDPMScheduler(**schedule, **options)
    if name == "ddim":
        return DDIMScheduler(
            **schedule, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing", **options
        )
    if name == "dpm++":
        return DPMSolverMultistepScheduler(
            **schedule, beta_schedule="linear", algorithm_type="dpmsolver++", timestep_spacing="trailing", **options
        )
    raise ArgumentError(f"unknown scheduler {name!r}{did_you_mean(name, SCHEDULERS)}")
