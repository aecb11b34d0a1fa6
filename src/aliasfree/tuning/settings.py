"""Everything `aliasfree tune` can set, checked once, written to and read from `config.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aliasfree.devices import DEVICES
from aliasfree.errors import ArgumentError, check_seed, did_you_mean
from aliasfree.training.settings import LR_SCHEDULES, PADDING_MODES, PRECISIONS, check_names

__all__ = ["LOSSES", "TuneSettings", "default_weights"]

LOSSES = ("teacher", "latents", "reconstruction", "perceptual", "kl", "shift", "fractional", "scale", "turn", "flip")
"""The names of the losses; each has a weight in the settings."""
_OF_UNETS = ("teacher", "reconstruction", "shift", "fractional", "turn", "flip")
_DEFAULTS = {
    "autoencoder": {"latents": 0.01, "reconstruction": 1.0, "fractional": 0.01},
    "unet": {"teacher": 1.0, "reconstruction": 1.0, "fractional": 0.1},
}


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """Settings of one tuning run.

    Raises `ArgumentError` or `ConfigError` on construction, so that settings that exist are valid.

    >>> from aliasfree.tuning import TuneSettings
    >>> settings = TuneSettings(model="stock-vae", config="T", out="tuned", data="cifar10", fractional=0.5)
    >>> settings.weights("autoencoder")
    {'latents': 0.01, 'reconstruction': 1.0, 'fractional': 0.5}
    """

    model: Path  # folder of a stock diffusers model, or of a pipeline: the teacher, and the student's first weights
    config: str  # of the conversion, as `convert` takes it; "A" = none: the stock model is trained on, as a control
    out: Path  # the run folder; its `model/` is the tuned model
    data: str | None = None  # a name, a path or "hub:NAME"; None = samples of the teacher
    part: str | None = None  # of a pipeline: "unet" or "vae"; None = the one that it has, the UNet of both
    vae: Path | None = None  # what makes a UNet's latents of images; None = the pipeline's, if the UNet needs one
    embeddings: Path | None = None  # safetensors file of encoder_hidden_states (M, L, D), one drawn for each image
    padding_mode: str | None = None  # as in `convert`
    attention_rate: int = 1  # as in `convert`: 1, 2 or 4
    image_size: int | tuple[int, int] | None = None  # pixels; None = the model's sample size
    split: str = "train"  # of the data
    num_images: int | None = None  # of the split, a fair sample; None = all
    skip_bad: bool = False  # leave out damaged images instead of stopping
    samples: int = 256  # of the teacher, where there are no data
    sample_steps: int = 50  # of its sampler, for a UNet; also of the samples that are compared in the end

    teacher: float | None = None  # the student's output against the teacher's, on the same noised images or latents
    latents: float | None = None  # mean and deviation of the student's latents against the teacher's (autoencoders)
    reconstruction: float | None = None  # the image (autoencoders) or the target of the noise schedule (UNets)
    perceptual: float | None = None  # ST-LPIPS of the reconstruction (autoencoders)
    kl: float | None = None  # of the latents to the standard normal distribution (autoencoders)
    shift: float | None = None  # whole shifts, AF-LDM
    fractional: float | None = None  # shifts by any fraction, AF-LDM
    scale: float | None = None  # smaller sizes, EQ-VAE (autoencoders)
    turn: float | None = None  # quarter turns, EQ-VAE
    flip: float | None = None  # mirrored rows or columns

    lora: int = 0  # rank of LoRA layers that are trained and then merged; 0 = all weights are trained
    steps: int = 5000  # optimizer steps in all, at most
    batch_size: int = 16  # images per process and step
    lr: float = 1e-4  # the greatest
    lr_warmup: int = 100  # steps over which it rises
    lr_schedule: str = "cosine"  # after that: "constant", or "cosine" or "linear" to 0 at the last step
    weight_decay: float = 0.0  # of AdamW
    grad_clip: float | None = 1.0  # largest gradient norm; None = off
    ema_decay: float = 0.999  # of the weights, with the warm-up of `aliasfree train`; 0 = no average
    mixed_precision: str = "no"  # or "bf16"
    seed: int = 42
    device: str = "auto"  # "auto": CUDA when there is one

    measure_every: int = 500  # steps between points of the curve, and one at the end
    measure_images: int = 64  # held-out images of a point
    most_lost: float | None = None  # of fidelity against the teacher; None = 0.2 dB of PSNR, or 3 % of test error
    patience: int = 4  # points without a new best one until it stops; 0 = never
    checkpoint_every: int = 500  # steps between checkpoints; one more at each point and when it is stopped
    keep_checkpoints: int = 2  # how many of the newest stay

    def __post_init__(self) -> None:
        for name in ("model", "out", "vae", "embeddings"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if isinstance(self.image_size, list | tuple):
            object.__setattr__(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))
        self._check()

    def _check(self) -> None:
        from aliasfree.config import Config

        if Config.parse(self.config).letter == "R":
            raise ArgumentError("`config` R is a network of its own, which no stock model becomes; choose D-hq or T.")
        for name, valid in (("device", DEVICES), ("mixed_precision", PRECISIONS), ("lr_schedule", LR_SCHEDULES),
                            ("padding_mode", PADDING_MODES), ("part", ("unet", "vae"))):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value not in valid:
                raise ArgumentError(f"There is no `{name}` {value!r}{did_you_mean(str(value), valid)}.")
        for name in LOSSES:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ArgumentError(f"`{name}` is the weight of a loss, 0 or a positive number, not {value}.")
        least = {"lora": 0, "patience": 0, "lr_warmup": 0, "attention_rate": 1, "samples": 16, "measure_images": 2}
        least |= dict.fromkeys(("sample_steps", "steps", "batch_size", "measure_every"), 1)
        least |= dict.fromkeys(("checkpoint_every", "keep_checkpoints"), 1)
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ArgumentError(f"`{name}` must be a whole number of at least {lowest}, not {value}.")
        for name in ("lr", "grad_clip", "most_lost"):
            value = getattr(self, name)
            if not (value is None and name != "lr") and not (_is_number(value) and value > 0):
                raise ArgumentError(f"`{name}` must be a positive number, not {value}.")
        if not (_is_number(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"`weight_decay` must be 0 or a positive number, not {self.weight_decay}.")
        if not 0 <= self.ema_decay < 1:
            raise ArgumentError(f"`ema_decay` must be at least 0 and below 1, not {self.ema_decay}.")
        check_seed(self.seed)

    def weights(self, kind: str) -> dict[str, float]:
        """The weight of each loss that counts, for an "autoencoder" or a "unet": what was given, else the default.

        Raises ArgumentError where nothing counts, or a loss was asked for that a UNet does not have.
        """
        given = {name: getattr(self, name) for name in LOSSES}
        for name, value in given.items():
            if kind == "unet" and value and name not in _OF_UNETS:
                raise ArgumentError(f"`{name}` is a loss of autoencoders; leave it out for a UNet.")
        defaults = {"reconstruction": 1.0} if self.is_control else default_weights(kind)
        chosen = {name: defaults.get(name, 0.0) if value is None else float(value) for name, value in given.items()}
        if not any(chosen.values()):
            raise ArgumentError("Every loss has the weight 0; give one of them, as `reconstruction=1`.")
        return {name: value for name, value in chosen.items() if value}

    @property
    def is_control(self) -> bool:
        """Config A: the stock model trained on, on its own task, as long as the steps go."""
        from aliasfree.config import Config

        return Config.parse(self.config).letter == "A"

    # what the training loop asks of its settings

    @property
    def sample_every(self) -> int:
        """Steps between points of the curve."""
        return self.measure_every

    @property
    def compile(self) -> bool:
        """The network is not compiled: an autoencoder is called in two parts."""
        return False

    def total_steps(self, num_images: int, world_size: int, *, step: int = 0, images_seen: int = 0) -> int:  # noqa: ARG002
        """Optimizer steps of the whole run."""
        return self.steps

    def replace(self, **changes: Any) -> Self:
        """The same settings with some changed, checked again."""
        check_names(TuneSettings, changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only."""
        values = dataclasses.asdict(self)
        paths = {name: str(value) for name, value in values.items() if isinstance(value, Path)}
        size = list(self.image_size) if isinstance(self.image_size, tuple) else self.image_size
        return {**values, **paths, "image_size": size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `ConfigError` for an unknown name, `ArgumentError` for a missing one."""
        check_names(TuneSettings, values, needed=("model", "config", "out"))
        return cls(**values)


def default_weights(kind: str) -> dict[str, float]:
    """The weights of the losses that count for an "autoencoder" or a "unet" unless others are given."""
    return dict(_DEFAULTS[kind])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
