"""Error of the predicted noise on images that were not trained on, at one noise level.

The cheapest and least noisy comparison of architectures: no sampling, and every network sees the same images with the
same noise, so that the differences of two networks are far better known than the errors themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError

__all__ = ["noise_error"]


def noise_error(
    fn: Callable[[Tensor, Tensor], Tensor], images: Tensor, kept: Tensor, *, seed: int = 0, batch_size: int = 64
) -> Tensor:
    """Mean squared error of the predicted noise of each image: (N,) float64.

    fn      (noised images (n, C, H, W), their numbers (n,)) -> predicted noise (n, C, H, W)
    images  (N, C, H, W) in [-1, 1]
    kept    (N,) in [0, 1], share of an image's variance that is left (alpha bar of Ho et al. 2020, eq. 4)
    seed    of the noise, which depends on it and on the shape of `images` alone

    0 is perfect; an answer of zeros has an error of about 1. Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.evaluation.noise_error import noise_error
    >>> images, kept = torch.zeros(100, 1, 8, 8), torch.full((100,), 0.5)
    >>> knows_that_there_is_nothing_else = lambda noised, numbers: noised / 0.5**0.5
    >>> round(noise_error(knows_that_there_is_nothing_else, images, kept).mean().item(), 6)
    0.0
    """
    if images.ndim != 4 or not len(images):
        raise ShapeError(f"expected images (N, C, H, W), N >= 1, got {tuple(images.shape)}")
    if kept.shape != images.shape[:1]:
        raise ShapeError(f"expected {len(images)} shares, one an image, got shape {tuple(kept.shape)}")
    if not ((kept >= 0) & (kept <= 1)).all():
        raise ArgumentError("the shares of variance that are left lie in [0, 1]")
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    errors = []
    for numbers in torch.arange(len(images)).split(batch_size):
        share = kept[numbers].double()[:, None, None, None].to(images.device)
        x, wanted = images[numbers], noise[numbers].to(images)
        noised = (share.sqrt() * x + (1 - share).sqrt() * wanted).to(images)
        with torch.no_grad():
            predicted = fn(noised, numbers)
        errors.append((predicted.double() - wanted.double()).square().mean((1, 2, 3)).cpu())
    return torch.cat(errors)
