"""A sampler by its name."""

from __future__ import annotations

from typing import Any

from aliasfree.diffusion.names import SCHEDULERS
from aliasfree.diffusion.scheduler import (
    AnyStepDDIMScheduler,
    ClippedDDIMScheduler,
    ClippedDDPMScheduler,
    PaperDDPMScheduler,
)
from aliasfree.errors import ArgumentError, did_you_mean

__all__ = ["make_scheduler"]


def make_scheduler(name: str, num_train_timesteps: int = 1000, clip_rate: int = 1) -> Any:
    """A scheduler for networks trained with the paper's noise schedule.

    name        "ddpm" (the paper's ancestral sampler), "ddim" or "dpm++" (DPM-Solver++ 2M), the last two deterministic;
                with "-clipped" after it the predicted clean image is kept within [-1, 1]
    clip_rate   how those clip, see `clip`: 1 = pixel by pixel, above 1 without aliasing

    Raises ArgumentError for another name or rate.

    >>> from aliasfree.diffusion import make_scheduler
    >>> scheduler = make_scheduler("ddim-clipped")
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps.tolist()
    [999, 749, 499, 249]
    """
    if name == "ddpm":
        return PaperDDPMScheduler(num_train_timesteps=num_train_timesteps)
    if name == "ddpm-clipped":
        return ClippedDDPMScheduler(num_train_timesteps=num_train_timesteps, clip_rate=clip_rate)
    if name == "ddim":
        return AnyStepDDIMScheduler(num_train_timesteps=num_train_timesteps)
    if name == "ddim-clipped":
        return ClippedDDIMScheduler(num_train_timesteps=num_train_timesteps, clip_rate=clip_rate)
    if name in ("dpm++", "dpm++-clipped"):
        return _make_dpm_solver(num_train_timesteps, clip_rate if name == "dpm++-clipped" else None)
    raise ArgumentError(f"unknown scheduler {name!r}{did_you_mean(name, SCHEDULERS)}")


def _make_dpm_solver(num_train_timesteps: int, clip_rate: int | None) -> Any:
    """With a `clip_rate` the predicted clean image is kept within [-1, 1]; None = it is not."""
    from aliasfree.diffusion.dpm_solver import (  # scipy.stats, a second
        AnyStepDPMSolverScheduler,
        FineDPMSolverScheduler,
    )

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
