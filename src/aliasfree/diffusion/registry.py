"""The samplers by their names: to add one, add an entry, or call `register_scheduler`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from aliasfree.errors import ArgumentError, did_you_mean

__all__ = ["SCHEDULERS", "Make", "make_scheduler", "register_scheduler"]

Make = Callable[[int, int], Any]
"""make(num_train_timesteps, clip_rate) gives a scheduler as diffusers has them, for networks that predict noise."""


def _ours(module: str, maker: str, *, clips: bool = False) -> Make:
    """One of our own, whose module is imported when it is made: with DPM-Solver++ comes scipy.stats, a second."""

    def make(num_train_timesteps: int, clip_rate: int) -> Any:
        found = getattr(importlib.import_module(f"aliasfree.diffusion.{module}"), maker)
        return found(num_train_timesteps, **({"clip_rate": clip_rate} if clips else {}))

    return make


SCHEDULERS: dict[str, Make] = {
    "ddpm": _ours("scheduler", "PaperDDPMScheduler"),
    "ddpm-clipped": _ours("scheduler", "ClippedDDPMScheduler", clips=True),
    "ddim": _ours("scheduler", "AnyStepDDIMScheduler"),
    "ddim-clipped": _ours("scheduler", "ClippedDDIMScheduler", clips=True),
    "dpm++": _ours("dpm_solver", "make_dpm_solver"),
    "dpm++-clipped": _ours("dpm_solver", "make_dpm_solver", clips=True),
}
"""Name -> what makes the sampler. Settings, the command line and the studio take these names."""


def make_scheduler(name: str, num_train_timesteps: int = 1000, clip_rate: int = 1) -> Any:
    """A scheduler for networks trained with the paper's noise schedule.

    name        "ddpm" (the paper's ancestral sampler), "ddim" or "dpm++" (DPM-Solver++ 2M), the last two deterministic;
                with "-clipped" after it the predicted clean image is kept within [-1, 1]; or a registered one
    clip_rate   how those clip, see `clip`: 1 = pixel by pixel, above 1 without aliasing

    Raises ArgumentError for another name or rate.

    >>> from aliasfree.diffusion import make_scheduler
    >>> scheduler = make_scheduler("ddim-clipped")
    >>> scheduler.set_timesteps(4)
    >>> scheduler.timesteps.tolist()
    [999, 749, 499, 249]
    """
    if name not in SCHEDULERS:
        raise ArgumentError(f"unknown scheduler {name!r}{did_you_mean(name, SCHEDULERS)}")
    return SCHEDULERS[name](num_train_timesteps, clip_rate)


def register_scheduler(name: str, make: Make) -> None:
    """Add a sampler: `SampleSettings`, the command line and the studio take it by this name from now on.

    name  small letters, digits, "+", "." and "-": it becomes part of file names
    make  make(num_train_timesteps, clip_rate) gives a scheduler with the interface of diffusers: `config`,
          `set_timesteps(steps)`, `timesteps`, `step(noise, t, x)`. A `step` that takes `noise` is handed what it
          injects, which then turns with the image; one that takes `generator` draws it, each sample from its own

    Two steps are taken with it, so that one that cannot sample is refused here. Raises ArgumentError for a name that is
    taken or cannot be one, and for a scheduler that has another noise schedule than the networks are trained with.

    >>> from diffusers import EulerDiscreteScheduler
    >>> from aliasfree.diffusion import SCHEDULERS, register_scheduler
    >>> register_scheduler("euler", lambda total, clip_rate: EulerDiscreteScheduler(total, beta_end=0.02))
    >>> SCHEDULERS.pop("euler") is not None  # taken out again
    True
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", name):
        raise ArgumentError(f"a sampler's name is of small letters, digits, '+', '.' and '-', not {name!r}")
    if name in SCHEDULERS:
        raise ArgumentError(f"there is a sampler {name!r} already; choose another name")
    try:
        _try(make(1000, 1))
    except ArgumentError as error:
        raise ArgumentError(f"the sampler {name!r} cannot be used: {error}") from error
    except Exception as error:  # whatever a foreign scheduler raises, this call names it
        raise ArgumentError(f"the sampler {name!r} cannot be used: {type(error).__name__}: {error}") from error
    SCHEDULERS[name] = make


def _try(scheduler: Any) -> None:
    """Take two steps of four pixels."""
    import torch

    from aliasfree.diffusion.scheduler import PaperDDPMScheduler

    total = int(scheduler.config["num_train_timesteps"])
    if total != 1000:
        raise ArgumentError(f"asked for 1,000 training timesteps, it has {total}")
    if scheduler.config.get("prediction_type", "epsilon") != "epsilon":
        raise ArgumentError("it takes something else than predicted noise (`prediction_type`)")
    levels = getattr(scheduler, "alphas_cumprod", None)
    if levels is not None and not torch.allclose(levels.float().cpu(), PaperDDPMScheduler().alphas_cumprod, atol=1e-4):
        raise ArgumentError("its noise levels are not those of the training: beta linear from 1e-4 to 0.02")
    scheduler.set_timesteps(2)
    x = torch.ones(1, 1, 2, 2)
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        stepped = scheduler.step(torch.zeros_like(given), t, x).prev_sample
        if stepped.shape != x.shape or not bool(stepped.isfinite().all()):
            raise ArgumentError(f"a step turned finite values of shape {tuple(x.shape)} into {stepped}")
        x = stepped
