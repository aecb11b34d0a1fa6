"""Everything `aliasfree train` can set, checked once, written to and read from `config.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aliasfree.data.labels import LABELS
from aliasfree.devices import DEVICES
from aliasfree.errors import ArgumentError, ConfigError, check_seed, did_you_mean

AUGMENTATIONS = ("none", "flip", "rotate", "frame")
PRECONDITIONINGS = ("none", "spectral")
PRECISIONS = ("no", "bf16")
LR_SCHEDULES = ("constant", "cosine", "linear")
PADDING_MODES = ("zeros", "circular", "reflect")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of one training run. The defaults are the paper's where it states them (section 4, "Training").

    Raises `ArgumentError` (a value out of range) or `ConfigError` (no such config) on construction, so that a
    `RunSettings` that exists is valid.

    >>> from aliasfree.training import RunSettings
    >>> settings = RunSettings(data="digits", config="D-hq", out="runs/digits", image_size=16, epochs=10)
    >>> settings.total_steps(num_images=1797, world_size=1)
    1124
    >>> RunSettings.from_dict(settings.to_dict()) == settings
    True
    """

    data: str  # a name ("digits", "mnist", "cifar10", "mnist-m"), a path, or "hub:NAME"
    config: str  # "A", "B-0" ... "D-2N", "D-hq"
    out: Path  # the run folder
    num_images: int | None = None  # of the split, a fair sample that is the same every time; None = all
    image_size: int | tuple[int, int] | None = 32  # pixels, (H, W) or a side; None = as the data are; divisible by 8
    split: str = "train"  # of the data: "train", "val", "test", or "all" (no folder is a split)
    labels: str = "auto"  # of folders and zips: "auto", "none", "folders" or "file"
    channels: int | None = None  # 1 grey, 3 colour, None = as the data are
    model: Path | None = None  # folder of a diffusers UNet2DModel to convert and train; None = the paper's network
    base_channels: int | None = None  # width of the network; None = image size, as in the paper
    padding_mode: str | None = None  # None = what the config prefers: "circular" for T, else "zeros"
    preconditioning: str | None = None  # "none" or "spectral"; None = "spectral" for T, else "none"
    frame_features: int | None = None  # K of the frame's Fourier features; None = 1 for T, else 0
    loss_weighting: float = 0.5  # exponent, 0 = all noise levels alike .. 1; only with spectral preconditioning
    class_conditional: bool = False  # learn from the labels, for guidance when sampling
    class_dropout: float = 0.1  # share of labels replaced by "no class" (only with class_conditional), in [0, 1]
    num_train_timesteps: int = 1000  # T of the paper

    epochs: float = 100  # passes over the data
    steps: int | None = None  # optimizer steps in all; None = from epochs
    coarse_steps: int = 0  # of them, the first so many at half the side, at a quarter of the cost or less
    batch_size: int = 16  # images per process and step
    lr: float = 3e-4  # the greatest
    lr_warmup: int = 0  # steps over which it rises; 0 = none, as in the paper
    lr_schedule: str = "constant"  # after that, as in the paper; "cosine" and "linear" fall to 0 at the last step
    weight_decay: float = 0.01  # AdamW's own default, which the paper keeps
    grad_clip: float | None = 1.0  # largest gradient norm, which tames rare spikes; None = off, as in the paper
    ema_decay: float = 0.9999  # of the weights; reached by the warm-up (1 + step) / (10 + step); 0 = no average
    # "flip": left-right, half of the time; "rotate": by an angle uniform in [0, 360); "frame": turned and shifted, the
    # frame with the image
    augment: str = "none"
    mixed_precision: str = "no"  # "bf16": matrix products and convolutions in bfloat16, weights stay float32
    compile: bool = False  # torch.compile the network: a minute or more at the start, faster steps after that
    seed: int = 42
    device: str = "auto"  # "auto": CUDA when there is one

    checkpoint_every: int = 1000  # steps between checkpoints; one more at the end and on SIGTERM or Ctrl-C
    keep_checkpoints: int = 3  # how many of the newest stay
    sample_every: int | None = 1000  # steps between sample grids, and one at the end; None = no grids
    sample_num: int = 16  # images in a grid
    sample_steps: int = 50  # ancestral sampling steps of a grid
    save_training_images: int = 0  # how many images of the data to write as PNG; -1 = all
    skip_bad: bool = False  # leave out damaged images instead of stopping

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", str(self.data))
        object.__setattr__(self, "out", Path(self.out))
        if self.model is not None:
            object.__setattr__(self, "model", Path(self.model))
        if isinstance(self.image_size, list | tuple):
            object.__setattr__(self, "image_size", _size(self.image_size))
        self._check()

    def _check(self) -> None:
        from aliasfree.config import Config  # the only heavy import, needed for the names alone

        config = Config.parse(self.config)
        _one_of("augment", self.augment, AUGMENTATIONS)
        _one_of("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        _one_of("mixed_precision", self.mixed_precision, PRECISIONS)
        for name, value, valid in (
            ("padding_mode", self.padding_mode, PADDING_MODES),
            ("preconditioning", self.preconditioning, PRECONDITIONINGS),
        ):
            if value is not None:
                _one_of(name, value, valid)
        _at_least("frame_features", self.frame_features, 0, none="what the config prefers")
        frames = config.is_equivariant if self.frame_features is None else self.frame_features
        if self.augment == "frame" and (not frames or self.model is not None):
            raise ArgumentError(
                "`augment` 'frame' moves the frame with the image, so the network has to know one: give "
                "`frame_features` 1, or choose 'rotate'."
            )
        if not 0 <= self.loss_weighting <= 1:
            raise ArgumentError(f"`loss_weighting` must be between 0 and 1, not {self.loss_weighting}.")
        _one_of("device", self.device, DEVICES)
        _one_of("labels", self.labels, LABELS)
        if self.channels not in (None, 1, 3):
            raise ArgumentError(f"`channels` must be 1 (grey) or 3 (colour), not {self.channels}.")
        for side in _sides(self.image_size):
            if not _is_int(side) or side < 8 or side % 8:
                lower = max(8, int(side) // 8 * 8)
                raise ArgumentError(
                    f"`image_size` must be a positive multiple of 8 because the network halves it three times, "
                    f"not {side}; try {lower} or {lower + 8}."
                )
        for name in ("base_channels", "class_conditional", "preconditioning", "frame_features", "coarse_steps"):
            if self.model is not None and getattr(self, name):
                raise ArgumentError(f"`{name}` is of the paper's network; leave it out with `model`.")
        _at_least("base_channels", self.base_channels, 4, none="the image size")
        if self.base_channels is not None and self.base_channels % 4:
            raise ArgumentError(f"`base_channels` must be a multiple of 4 (attention heads), not {self.base_channels}.")
        _at_least("lr_warmup", self.lr_warmup, 0)
        _at_least("coarse_steps", self.coarse_steps, 0)
        if self.coarse_steps and any(side % 16 for side in _sides(self.image_size)):
            raise ArgumentError(
                "`coarse_steps` halves the images, and the network halves them three times more: `image_size` must be "
                "a multiple of 16."
            )
        _at_least("num_images", self.num_images, 1, none="all")
        _at_least("steps", self.steps, 1, none="counting by `epochs`")
        for name in ("batch_size", "checkpoint_every", "keep_checkpoints", "sample_num", "sample_steps"):
            _at_least(name, getattr(self, name), 1)
        _at_least("sample_every", self.sample_every, 1, none="no sample grids")
        _at_least("num_train_timesteps", self.num_train_timesteps, 2)
        _at_least("save_training_images", self.save_training_images, -1)
        check_seed(self.seed)
        if self.sample_steps > self.num_train_timesteps - 1:
            raise ArgumentError(
                f"`sample_steps` must be at most {self.num_train_timesteps - 1}, one less than "
                f"`num_train_timesteps`, not {self.sample_steps}."
            )
        _positive("epochs", self.epochs)
        _positive("lr", self.lr)
        if self.grad_clip is not None:
            _positive("grad_clip", self.grad_clip)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"`weight_decay` must be 0 or a positive number, not {self.weight_decay}.")
        if not 0 <= self.ema_decay < 1:
            raise ArgumentError(f"`ema_decay` must be at least 0 and below 1, not {self.ema_decay}.")
        if not 0 <= self.class_dropout <= 1:
            raise ArgumentError(f"`class_dropout` must be between 0 and 1, not {self.class_dropout}.")

    def total_steps(self, num_images: int, world_size: int, *, step: int = 0, images_seen: int = 0) -> int:
        """Optimizer steps of the whole run, seen from `step` with `images_seen` images behind it."""
        if self.steps is not None:
            return self.steps
        left = self.epochs * num_images - images_seen
        return step + max(0, math.ceil(left / (self.batch_size * world_size)))

    def replace(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again. `steps=N` or `epochs=N` sets the length."""
        check_names(RunSettings, changes)
        if changes.get("epochs") is not None and "steps" not in changes:
            changes["steps"] = None
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only."""
        values = dataclasses.asdict(self)
        values["out"] = str(self.out)
        values["model"] = None if self.model is None else str(self.model)
        if isinstance(self.image_size, tuple):
            values["image_size"] = list(self.image_size)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `ConfigError` for an unknown name, `ArgumentError` for a missing one."""
        check_names(RunSettings, values, needed=("data", "config", "out"))
        return cls(**values)


def check_names(settings: type[Any], values: Mapping[str, Any], needed: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for a name that the settings do not have, ArgumentError for one that is needed and lacks."""
    names = [field.name for field in dataclasses.fields(settings)]
    for name in values:
        if name not in names:
            raise ConfigError(f"There is no setting {name!r}{did_you_mean(name, names)}.")
    missing = [name for name in needed if name not in values]
    if missing:
        raise ArgumentError(f"The settings lack {', '.join(missing)}.")


def _size(size: Any) -> tuple[int, int]:
    if len(size) != 2:
        raise ArgumentError(f"`image_size` takes one number or height and width, not {len(size)} numbers.")
    return (size[0], size[1])


def _sides(size: int | tuple[int, int] | None) -> tuple[int, ...]:
    if size is None:
        return ()
    return size if isinstance(size, tuple) else (size,)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ArgumentError(f"There is no `{name}` {value!r}{did_you_mean(str(value), valid)}.")


def _at_least(name: str, value: int | None, least: int, none: str | None = None) -> None:
    if value is None and none is not None:
        return
    if not _is_int(value) or value < least:  # type: ignore[operator]
        tail = f" (leave it out for {none})" if none else ""
        raise ArgumentError(f"`{name}` must be a whole number of at least {least}, not {value}{tail}.")


def _positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"`{name}` must be a positive number, not {value}.")
