"""DPM-Solver++ on the paper's noise schedule, with any number of steps."""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from aliasfree.diffusion.clipping import check_rate, clip
from aliasfree.diffusion.times import trailing_times

__all__ = ["AnyStepDPMSolverScheduler", "FineDPMSolverScheduler", "SchedulerMixin", "make_dpm_solver"]
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


def make_dpm_solver(num_train_timesteps: int, clip_rate: int | None = None) -> AnyStepDPMSolverScheduler:
    """With a `clip_rate` the predicted clean image is kept within [-1, 1]; None = it is not."""
    if clip_rate is not None and clip_rate != 1:
        return FineDPMSolverScheduler(num_train_timesteps, clip_rate=clip_rate)
    return AnyStepDPMSolverScheduler(
        num_train_timesteps=num_train_timesteps,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        thresholding=clip_rate is not None,
        sample_max_value=1.0,  # thresholding at 1 is clipping
    )
