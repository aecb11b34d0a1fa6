"""Recipes: what the docs report, as named sets of arguments for training, sampling and measuring.

aliasfree train --recipe mnist-16 --config D-hq --out runs/d
aliasfree evaluate runs/d --recipe mnist-16
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aliasfree.errors import ArgumentError, did_you_mean

__all__ = ["RECIPES", "Recipe", "find_recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Arguments that differ from the defaults; a config and a folder are not among them.

    training    of `RunSettings`
    sampling    of `SampleSettings`
    evaluation  of `EvaluateSettings`, and of `SampleSettings` where it is measured otherwise than `sampling` says
    """

    about: str
    training: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


_MNIST = {
    "data": "mnist", "image_size": 16, "base_channels": 16, "class_conditional": True, "lr": 1e-3, "ema_decay": 0.999,
    "steps": 8000,
}  # fmt: skip
_GUIDED = {"scheduler": "ddpm-clipped", "class_label": "each", "guidance": 2.0, "steps": 50}

RECIPES: dict[str, Recipe] = {
    "paper": Recipe(
        about="The paper's: 100 epochs at 3e-4, 2,000 images by the full chain through Inception; name the data.",
        training={"ema_decay": 0.0, "grad_clip": None},
        sampling={"steps": 999},
        evaluation={"protocol": "paper"},
    ),
    "fast": Recipe(
        about="A quarter of the paper's images, in batches of 8, at a rate that rises and falls; name data and steps.",
        training={
            "batch_size": 8, "lr": 2e-3, "lr_warmup": 50, "lr_schedule": "cosine", "ema_decay": 0.995,
            "preconditioning": "spectral",
        },
    ),
    "digits": Recipe(
        about="The demo's: bundled digits at 16x16, minutes on two cores.",
        training={
            "data": "digits", "image_size": 16, "base_channels": 16, "class_conditional": True, "lr": 2e-3,
            "ema_decay": 0.99, "steps": 800, "preconditioning": "spectral", "loss_weighting": 1.0,
        },
        sampling={**_GUIDED, "guidance": 3.0, "steps": 30},
        evaluation={"data": "digits", "num": 256},
    ),
    "mnist-16": Recipe(
        about="Real MNIST at 16x16, 8,000 steps.",
        training=_MNIST,
        sampling=_GUIDED,
        evaluation={"data": "mnist", "num": 500, "steps": 30},
    ),
    "mnist-16-turned": Recipe(
        about="The same on digits turned at random, 5,000 steps.",
        training={**_MNIST, "augment": "rotate", "steps": 5000},
        sampling=_GUIDED,
        evaluation={"data": "mnist", "num": 500, "steps": 30},
    ),
    "cifar10-16": Recipe(
        about="CIFAR-10 at 16x16, bfloat16, flipped at random, 5,000 steps.",
        training={
            "data": "cifar10", "image_size": 16, "base_channels": 32, "class_conditional": True, "lr": 5e-4,
            "ema_decay": 0.9995, "augment": "flip", "mixed_precision": "bf16", "steps": 5000,
        },
        sampling=_GUIDED,
        evaluation={"data": "cifar10", "num": 500},
    ),
}  # fmt: skip
"""name -> recipe. To add one, add an entry."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a name. Raises ArgumentError listing the names."""
    if name not in RECIPES:
        raise ArgumentError(f"There is no `recipe` {name!r}{did_you_mean(name, RECIPES)}.")
    return RECIPES[name]
