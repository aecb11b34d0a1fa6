"""The training objective."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.nn.frame import Frame

__all__ = ["training_loss"]


def training_loss(
    model: Any,
    images: Tensor,
    scheduler: Any,
    generator: torch.Generator,
    class_labels: Tensor | None = None,
    class_dropout: float = 0.1,
    frame: Frame | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the predicted noise, a scalar (arXiv 2411.09174; Ho et al. 2020, eq. 14).

    images         (N, C, H, W) in [-1, 1]
    scheduler      gives the noise schedule; timesteps are uniform in 1 .. T-1, as in the paper
    generator      draws timesteps, noise and dropped labels, on its own device
    class_labels   (N,) integers 0 .. K-1; a share `class_dropout` becomes K, "no class" (Ho & Salimans 2022)
    frame          where the images lie, for a model that knows one; None = not passed on
    weights        (T,), of the squared errors at each timestep (`AliasFreeUNet2DModel.loss_weights`); None = 1

    Nothing here waits for the device. Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree import AliasFreeUNet2DModel, PaperDDPMScheduler
    >>> from aliasfree.diffusion import training_loss
    >>> model = AliasFreeUNet2DModel("A", sample_size=16, in_channels=1, out_channels=1, base_channels=4)
    >>> images = torch.zeros(8, 1, 16, 16)
    >>> loss = training_loss(model, images, PaperDDPMScheduler(), torch.Generator().manual_seed(0))
    >>> loss.backward()
    >>> loss.ndim, loss.item() > 0
    (0, True)
    """
    if images.ndim != 4:
        raise ShapeError(f"expected images of shape (N, C, H, W), got {tuple(images.shape)}")
    n, device = len(images), generator.device
    steps = int(scheduler.config["num_train_timesteps"])
    t = torch.randint(1, steps, (n,), generator=generator, device=device).to(images.device)
    noise = torch.randn(images.shape, generator=generator, device=device, dtype=images.dtype).to(images.device)
    labels = class_labels
    if labels is not None:
        null = getattr(model, "module", model).config["num_class_embeds"]
        if null is None:
            raise ArgumentError("this model has no classes: leave out class_labels, or build it with num_class_embeds")
        if labels.shape != (n,):
            raise ShapeError(f"expected {n} class labels, one an image, got shape {tuple(labels.shape)}")
        if class_dropout > 0:
            drop = torch.rand(n, generator=generator, device=device) < class_dropout
            labels = torch.where(drop.to(labels.device), null, labels)
    noisy = scheduler.add_noise(images, noise, t)
    given = {"class_labels": labels, "frame": frame}
    predicted = model(noisy, t, **{name: value for name, value in given.items() if value is not None}).sample
    if weights is None:
        return F.mse_loss(predicted.float(), noise.float())
    error = (predicted.float() - noise.float()).square().mean((1, 2, 3))
    return (weights.to(error)[t] * error).mean()
