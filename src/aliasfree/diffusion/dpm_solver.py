"""DPM-Solver++ on the paper's noise schedule, with any number of steps."""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from aliasfree.diffusion.clipping import check_rate, clip
from aliasfree.diffusion.times import trailing_times

__all__ = ["AnyStepDPMSolverScheduler", "FineDPMSolverScheduler", "SchedulerMixin"]
# SchedulerMixin: a saved pipeline is loaded by what the module of a part knows as its base


class AnyStepDPMSolverScheduler(DPMSolverMultistepScheduler):
    """diffusers' DPM-Solver++ at times that are trained on, for any number of steps 1 .. T-1."""

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Visit `num_inference_steps` (1 .. T-1) times. Raises ArgumentError for another number."""
        times = trailing_times(int(self.config["num_train_timesteps"]), num_inference_steps)
        super().set_timesteps(timesteps=times, device=device)


class FineDPMSolverScheduler(AnyStepDPMSolverScheduler):
    """The same with the predicted clean image clipped without aliasing, at `clip_rate` times the rate (see `clip`)."""

    @register_to_config
    def __init__(
        self, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, clip_rate: int = 8
    ) -> None:
        check_rate(clip_rate)
        schedule = {"beta_start": beta_start, "beta_end": beta_end, "beta_schedule": "linear"}
        super().__init__(num_train_timesteps, **schedule, thresholding=True)

    def _threshold_sample(self, sample: Tensor) -> Tensor:
        return clip(sample, self.config["clip_rate"])
