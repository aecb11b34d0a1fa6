"""What is filtered, and by which filter: the configs A, B-0 ... D-2N of the paper, D-hq, D-radial, D-ideal, T and R."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from aliasfree.errors import ConfigError, did_you_mean
from aliasfree.filters import BELOW_NYQUIST, FILTER_NAMES, FilterSpec

__all__ = ["LETTERS", "PAPER_CONFIGS", "Config", "Traits", "known_names", "register_letter"]

PAPER_CONFIGS: tuple[str, ...] = (
    "A",
    *(f"{letter}-{name}" for name in ("0", "1", "1N", "2N") for letter in "BCD"),
)
"""The 13 rows of the paper's table of results."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a letter makes of a network. Each trait is asked for where it is meant; nobody asks for the letter.

    description   in words, for tables
    resampling    up- and downsampling are filtered
    activations   the nonlinearities of the convolution blocks are filtered
    attention     attention is over channels, its norms and its feed-forward layer are alias-free
    periodic      the plane is one period of a torus, unless `padding_mode` says otherwise
    spectral      the prediction is preconditioned by the data's spectrum, unless `preconditioning` says otherwise
    frame         the frame is an input, unless `frame_features` says otherwise
    radial        no direction is preferred: bands are discs, convolutions radial, the plane is a disc
    motions       "shifts", "turns": what a network that is given the frame is built to commute with
    convertible   the weights of a stock network can run in it (`convert`, `tune`): its norms, convolutions and kind of
                  attention stay, so a letter that stands for others says False
    filter        of a letter that is a name by itself, as "T"; None = the filter's name stands behind a dash, as "D-hq"
    oversample, running_oversample   of a letter that is a name by itself, as in `Config`

    >>> from aliasfree import Config
    >>> Config.parse("T").traits.attention, Config.parse("D-hq").traits.attention
    (True, False)
    """

    description: str
    resampling: bool = False
    activations: bool = False
    attention: bool = False
    periodic: bool = False
    spectral: bool = False
    frame: bool = False
    radial: bool = False
    motions: frozenset[str] = frozenset()
    convertible: bool = False
    filter: FilterSpec | None = None
    oversample: int = 2
    running_oversample: int | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether it needs a filter at all (not A)."""
        return self.resampling or self.activations or self.attention


LETTERS: dict[str, Traits] = {}
"""Every letter of a config; `register_letter` adds one."""

MOTIONS = frozenset({"shifts", "turns"})


def register_letter(letter: str, traits: Traits) -> None:
    """Add a letter; its names, networks, settings and tables follow. Docs: "Add a config letter" in docs/extending.md.

    Raises ConfigError for a letter that is taken or none, and for traits that no network can have together.

    >>> from aliasfree.config import LETTERS, Config, Traits, register_letter
    >>> register_letter("P", Traits(description="as D, on a torus", resampling=True, activations=True, periodic=True))
    >>> str(Config.parse("P-hq")), Config.parse("P-hq").traits.periodic
    ('P-hq', True)
    >>> del LETTERS["P"]
    """
    if len(letter) != 1 or letter not in ascii_uppercase:
        raise ConfigError(f"a config letter is one capital from A to Z, not {letter!r}")
    if letter in LETTERS or letter == "E":
        raise ConfigError(f"config letter {letter} is taken; choose another")
    refusals = {
        "filters nothing, as A does: give resampling, activations or attention": LETTERS and not traits.is_filtered,
        "is radial, which needs a periodic plane and a filter of its own": traits.radial
        and not (traits.periodic and traits.filter),
        "is radial, and no stock network has radial convolutions: convertible must be False": traits.radial
        and traits.convertible,
        "filters attention, which needs a filter for the nonlinearity within: give activations too": traits.attention
        and not traits.activations,
        f"commutes with {', '.join(sorted(traits.motions - MOTIONS))}: motions are shifts and turns": traits.motions
        - MOTIONS,
        "has rates below 2": min(traits.oversample, traits.running_oversample or 2) < 2,
        "has no filter of its own, so its rates are the default ones": traits.filter is None
        and (traits.oversample, traits.running_oversample) != (2, None),
    }
    for refusal, holds in refusals.items():
        if holds:
            raise ConfigError(f"config letter {letter} {refusal}")
    LETTERS[letter] = traits


register_letter("A", Traits(description="baseline", convertible=True))
register_letter("B", Traits(description="alias-free up- and downsampling", resampling=True, convertible=True))
register_letter("C", Traits(description="alias-free nonlinearities", activations=True, convertible=True))
register_letter(
    "D",
    Traits(
        description="alias-free up- and downsampling and nonlinearities",
        resampling=True,
        activations=True,
        convertible=True,
    ),
)
_COMMUTING = Traits(
    description="everything commutes with shifts by any fraction of a pixel",
    resampling=True,
    activations=True,
    attention=True,
    periodic=True,
    spectral=True,
    frame=True,
    motions=frozenset({"shifts"}),
    convertible=True,
    filter=BELOW_NYQUIST,
    running_oversample=4,
)
register_letter("T", _COMMUTING)
register_letter(
    "R",
    replace(
        _COMMUTING,
        description="everything commutes with turns about the middle by any angle",
        radial=True,
        motions=frozenset({"turns"}),
        convertible=False,
    ),
)


def known_names() -> tuple[str, ...]:
    """Every config that has a name, the paper's rows first.

    >>> from aliasfree.config import known_names
    >>> known_names()[:4], "D-hq" in known_names()
    (('A', 'B-0', 'C-0', 'D-0'), True)
    """
    with_filter = [letter for letter, traits in LETTERS.items() if traits.is_filtered and traits.filter is None]
    alone = tuple(letter for letter, traits in LETTERS.items() if traits.filter is not None)
    rest = (f"{letter}-{name}" for name in FILTER_NAMES for letter in with_filter)
    return PAPER_CONFIGS + tuple(n for n in rest if n not in PAPER_CONFIGS) + alone


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
        if self.letter not in LETTERS:
            raise ConfigError(f"unknown config letter {self.letter!r}{did_you_mean(self.letter, LETTERS)}")
        if not self.traits.is_filtered and (self.up or self.down):
            raise ConfigError(
                f"config {self.letter} filters nothing: leave out 'up' and 'down', or use letter B, C or D"
            )
        if self.traits.is_filtered and not (self.up and self.down):
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
        traits = LETTERS.get(letter)
        if traits is not None and traits.filter is not None and not dash:
            return cls(letter, traits.filter, traits.filter, traits.oversample, traits.running_oversample)
        if traits is not None and traits.is_filtered and traits.filter is None and filter_name in FILTER_NAMES:
            spec = FilterSpec.named(filter_name)
            return cls(letter, spec, spec)
        if name == "E":
            raise ConfigError(
                "Config E of the paper is no network of its own: train one of A to D, and turn its images while they "
                "are sampled, by `rotate`."
            )
        raise ConfigError(f"unknown config {name[:80]!r}{did_you_mean(name[:80], known_names())}")

    def __str__(self) -> str:
        """The name, as `parse` takes it; a config without a name is described."""
        if self.letter == "A":
            return "A"
        if self.traits.filter is not None and self == Config.parse(self.letter):
            return self.letter
        if (
            self.traits.filter is None
            and self.running_oversample is None
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
    def traits(self) -> Traits:
        """What the letter makes of a network."""
        return LETTERS[self.letter]

    @property
    def filters_resampling(self) -> bool:
        """Whether up- and downsampling are filtered (B, D, T, R)."""
        return self.traits.resampling

    @property
    def filters_activations(self) -> bool:
        """Whether the nonlinearities of the convolution blocks are filtered (C, D, T, R)."""
        return self.traits.activations

    @property
    def is_equivariant(self) -> bool:
        """The old name of six traits; ask for the one that is meant, as `traits.periodic`."""
        warnings.warn(
            "Config.is_equivariant meant six things: ask for the one of Config.traits that you mean",
            DeprecationWarning,
            stacklevel=2,
        )
        return bool(self.traits.motions)

    @property
    def is_radial(self) -> bool:
        """Whether no direction is preferred: bands are discs, convolutions radial, the plane is a disc (R)."""
        return self.traits.radial

    def commutes_with(self, *, turns: bool, shifts: bool, zooms: bool) -> bool:
        """Whether a network that is given the frame is built to commute with a motion of these parts: T with shifts, R
        with turns about the middle, none with zooms."""
        asked = {name for name, there in (("turns", turns), ("shifts", shifts)) if there}
        return bool(self.traits.motions) and not zooms and asked <= self.traits.motions

    @property
    def description(self) -> str:
        """What is filtered, in words."""
        return self.traits.description
