"""What is filtered, and by which filter: the configs A, B-0 ... D-2N of the paper, D-hq, D-radial, D-ideal, T and R."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aliasfree.errors import ConfigError, did_you_mean
from aliasfree.filters import BELOW_NYQUIST, FILTER_NAMES, FilterSpec

__all__ = ["PAPER_CONFIGS", "Config", "known_names"]

PAPER_CONFIGS: tuple[str, ...] = (
    "A",
    *(f"{letter}-{name}" for name in ("0", "1", "1N", "2N") for letter in "BCD"),
)
"""The 13 rows of the paper's table of results."""

_LETTERS = {
    "A": "baseline",
    "B": "alias-free up- and downsampling",
    "C": "alias-free nonlinearities",
    "D": "alias-free up- and downsampling and nonlinearities",
    "T": "everything commutes with shifts by any fraction of a pixel",
    "R": "everything commutes with turns about the middle by any angle",
}
_EQUIVARIANT = ("T", "R")
"""Letters whose networks are built to commute with a motion after training: names on their own, like A."""


def known_names() -> tuple[str, ...]:
    """Every config that has a name, the paper's rows first.

    >>> from aliasfree.config import known_names
    >>> known_names()[:4], "D-hq" in known_names()
    (('A', 'B-0', 'C-0', 'D-0'), True)
    """
    rest = (f"{letter}-{name}" for name in FILTER_NAMES for letter in "BCD")
    return PAPER_CONFIGS + tuple(n for n in rest if n not in PAPER_CONFIGS) + _EQUIVARIANT


@dataclass(frozen=True)
class Config:
    """A letter (A baseline, B resampling, C nonlinearities, D both, T translation, R rotation) and the filters it uses.

    up, down     FilterSpecs for a factor-2 step; None exactly for letter A
    oversample   rate of the filtered activation, >= 2; the specs are carried to that rate by `FilterSpec.at_rate`
    running_oversample   its rate outside of training (`model.eval()`), >= 2; None = the same. The weights do not depend
                         on the rate: what is trained at 2x may run at 4x, where less of the nonlinearity folds

    >>> from aliasfree import Config, FilterSpec
    >>> config = Config.parse("D-2N")
    >>> config.letter, config.up.taps, str(config)
    ('D', 3, 'D-2N')
    >>> longer = FilterSpec(taps=24, cutoff=0.375, kaiser_beta=4.0)
    >>> Config("C", up=longer, down=longer).description
    'alias-free nonlinearities'
    """

    letter: str = "A"
    up: FilterSpec | None = None
    down: FilterSpec | None = None
    oversample: int = 2
    running_oversample: int | None = None

    def __post_init__(self) -> None:
        if self.letter not in _LETTERS:
            raise ConfigError(f"unknown config letter {self.letter!r}{did_you_mean(self.letter, _LETTERS)}")
        if self.letter == "A" and (self.up or self.down):
            raise ConfigError("config A filters nothing: leave out 'up' and 'down', or use letter B, C or D")
        if self.letter != "A" and not (self.up and self.down):
            raise ConfigError(f"config {self.letter} needs both an 'up' and a 'down' filter")
        for name, rate in (("oversample", self.oversample), ("running_oversample", self.running_oversample or 2)):
            if rate < 2:
                raise ConfigError(f"{name} is a rate of the filtered activation, an integer >= 2, not {rate}")

    @classmethod
    def parse(cls, name: str | Config | dict[str, Any]) -> Config:
        """A config from its name ("D-2N"), from `to_config()` of another (also as JSON text), or itself.

        Raises ConfigError, listing the valid names and the nearest, for anything else.

        >>> from aliasfree import Config
        >>> Config.parse("T").running_oversample
        4
        """
        if isinstance(name, Config):
            return name
        if isinstance(name, dict):
            specs = {k: FilterSpec(**name[k]) if name.get(k) else None for k in ("up", "down")}
            rates = name.get("oversample", 2), name.get("running_oversample")
            return cls(name["letter"], specs["up"], specs["down"], *rates)
        if name.startswith("{"):
            try:
                return cls.parse(dict(json.loads(name)))
            except (ValueError, TypeError, KeyError) as error:
                raise ConfigError(
                    f"{name} is no config in JSON ({error}); give a name, or what to_config() gives"
                ) from error
        letter, dash, filter_name = name.partition("-")
        if name == "A":
            return cls("A")
        if name in _EQUIVARIANT:
            return cls(name, BELOW_NYQUIST, BELOW_NYQUIST, 2, 4)
        if letter in ("B", "C", "D") and dash and filter_name in FILTER_NAMES:
            spec = FilterSpec.named(filter_name)
            return cls(letter, spec, spec)
        if name == "E":
            raise ConfigError(
                "Config E of the paper is no network of its own: train one of A to D, and turn its images while they "
                "are sampled, by `rotate`."
            )
        raise ConfigError(f"unknown config {name!r}{did_you_mean(name, known_names())}")

    def __str__(self) -> str:
        """The name, as `parse` takes it; a config without a name is described."""
        if self.letter == "A":
            return "A"
        if self.letter in _EQUIVARIANT and self == Config.parse(self.letter):
            return self.letter
        if (
            self.running_oversample is None
            and self.up == self.down
            and self.oversample == 2
            and self.up is not None
            and self.up.name
        ):
            return f"{self.letter}-{self.up.name}"
        rates = f"oversample={self.oversample}, running_oversample={self.running_oversample}"
        return f"{self.letter}(up={self.up}, down={self.down}, {rates})"

    def to_config(self) -> str | dict[str, Any]:
        """The name if there is one, else plain values for JSON; `parse` takes both."""
        if "(" not in str(self):
            return str(self)
        assert self.up is not None
        assert self.down is not None
        return {
            "letter": self.letter,
            "up": self.up.to_dict(),
            "down": self.down.to_dict(),
            "oversample": self.oversample,
            "running_oversample": self.running_oversample,
        }

    @property
    def filters_resampling(self) -> bool:
        """Whether up- and downsampling are filtered (B, D, T, R)."""
        return self.letter in ("B", "D", *_EQUIVARIANT)

    @property
    def filters_activations(self) -> bool:
        """Whether the nonlinearities of the convolution blocks are filtered (C, D, T, R)."""
        return self.letter in ("C", "D", *_EQUIVARIANT)

    @property
    def is_equivariant(self) -> bool:
        """Whether attention and feed-forward layers are alias-free too, the plane is periodic, the frame an input and
        the prediction preconditioned, unless the model is told otherwise (T, R)."""
        return self.letter in _EQUIVARIANT

    @property
    def is_radial(self) -> bool:
        """Whether no direction is preferred: bands are discs, convolutions radial, the plane is a disc (R)."""
        return self.letter == "R"

    def commutes_with(self, *, turns: bool, shifts: bool, zooms: bool) -> bool:
        """Whether a network that is given the frame is built to commute with a motion of these parts: T with shifts, R
        with turns about the middle, none with zooms."""
        return self.is_equivariant and not zooms and not (shifts if self.is_radial else turns)

    @property
    def description(self) -> str:
        """What is filtered, in words."""
        return _LETTERS[self.letter]
