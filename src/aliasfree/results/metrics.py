"""What was measured of a run, or of a folder of images: metrics.json, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Self

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.files import json_value, write_json
from aliasfree.outputs import expand_path

__all__ = [
    "AccuracyScore", "Fidelity", "Metrics", "NetworkEquivariance", "NoiseError", "NoiseLevel", "SampledMotion",
    "SamplerEquivariance", "Spectra",
    "metrics_file", "read_metrics",
]  # fmt: skip

Figures = dict[str, Estimate | None]
"""By name: "is", "fid", "kid", "precision", "recall"; None where a figure has no meaning, as "is" without classes."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Generated images against real ones, by the features of one extractor."""

    generated: Figures
    floor: Figures  # of as many real test images
    key: str | None = None  # names the extractor's weights
    accuracy: float | None = None  # of the classifier whose features these are
    images: dict[str, int] = field(default_factory=dict)  # in each set: "generated", "reference", "floor"

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        sets = {k: {n: _estimate(v) for n, v in found[k].items()} for k in ("generated", "floor")}
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

    t: int | None
    error: Estimate
    images: int

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        error = _estimate(found["error"])
        assert error is not None
        return cls(t=found.get("t"), error=error, images=int(found["images"]))


@dataclass(frozen=True, kw_only=True)
class AccuracyScore:
    """Share of real test images that a classifier gets right which was trained on generated ones."""

    generated: Estimate
    floor: Estimate  # trained on as many real ones

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON."""
        generated, floor = (_estimate(found[k]) for k in ("generated", "floor"))
        assert generated is not None
        assert floor is not None
        return cls(generated=generated, floor=floor)


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
    """Everything `aliasfree evaluate` finds. Figures of the network are None for a folder of images."""

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
    sampling: dict[str, Any] | None = None  # settings
    images_per_second: float | None = None
    equivariance: NetworkEquivariance | None = None
    sampler: SamplerEquivariance | None = None
    noise_error: tuple[NoiseError, ...] | None = None
    accuracy_score: AccuracyScore | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """From JSON, of older versions too, where a figure that was not finite is null."""
        parts = {"fidelity", "spectra", "equivariance", "sampler", "image_size", "noise_error", "accuracy_score"}
        plainly = {k: found[k] for k in cls.__dataclass_fields__ if k in found and k not in parts}
        spectra, equivariance, sampler = (found.get(k) for k in ("spectra", "equivariance", "sampler"))
        errors, score = found.get("noise_error"), found.get("accuracy_score")
        height, width = found["image_size"]
        return cls(
            **plainly,
            image_size=(height, width),
            fidelity={name: Fidelity.from_dict(v) for name, v in found["fidelity"].items()},
            spectra=Spectra.from_dict(spectra) if spectra else None,
            equivariance=NetworkEquivariance.from_dict(equivariance) if equivariance else None,
            sampler=SamplerEquivariance.from_dict(sampler) if sampler else None,
            noise_error=tuple(NoiseError.from_dict(e) for e in errors) if errors else None,
            accuracy_score=AccuracyScore.from_dict(score) if score else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; figures that are None are left out."""
        return {k: v for k, v in json_value(self).items() if v is not None}

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


def _estimate(found: Mapping[str, Any] | None) -> Estimate | None:
    if not found or found["value"] is None:
        return None
    low, high, spread = (None if found.get(k) is None else float(found[k]) for k in ("low", "high", "spread"))
    return Estimate(float(found["value"]), low, high, spread)


def _estimates(found: Mapping[str, Any]) -> dict[str, Estimate | None]:
    return {k: _estimate(found.get(k)) for k in ("eq_t", "eq_t_frac", "eq_t_lanczos", "eq_r")}


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
