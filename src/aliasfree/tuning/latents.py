"""The latents of an autoencoder as a UNet sees them, normalised, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["as_decoded", "as_seen"]


def as_seen(autoencoder: Any, latents: Tensor) -> Tensor:
    """Latents (N, C, H, W) that the autoencoder encodes, normalised as its config says: less `shift_factor` or
    `latents_mean` (C,), times `scaling_factor`, over `latents_std` (C,); the convention of diffusers' pipelines."""
    mean, factor = _normalisation(autoencoder, latents)
    return (latents - mean) * factor


def as_decoded(autoencoder: Any, latents: Tensor) -> Tensor:
    """The inverse of `as_seen`: latents (N, C, H, W) that the autoencoder decodes, of normalised ones."""
    mean, factor = _normalisation(autoencoder, latents)
    return latents / factor + mean


def _normalisation(autoencoder: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    config = autoencoder.config

    def channels(name: str, otherwise: float) -> Tensor:
        given = config.get(name)
        values = torch.as_tensor(otherwise if given is None else given, dtype=latents.dtype, device=latents.device)
        return values.reshape(1, -1, 1, 1)

    mean = channels("latents_mean", config.get("shift_factor") or 0.0)
    return mean, (config.get("scaling_factor") or 1.0) / channels("latents_std", 1.0)
