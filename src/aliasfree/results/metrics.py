"""What was measured of a run, or of a folder of images: metrics.json, read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Literal, Self, TypedDict

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.files import json_value, write_json
from aliasfree.outputs import expand_path
from aliasfree.results.columns import RECORDS, Column, read_estimate, register_record

__all__ = [
    "AccuracyScore", "ComparedFigure", "Fidelity", "Figures", "Metrics", "NetworkEquivariance", "NoiseError",
    "NoiseLevel", "SampledMotion", "SamplerEquivariance", "Sampling", "Spectra", "metrics_file", "read_metrics",
]  # fmt: skip

Figures = TypedDict(
    "Figures",
    {
        "is": Estimate | None, "fid": Estimate | None, "kid": Estimate | None, "precision": Estimate | None,
        "recall": Estimate | None,
    },
    total=False,
)  # fmt: skip
"""By name; None where a figure has no meaning, as "is" without classes."""


class Sampling(TypedDict, total=False):
    """How images were sampled: `SampleSettings` but for the size of batches."""

    steps: int
    scheduler: str
    seed: int
    class_label: int | str | None
    guidance: float
    ema: bool
    compile: bool


_FIDELITY: tuple[tuple[str, str, Literal["higher", "lower"], dict[str, Any]], ...] = (
    ("is", "IS", "higher", {"bounds": (1, math.inf), "digits": 2}),
    ("fid", "FID", "lower", {"bounds": (0, math.inf), "digits": 2}),
    ("kid", "KID x 1000", "lower", {"factor": 1000, "digits": 2}),
    ("precision", "precision", "higher", {"unit": "share", "bounds": (0, 1), "digits": 3}),
    ("recall", "recall", "higher", {"unit": "share", "bounds": (0, 1), "digits": 3}),
)
"""Figures of fidelity: key, title, which way is better, and what else their columns tell."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Generated images against real ones, by the features of one extractor."""

    columns: ClassVar[tuple[Column, ...]] = tuple(
        Column(key=key, title=title, path=f"generated.{key}", floor=f"floor.{key}", better=better, **more)
        for key, title, better, more in _FIDELITY
    )
    generated: Figures
    floor: Figures  # of as many real test images
    key: str | None = None  # names the extractor's weights
    accuracy: float | None = None  # of the classifier whose features these are
    images: dict[str, int] = field(default_factory=dict)  # in each set: "generated", "reference", "floor"

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        sets: dict[str, Any] = {k: {n: read_estimate(v) for n, v in found[k].items()} for k in ("generated", "floor")}
        return cls(**sets, key=found.get("key"), accuracy=found.get("accuracy"), images=dict(found.get("images", {})))


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """A network's equivariance in dB at time step t (None = over all levels); non-square images have no EQ-R."""

    t: int | None = None
    eq_t: Estimate | None = None
    eq_t_frac: Estimate | None = None
    eq_t_lanczos: Estimate | None = None  # the same by StyleGAN3's ruler
    eq_r: Estimate | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(t=found.get("t"), **_estimates(found))


@dataclass(frozen=True, kw_only=True)
class NetworkEquivariance:
    """A network's equivariance, noise level by noise level and over all: sums come before the logarithm."""

    columns: ClassVar[tuple[Column, ...]] = tuple(
        Column(key=key, title=title, path=f"overall.{key}", better="higher", unit="dB", table="network")
        for key, title in (
            ("eq_t", "EQ-T dB"), ("eq_t_frac", "EQ-T_frac dB"), ("eq_t_lanczos", "EQ-T_frac dB, StyleGAN3's ruler"),
            ("eq_r", "EQ-R dB"),
        )
    )  # fmt: skip
    levels: tuple[NoiseLevel, ...]
    overall: NoiseLevel
    images: int | None = None  # that were moved
    repeats: int | None = None  # transforms per image and level
    periodic: bool | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        levels = tuple(NoiseLevel.from_dict(level) for level in found.get("levels", ()))
        rest = {k: found.get(k) for k in ("images", "repeats", "periodic")}
        return cls(levels=levels, overall=NoiseLevel.from_dict(found["overall"]), **rest)


@dataclass(frozen=True, kw_only=True)
class SampledMotion:
    """A sampler's equivariance in dB, image level, where the motion happens within a `window` of sampling progress."""

    window: tuple[float, float]
    eq_t: Estimate | None = None
    eq_t_frac: Estimate | None = None
    eq_t_lanczos: Estimate | None = None
    eq_r: Estimate | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        start, end = found["window"]
        return cls(window=(float(start), float(end)), **_estimates(found))


@dataclass(frozen=True, kw_only=True)
class SamplerEquivariance:
    """A whole sampler's equivariance, noise and frame moved: the first motion happens before the first step."""

    columns: ClassVar[tuple[Column, ...]] = tuple(
        Column(
            key=f"sampler_{key}", title=f"sampler {title} dB", path=f"motions.0.{key}", better="higher", unit="dB",
            table="network",
        )
        for key, title in (("eq_t_frac", "EQ-T_frac"), ("eq_r", "EQ-R"))
    )  # fmt: skip
    motions: tuple[SampledMotion, ...]
    images: int
    steps: int
    scheduler: str
    periodic: bool

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        rest = {k: found[k] for k in ("images", "steps", "scheduler", "periodic")}
        return cls(motions=tuple(SampledMotion.from_dict(m) for m in found["motions"]), **rest)


@dataclass(frozen=True, kw_only=True)
class NoiseError:
    """Mean squared error of the predicted noise on test images, at time step t (None = t uniform, as in training)."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="noise_error", title="noise error x 1000", path="-1.error", better="lower", bounds=(0, math.inf),
            factor=1000, digits=2, table="network",
        ),
    )  # fmt: skip
    t: int | None
    error: Estimate
    images: int

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(t=found.get("t"), error=_needed(found["error"]), images=int(found["images"]))


@dataclass(frozen=True, kw_only=True)
class ComparedFigure:
    """A figure of generated images beside that of real ones; base of records that hold nothing else."""

    generated: Estimate
    floor: Estimate  # of real images

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(generated=_needed(found["generated"]), floor=_needed(found["floor"]))


@dataclass(frozen=True, kw_only=True)
class AccuracyScore(ComparedFigure):
    """Share of real test images that a classifier gets right which was trained on generated ones, or on real ones."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="accuracy_score", title="CAS %", path="generated", floor="floor", better="higher", unit="share",
            bounds=(0, 1), factor=100,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Spectra:
    """Radial power spectra over frequency (fractions of Nyquist), of generated and of real images."""

    frequency: tuple[float, ...]
    generated: tuple[float, ...]
    real: tuple[float, ...]

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        return cls(**{k: tuple(_number(v) for v in found[k]) for k in ("frequency", "generated", "real")})


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Everything `aliasfree evaluate` finds; what it `measured` of the network is {} for a folder of images."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="images_per_second", title="images/s", path="images_per_second", better=None, unit="images a second",
            bounds=(0, math.inf), table="cost",
        ),
        Column(
            key="parameters", title="parameters", path="parameters", better=None, bounds=(0, math.inf), digits=0,
            table="cost",
        ),
    )  # fmt: skip

    source: str  # the run or the folder
    num: int  # generated images
    image_size: tuple[int, int]
    fingerprint: str  # of the real images
    fidelity: dict[str, Fidelity]  # by the name of the extractor
    protocol: str = "default"
    data: str | None = None
    held_out: bool | None = None  # the real test images were split off by us
    spectra: Spectra | None = None

    config: str | None = None
    training_seed: int | None = None
    training: dict[str, Any] | None = None  # settings that decide what a run becomes
    steps: int | None = None  # trained
    parameters: int | None = None
    weights: str | None = None  # their fingerprint
    sampling: Sampling | None = None  # settings
    images_per_second: float | None = None
    measured: dict[str, Any] = field(default_factory=dict)  # records, by their names in `columns.RECORDS`

    @property
    def equivariance(self) -> NetworkEquivariance | None:
        return self.measured.get("equivariance")

    @property
    def sampler(self) -> SamplerEquivariance | None:
        return self.measured.get("sampler")

    @property
    def noise_error(self) -> tuple[NoiseError, ...] | None:
        return self.measured.get("noise_error")

    @property
    def accuracy_score(self) -> AccuracyScore | None:
        return self.measured.get("accuracy_score")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON, of older versions too, where a figure that was not finite is null."""
        parts = {"fidelity", "spectra", "image_size", "measured"}
        height, width = found["image_size"]
        return cls(
            **{k: found[k] for k in cls.__dataclass_fields__ if k in found and k not in parts},
            image_size=(height, width),
            fidelity={name: Fidelity.from_dict(v) for name, v in found["fidelity"].items()},
            spectra=Spectra.from_dict(found["spectra"]) if found.get("spectra") else None,
            measured={name: RECORDS[name](value) for name, value in found.items() if name in RECORDS and value},
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, records by their names; what is None is left out."""
        found = json_value(self)
        return {k: v for k, v in (found | found.pop("measured")).items() if v is not None}

    def write(self, path: Path) -> None:
        """Replace the file in one go."""
        write_json(path, self.to_dict())


def read_metrics(path: Path) -> Metrics:
    """metrics.json of a run or a folder of images (or the file itself). Raises ArgumentError where there is none."""
    source, path = path, metrics_file(path)
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArgumentError(
            f"There is no {path}; measure first, with `aliasfree evaluate {quote(str(source))} --data ...`."
        ) from error
    except ValueError as error:
        raise ArgumentError(f"{path} is not valid JSON ({error}); measure again.") from error
    try:
        return Metrics.from_dict(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArgumentError(f"{path} was not written by `aliasfree evaluate`; measure again.") from error


def metrics_file(source: Path) -> Path:
    """Where the figures of a run or of images lie: within a run, beside a folder or file of images; JSON is itself."""
    if source.suffix.lower() == ".json":
        return source
    source = expand_path(source)
    if source.is_file():
        return source.with_name(f"{source.stem}-metrics.json")
    from aliasfree.training import RunFolder

    inside, beside = source / "metrics.json", source.with_name(f"{source.name}-metrics.json")
    return beside if beside.is_file() or not (RunFolder(source).exists or inside.is_file()) else inside


def _needed(found: Mapping[str, Any]) -> Estimate:
    estimate = read_estimate(found)
    if estimate is None:
        raise ValueError("a figure without a value")
    return estimate


def _estimates(found: Mapping[str, Any]) -> dict[str, Estimate | None]:
    return {k: read_estimate(found.get(k)) for k in ("eq_t", "eq_t_frac", "eq_t_lanczos", "eq_r")}


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)


register_record("fidelity", Fidelity.columns, None)
register_record("accuracy_score", AccuracyScore.columns, AccuracyScore.from_dict)
register_record("noise_error", NoiseError.columns, lambda found: tuple(NoiseError.from_dict(one) for one in found))
register_record("equivariance", NetworkEquivariance.columns, NetworkEquivariance.from_dict)
register_record("sampler", SamplerEquivariance.columns, SamplerEquivariance.from_dict)
register_record("cost", Metrics.columns, None)
