"""A network's error of the predicted noise on test images, noise level by noise level and as in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aliasfree.estimate import Estimate
from aliasfree.measuring.real_images import RealImages
from aliasfree.results.metrics import NoiseError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["network_noise_error"]

STEPS = (20, 100, 250, 500, 750, 950)
"""Noise levels, in thousandths of the training's time steps."""
IMAGES = 1000
"""Test images at each level."""


def network_noise_error(
    unet: nn.Module,
    real: RealImages,
    total: int = 1000,
    *,
    num: int = IMAGES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NoiseError, ...]:
    """Mean squared errors of a noise predictor unet(x, t).sample, the last one over all time steps alike.

    real   its first `num` test images are noised, with the same noise for every network and level; a network that knows
           classes is told them
    total  time steps of the training, T

    Intervals (95 %) are over images. Two networks share images and noise, so their difference is known better.
    """
    import torch

    from aliasfree.data import unit_range
    from aliasfree.diffusion import PaperDDPMScheduler
    from aliasfree.evaluation import noise_error

    device = next(unet.parameters()).device
    images = unit_range(real.test[:num]).to(device)
    labels = None
    if getattr(unet, "config", {}).get("num_class_embeds") and real.test_labels is not None:
        labels = real.test_labels[:num].to(device, torch.long)
    left = PaperDDPMScheduler(num_train_timesteps=total).alphas_cumprod
    levels: list[int | None] = [min(total - 1, max(1, round(step * total / 1000))) for step in STEPS]
    found = []
    for k, level in enumerate([*levels, None]):
        if level is None:  # every time step equally often, in an order of its own
            spread = torch.linspace(1, total - 1, len(images)).round().long()
            t = spread[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
        else:
            t = torch.full((len(images),), level)

        def fn(x: Tensor, numbers: Tensor, t: Tensor = t) -> Tensor:
            given: dict[str, Any] = {} if labels is None else {"class_labels": labels[numbers.to(device)]}
            predicted: Tensor = unet(x, t[numbers].to(device), **given).sample
            return predicted

        errors = noise_error(fn, images, left[t], seed=seed)
        found.append(NoiseError(t=level, error=_mean(errors), images=len(images)))
        if progress is not None:
            progress(k + 1, len(levels) + 1)
    return tuple(found)


def _mean(errors: Tensor) -> Estimate:
    from aliasfree.evaluation.intervals import NORMAL

    value, n = errors.mean().item(), len(errors)
    half = NORMAL * float(errors.std()) / n**0.5 if n > 1 else 0.0
    return Estimate(value, value - half, value + half)
