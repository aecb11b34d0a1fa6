"""What the demo was told to do and what it gave: the numbers and images that its page shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aliasfree.diffusion.names import LATE
from aliasfree.errors import ArgumentError
from aliasfree.results.film import Film
from aliasfree.results.metrics import Metrics, SamplerEquivariance

__all__ = ["QUICK", "ConfigResult", "DemoResult", "DemoSettings", "facts"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """All that decides the demo's pictures and numbers. The steps are a fixed number, so that they can be had again."""

    configs: tuple[str, ...] = ("A", "T")
    seed: int = 42

    # training
    image_size: int = 16  # pixels, a multiple of 8
    base_channels: int = 16  # width of the networks
    steps: int = 800  # of each config
    batch_size: int = 16
    lr: float = 2e-3  # the narrow network takes more than the paper's 3e-4
    ema_decay: float = 0.99
    preconditioning: str = "spectral"  # of all configs, so that they differ in nothing but their layers and the frame
    loss_weighting: float = 1.0  # with it digits come in a fraction of the steps

    # sampling
    scheduler: str = "ddpm-clipped"
    sampling_steps: int = 30
    guidance: float = 3.0  # classifier-free; sample i is asked to be the digit i % 10
    samples: int = 160  # upright images of each config
    confidence: float = 0.9  # at which the classifier accepts
    classifier_epochs: int | None = None  # None = as many as `train_classifier` holds right

    # moving by fractions of a pixel
    frames: int = 32  # of the film
    travel: float = 2.0  # pixels in all
    film_images: int = 2
    moved: int = 8  # samples by which the whole sampler's equivariance is measured

    # turning
    strip_angles: int = 9  # columns of a strip, from -90 to 90 degrees
    strip_seeds: int = 3  # rows of a strip: the first seeds, not chosen
    film_angles: int = 17  # of the animation; strip_angles - 1 must divide film_angles - 1
    film_seeds: int = 4
    turned: int = 32  # images turned by 90 degrees to see whether they stay what they were
    window: tuple[float, float] = LATE  # of sampling, in which our way turns: all at once, late

    def __post_init__(self) -> None:
        if not self.configs:
            raise ArgumentError("The demo needs at least one config, such as A.")
        if (self.film_angles - 1) % (self.strip_angles - 1) or self.film_seeds < self.strip_seeds:
            raise ArgumentError("The angles and seeds of the strip must be among those of the film.")


QUICK = DemoSettings(
    steps=80,
    sampling_steps=6,
    samples=80,  # more than the classifier has features
    classifier_epochs=8,
    frames=8,
    film_images=1,
    moved=2,
    strip_angles=5,
    strip_seeds=2,
    film_angles=5,
    film_seeds=2,
    turned=8,
)
"""Every output in about a minute. The digits are poor: this shows that all works, not how well."""


@dataclass(frozen=True)
class ConfigResult:
    """What one config gave. Images are uint8, (..., H, W, C); the first axis is the seed, the second the angle."""

    name: str
    parameters: int
    steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    training_seconds: float
    sampling_seconds: float  # of the upright samples
    reused: bool  # trained by an earlier call
    samples: Pixels
    accepted: float  # share of the samples
    as_asked: float  # share of the samples that are accepted as the digit asked for
    classes: tuple[int, ...]  # accepted samples of each class
    shifted: Film  # while its noise moves by fractions of a pixel
    sampler: SamplerEquivariance
    film: Pixels  # our way
    paper_strip: Pixels  # the paper's way
    # share of accepted upright images that stay the same digit at 90 degrees; None = no image
    kept: float | None  # our way
    paper_kept: float | None  # the paper's

    @property
    def images_per_second(self) -> float:
        """Upright samples made a second."""
        return len(self.samples) / self.sampling_seconds


@dataclass(frozen=True)
class DemoResult:
    """All that the page tells."""

    settings: DemoSettings
    configs: tuple[ConfigResult, ...]
    metrics: tuple[Metrics, ...]  # of each config; () = not measured
    images: int  # in the data
    accuracy: float  # of the classifier, on the held-out digits
    tested_on: int
    real_accepted: float  # share of the held-out digits it accepts
    noise_accepted: float  # share of white noise
    seconds: float  # of this call
    versions: dict[str, str]
    threads: int

    @property
    def angles(self) -> list[float]:
        """Degrees of the strips' columns."""
        return np.linspace(-90, 90, self.settings.strip_angles).tolist()


def facts(result: DemoResult) -> dict[str, Any]:
    """The numbers of the page, for demo.json."""
    configs: dict[str, dict[str, Any]] = {}
    for c in result.configs:
        named = (
            "parameters",
            "training_seconds",
            "sampling_seconds",
            "accepted",
            "as_asked",
            "classes",
            "kept",
            "paper_kept",
            "sampler",
        )
        configs[c.name] = {name: getattr(c, name) for name in named}
        configs[c.name] |= {"film_db": c.shifted.db, "last_loss": float(c.losses[-100:].mean())}
    rest = ("images", "accuracy", "tested_on", "real_accepted", "noise_accepted", "seconds", "versions", "threads")
    for measured in result.metrics:
        assert measured.config is not None
        configs[measured.config]["measured"] = {"fidelity": measured.fidelity, "equivariance": measured.equivariance}
    return {"settings": result.settings, "configs": configs, **{name: getattr(result, name) for name in rest}}
