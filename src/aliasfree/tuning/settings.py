"""Everything `aliasfree tune` can set, checked once, written to and read from `config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aliasfree.errors import ArgumentError
from aliasfree.settings import at_least, changed, one_of, option, positive
from aliasfree.training.settings import LENGTH, NETWORK, LoopSettings

__all__ = ["LOSSES", "TuneSettings", "default_weights"]

LOSSES = ("teacher", "latents", "reconstruction", "perceptual", "kl", "shift", "fractional", "scale", "turn", "flip")
"""The names of the losses; each has a weight in the settings."""
_OF_UNETS = ("teacher", "reconstruction", "shift", "fractional", "turn", "flip")
_DEFAULTS = {
    "autoencoder": {"latents": 0.01, "reconstruction": 1.0, "fractional": 0.01},
    "unet": {"teacher": 1.0, "reconstruction": 1.0, "fractional": 0.1},
}


LOSS_PANEL, MEASURED = "Losses and their weights", "What is measured"


def _loss(help: str, none: str = "0") -> Any:
    """The weight of a loss; None = the default of the kind of model."""
    return option(None, help, _weight, none=none, panel=LOSS_PANEL)


def _weight(name: str, value: Any, tail: str) -> None:
    if value < 0:
        raise ArgumentError(f"`{name}` is the weight of a loss, 0 or a positive number, not {value}{tail}.")


def _default(name: str) -> str:
    """The default weights in words."""
    autoencoder, unet = (_DEFAULTS[kind].get(name, 0) for kind in ("autoencoder", "unet"))
    return f"{autoencoder:g}" if name not in _OF_UNETS or autoencoder == unet else f"{autoencoder:g}; UNet {unet:g}"


@dataclass(frozen=True, kw_only=True)
class TuneSettings(LoopSettings):
    """Settings of one tuning run.

    Raises `ArgumentError` or `ConfigError` on construction, so that settings that exist are valid.

    >>> from aliasfree.tuning import TuneSettings
    >>> settings = TuneSettings(model="stock-vae", config="T", out="tuned", data="cifar10", fractional=0.5)
    >>> settings.weights("autoencoder")
    {'latents': 0.01, 'reconstruction': 1.0, 'fractional': 0.5}
    """

    model: Path = option(
        help="Folder of a stock UNet2DModel, UNet2DConditionModel, AutoencoderKL, or pipeline.", positional=True,
        metavar="DIR",
    )  # fmt: skip  # the teacher, and the student's first weights
    config: str = option(help="B-hq, D-hq, T ...; see `aliasfree configs`.")  # "A" = none, as a control
    out: Path = option(help="The run folder; its model/ is the tuned model.")
    data: str | None = changed(  # type: ignore[assignment]  # here it may be left out
        LoopSettings, "data", None, none="the teacher's samples", after="out"
    )
    part: str | None = option(None, "Of a pipeline: unet or vae.", one_of(("unet", "vae")), none="its UNet",
                              panel=NETWORK, after="data")  # fmt: skip
    vae: Path | None = option(
        None, "Folder of the autoencoder that makes a UNet's latents.", none="the pipeline's", panel=NETWORK
    )
    embeddings: Path | None = option(
        None, "Safetensors file of encoder_hidden_states (M, L, D).", none="none", panel=NETWORK
    )  # one drawn for each image
    image_size: int | tuple[int, int] | None = changed(
        LoopSettings, "image_size", None, "A side, or HEIGHTxWIDTH, of what the model sees.", none="the model's"
    )
    padding_mode: str | None = changed(LoopSettings, "padding_mode", None, none="T: circular, else the model's")
    attention_rate: int = option(
        1, "1, 2 or 4 times the rate of the plane.", at_least(1), panel=NETWORK
    )  # as in `convert`
    samples: int = option(256, "Of the teacher, without `data`.", at_least(16), panel=NETWORK)
    sample_steps: int = changed(
        LoopSettings, "sample_steps", 50, "Of a UNet's sampler.", panel=NETWORK, after="samples"
    )  # also of the samples that are compared in the end

    teacher: float | None = _loss("Output against the teacher's.", _default("teacher"))  # on the same noised images
    latents: float | None = _loss("Latents against the teacher's (autoencoders).", _default("latents"))
    reconstruction: float | None = _loss(
        "Against the image, or the noise that a UNet is to find.", _default("reconstruction")
    )
    perceptual: float | None = _loss("ST-LPIPS of the reconstruction (autoencoders; aliasfree[perceptual]).")
    kl: float | None = _loss("Of the latents to the normal distribution (autoencoders).")
    shift: float | None = _loss("Whole shifts (AF-LDM).")
    fractional: float | None = _loss("Shifts by any fraction (AF-LDM).", _default("fractional"))
    scale: float | None = _loss("Smaller sizes (EQ-VAE; autoencoders).")
    turn: float | None = _loss("Quarter turns (EQ-VAE).")
    flip: float | None = _loss("Mirror images.")

    lora: int = option(0, "Rank of LoRA layers to train; 0 trains all weights.", at_least(0), panel=LENGTH)
    steps: int = changed(LoopSettings, "steps", 5000, "Optimizer steps, at most.", none=None)
    lr: float = changed(LoopSettings, "lr", 1e-4)
    lr_warmup: int = changed(LoopSettings, "lr_warmup", 100)
    lr_schedule: str = changed(LoopSettings, "lr_schedule", "cosine")
    weight_decay: float = changed(LoopSettings, "weight_decay", 0.0)
    ema_decay: float = changed(LoopSettings, "ema_decay", 0.999)
    seed: int = changed(LoopSettings, "seed", 42, "Of order, noise and motion.")
    checkpoint_every: int = changed(LoopSettings, "checkpoint_every", 500)  # one more at each point of the curve
    keep_checkpoints: int = changed(LoopSettings, "keep_checkpoints", 2)

    measure_every: int = option(500, "Steps between points of the curve.", at_least(1), panel=MEASURED)
    measure_images: int = option(64, "Held-out images of a point.", at_least(2), panel=MEASURED)
    most_lost: float | None = option(
        None, "Of the teacher's PSNR, or as a share of its error; points beyond are not kept.", positive,
        none="0.2 dB, or 0.03", panel=MEASURED,
    )  # fmt: skip
    patience: int = option(
        4, "Stop after so many points without a better one; 0 is never.", at_least(0), panel=MEASURED
    )

    def check(self) -> None:
        """What concerns several settings."""
        from aliasfree.config import Config

        config = Config.parse(self.config)
        if not config.traits.convertible:
            raise ArgumentError(
                f"`config` {config.letter} is a network of its own, which no stock model becomes; choose D-hq or T."
            )

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


def default_weights(kind: str) -> dict[str, float]:
    """The weights of the losses that count for an "autoencoder" or a "unet" unless others are given."""
    return dict(_DEFAULTS[kind])
