"""DPM-Solver++ on the paper's noise schedule, with any number of steps."""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler

from aliasfree.diffusion.scheduler import trailing_times

__all__ = ["AnyStepDPMSolverScheduler"]


class AnyStepDPMSolverScheduler(DPMSolverMultistepScheduler):
    """diffusers' DPM-Solver++ at times that are trained on, for any number of steps 1 .. T-1."""

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Visit `num_inference_steps` (1 .. T-1) times. Raises ArgumentError for another number."""
        times = trailing_times(int(self.config["num_train_timesteps"]), num_inference_steps)
        super().set_timesteps(timesteps=times, device=device)
