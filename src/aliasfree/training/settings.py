"""Everything `aliasfree train` can set, checked once, written to and read from `config.json`.

`LoopSettings` is what every run of the training loop has; `RunSettings` adds what is of `aliasfree train`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aliasfree.data.labels import LABELS
from aliasfree.devices import DEVICES
from aliasfree.errors import ArgumentError, check_seed
from aliasfree.settings import Settings, at_least, below, between, not_negative, one_of, option, positive

__all__ = ["LENGTH", "NETWORK", "OUTPUT", "LoopSettings", "RunSettings"]

AUGMENTATIONS = ("none", "flip", "rotate", "frame")
PRECONDITIONINGS = ("none", "spectral")
PRECISIONS = ("no", "bf16")
LR_SCHEDULES = ("constant", "cosine", "linear")
PADDING_MODES = ("zeros", "circular", "reflect")
NETWORK, LENGTH, OUTPUT = "Network", "Optimisation", "What is written"
"""Headings of the command line."""
PREFERRED = "what the config prefers"


def _seed(name: str, value: Any, tail: str) -> None:  # noqa: ARG001
    check_seed(value)


def _grey_or_colour(name: str, value: Any, tail: str) -> None:
    if value not in (1, 3):
        raise ArgumentError(f"`{name}` must be 1 (grey) or 3 (colour), not {value}{tail}.")


@dataclass(frozen=True, kw_only=True)
class LoopSettings(Settings):
    """What the training loop is told, whatever it trains. Raises `ArgumentError` or `ConfigError` on construction."""

    data: str = option(help="digits, mnist, cifar10, mnist-m, hub:NAME, or a path.")
    config: str = option(help="A, B-0 ... D-2N, D-hq, T, R; see `aliasfree configs`.")
    out: Path = option(help="The run folder, for all that is written.")
    num_images: int | None = option(
        None, "Train on so many of its images, a fair sample.", at_least(1), none="all", panel=LENGTH
    )  # the same sample every time
    image_size: int | tuple[int, int] | None = option(
        32, "A side, HEIGHTxWIDTH, or native.", panel=NETWORK, metavar="SIZE"
    )  # pixels, (H, W) or a side; None = as the data are
    split: str = option("train", "Of the data: train, val, test, or all.", panel=NETWORK)  # no folder is a split
    padding_mode: str | None = option(
        None, "zeros, circular or reflect.", one_of(PADDING_MODES), none=PREFERRED, panel=NETWORK
    )  # which is circular for T, else zeros

    steps: int | None = option(None, "Optimizer steps in all.", at_least(1), none="from `epochs`", panel=LENGTH)
    batch_size: int = option(16, "Images per process and step.", at_least(1), panel=LENGTH)
    lr: float = option(3e-4, "Learning rate, the greatest.", positive, panel=LENGTH)
    lr_warmup: int = option(0, "Steps over which it rises.", at_least(0), panel=LENGTH)
    lr_schedule: str = option(
        "constant", "After that: constant, or cosine or linear to 0 at the last step.", one_of(LR_SCHEDULES),
        panel=LENGTH,
    )  # fmt: skip
    weight_decay: float = option(
        0.01, "Of AdamW.", not_negative, panel=LENGTH
    )  # AdamW's default, which the paper keeps
    grad_clip: float | None = option(
        1.0, "Largest gradient norm; 0 is off.", positive, zero_is_none=True, panel=LENGTH
    )  # tames rare spikes; None = off, as in the paper
    ema_decay: float = option(
        0.9999, "Of the averaged weights; 0 is off.", below(1), panel=LENGTH
    )  # reached by the warm-up (1 + step) / (10 + step)
    mixed_precision: str = option(
        "no", "no or bf16.", one_of(PRECISIONS), panel=LENGTH, names=("--mixed-precision", "--precision")
    )  # bf16: matrix products and convolutions in bfloat16, weights stay float32
    seed: int = option(42, "Of weights, order, noise and augmentation.", _seed, panel=LENGTH)
    device: str = option("auto", "auto, cpu or cuda.", one_of(DEVICES), panel=LENGTH)
    skip_bad: bool = option(False, "Leave damaged images out and count them.", panel=LENGTH)

    checkpoint_every: int = option(1000, "Steps between checkpoints.", at_least(1), panel=OUTPUT)  # and at every end
    keep_checkpoints: int = option(3, "How many of the newest stay.", at_least(1), panel=OUTPUT)
    sample_steps: int = option(50, "Sampling steps of a grid.", at_least(1), panel=OUTPUT)

    def check(self) -> None:
        """The config, by its name."""
        from aliasfree.config import Config  # the only heavy import, needed for the names alone

        Config.parse(self.config)


@dataclass(frozen=True, kw_only=True)
class RunSettings(LoopSettings):
    """Settings of one training run. The defaults are the paper's where it states them (section 4, "Training").

    Raises `ArgumentError` (a value of another type or out of range) or `ConfigError` (no such config) on construction,
    so that a `RunSettings` that exists is valid.

    >>> from aliasfree.training import RunSettings
    >>> settings = RunSettings(data="digits", config="D-hq", out="runs/digits", image_size=16, epochs=10)
    >>> settings.total_steps(num_images=1797, world_size=1)
    1124
    >>> RunSettings.from_dict(settings.to_dict()) == settings
    True
    """

    channels: int | None = option(
        None, "1 grey, 3 colour.", _grey_or_colour, none="as the data are", panel=NETWORK, after="image_size"
    )
    labels: str = option(
        "auto", "Of folders and zips: auto, none, folders or file.", one_of(LABELS), panel=NETWORK, after="split"
    )
    model: Path | None = option(
        None, "Folder of a diffusers UNet2DModel to convert and train or fine-tune.", none="the paper's", panel=NETWORK
    )  # or of a network of ours, which is gone on with
    base_channels: int | None = option(
        None, "Width of the network.", at_least(4), none="the image size", panel=NETWORK
    )  # as in the paper
    preconditioning: str | None = option(
        None, "spectral (the optimal linear predictor around the network) or none.", one_of(PRECONDITIONINGS),
        none=PREFERRED, panel=NETWORK, after="padding_mode",
    )  # fmt: skip  # spectral for T, else none
    frame_features: int | None = option(
        None, "Harmonics of the frame's coordinates; 0 is none.", at_least(0), none=PREFERRED, panel=NETWORK
    )  # 1 for T, else 0
    loss_weighting: float = option(
        0.5, "With spectral: 0 weights all noise levels alike, 1 lifts the noisy ones most.", between(0, 1),
        panel=LENGTH,
    )  # fmt: skip
    class_conditional: bool = option(False, "Learn from the labels too.", panel=NETWORK)  # for guidance when sampling
    class_dropout: float = option(0.1, "Share of labels left out, for guidance.", between(0, 1), panel=NETWORK)
    num_train_timesteps: int = option(1000, "T of the paper.", at_least(2), panel=NETWORK)

    epochs: float = option(100, "Passes over the data.", positive, panel=LENGTH)
    coarse_steps: int = option(
        0, "The first so many at half the side, at about a third of the cost.", at_least(0), panel=LENGTH,
        after="steps",
    )  # fmt: skip
    augment: str = option(
        "none", "none, flip, rotate or frame.", one_of(AUGMENTATIONS), panel=LENGTH, after="ema_decay"
    )  # flip: left-right, half of the time; rotate: by an angle uniform in [0, 360); frame: turned and shifted, the
    # frame with the image
    compile: bool = option(
        False, "torch.compile the network: a slow start, then faster steps.", panel=LENGTH, after="mixed_precision"
    )

    sample_every: int | None = option(
        1000, "Steps between sample grids; 0 is none.", at_least(1), zero_is_none=True, panel=OUTPUT,
        after="keep_checkpoints",
    )  # fmt: skip  # and one at the end
    sample_num: int = option(16, "Images in a grid.", at_least(1), panel=OUTPUT)
    save_training_images: int = option(
        0, "How many images of the data to write as PNG; -1 is all.", at_least(-1), panel=OUTPUT, after="sample_steps"
    )

    def check(self) -> None:
        """What concerns several settings."""
        from aliasfree.config import Config

        super().check()
        config = Config.parse(self.config)
        frames = config.traits.frame if self.frame_features is None else self.frame_features
        if self.augment == "frame" and (not frames or self.model is not None):
            raise ArgumentError(
                "`augment` 'frame' moves the frame with the image, so the network has to know one: give "
                "`frame_features` 1, or choose 'rotate'."
            )
        for side in _sides(self.image_size):
            if side < 8 or side % 8:
                lower = max(8, side // 8 * 8)
                raise ArgumentError(
                    f"`image_size` must be a positive multiple of 8 because the network halves it three times, "
                    f"not {side}; try {lower} or {lower + 8}."
                )
        if self.base_channels is not None and self.base_channels % 4:
            raise ArgumentError(f"`base_channels` must be a multiple of 4 (attention heads), not {self.base_channels}.")
        if self.coarse_steps and any(side % 16 for side in _sides(self.image_size)):
            raise ArgumentError(
                "`coarse_steps` halves the images, and the network halves them three times more: `image_size` must be "
                "a multiple of 16."
            )
        if self.sample_steps > self.num_train_timesteps - 1:
            raise ArgumentError(
                f"`sample_steps` must be at most {self.num_train_timesteps - 1}, one less than "
                f"`num_train_timesteps`, not {self.sample_steps}."
            )

    def total_steps(self, num_images: int, world_size: int, *, step: int = 0, images_seen: int = 0) -> int:
        """Optimizer steps of the whole run, seen from `step` with `images_seen` images behind it."""
        if self.steps is not None:
            return self.steps
        left = self.epochs * num_images - images_seen
        if not math.isfinite(left):
            raise ArgumentError(f"`epochs` {self.epochs:g} are more steps than can be counted; choose fewer.")
        return step + max(0, math.ceil(left / (self.batch_size * world_size)))

    def replace(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again. `steps=N` or `epochs=N` sets the length."""
        if changes.get("epochs") is not None and "steps" not in changes:
            changes["steps"] = None
        return super().replace(**changes)


def _sides(size: int | tuple[int, int] | None) -> tuple[int, ...]:
    if size is None:
        return ()
    return size if isinstance(size, tuple) else (size,)
