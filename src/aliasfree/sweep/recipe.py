"""What a sweep runs: configs, data sets and seeds, and the settings of every cell, from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import AliasfreeError, ArgumentError, did_you_mean

if TYPE_CHECKING:
    from aliasfree.experiments.evaluate import EvaluateSettings
    from aliasfree.sampling.sampler import SampleSettings
    from aliasfree.training.settings import RunSettings

__all__ = ["Cell", "DataPart", "Rotation", "SweepRecipe", "read_recipe"]

_OFF = ("grad_clip", "sample_every")
"""Settings that are off when 0, which TOML can write, where None is meant."""
_NOT_IN_RECIPES = {
    "training": ("data", "config", "out", "seed", "device"),
    "sampling": (),
    "evaluation": ("data", "sampling", "weights", "image_size"),
}
_CELL = {"sample_every": 0, "keep_checkpoints": 1}
"""Training settings of a cell unless the recipe says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The rotation figure: `num` images at each of the `angles` (degrees), of the baseline and of the best D."""

    angles: tuple[float, ...]
    num: int = 128


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """One data set of a recipe and what its cells are made with."""

    name: str
    source: str
    training: Mapping[str, Any]
    sampling: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    features: tuple[str, ...]  # extractors, the first one that of the table
    rotation: Rotation | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network of a sweep: a config on a data set from a seed, in an ordinary run folder."""

    part: DataPart
    config: str
    seed: int

    @property
    def name(self) -> str:
        """ "mnist/D-2N/seed-42", its place under the sweep's `runs/`."""
        return f"{self.part.name}/{self.config}/seed-{self.seed}"

    def run_settings(self, out: Path, device: str = "auto") -> RunSettings:
        """Of its training, in the run folder `out`. Raises ArgumentError, ConfigError."""
        from aliasfree.training.settings import RunSettings

        chosen = {**_CELL, **self.part.training}
        chosen |= {name: None for name in _OFF if chosen.get(name) == 0}
        return RunSettings(data=self.part.source, config=self.config, out=out, seed=self.seed, device=device, **chosen)

    def sample_settings(self) -> SampleSettings:
        """Of its images: of the same seed as its training, unless the recipe names one."""
        from aliasfree.sampling.sampler import SampleSettings

        return SampleSettings(**{"seed": self.seed, **self.part.sampling})

    def evaluate_settings(self, features: str) -> EvaluateSettings:
        """Of its measurement by an extractor. The real images are those that it was trained on."""
        from aliasfree.experiments.evaluate import EvaluateSettings

        trained = {"split": "split", "num_real": "num_images"}
        real = {ours: self.part.training[theirs] for ours, theirs in trained.items() if theirs in self.part.training}
        return EvaluateSettings(
            data=self.part.source, features=features, sampling=self.sample_settings(),
            **{**real, **self.part.evaluation},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepRecipe:
    """A recipe as read. `configs` and `seeds` may grow from one call to the next; what a cell is made with may not."""

    name: str
    about: str
    configs: tuple[str, ...]  # the first one is what the others are compared with
    seeds: tuple[int, ...]
    data: tuple[DataPart, ...]

    @property
    def cells(self) -> list[Cell]:
        """All of them, seed by seed, so that a sweep that is stopped early has whole tables of fewer seeds."""
        return [
            Cell(part=part, config=config, seed=seed)
            for seed in self.seeds for part in self.data for config in self.configs
        ]  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What the cells are made with, by data set; as JSON has it."""
        from aliasfree.files import json_value

        return {part.name: json_value(part) for part in self.data}


def read_recipe(path: Path) -> SweepRecipe:
    """The recipe of a TOML file. Raises ArgumentError or ConfigError naming the file and what is wrong in it."""
    path = path if path.is_file() or path.suffix else shipped(path.name) or path
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(_shipped_names())) or "none"
        raise ArgumentError(
            f"There is no recipe {path}; give a TOML file, or one that is here already: {names}."
        ) from error
    try:
        return _recipe(path.stem, tomllib.loads(text))
    except (AliasfreeError, tomllib.TOMLDecodeError) as error:
        raise ArgumentError(f"The recipe {path} cannot be used: {error}") from error


def shipped(name: str) -> Path | None:
    """A recipe that comes with the package, by its name without .toml."""
    return next((p for folder in _folders() if (p := folder / f"{name}.toml").is_file()), None)


def _folders() -> tuple[Path, ...]:
    package = Path(__file__).parents[1]
    return (package / "recipes", package.parents[1] / "recipes")  # installed, and in a checkout


def _shipped_names() -> set[str]:
    return {p.stem for folder in _folders() for p in folder.glob("*.toml")}


def _recipe(name: str, found: dict[str, Any]) -> SweepRecipe:
    _known("a recipe", found, ("about", "configs", "seeds", "data", "training", "sampling", "evaluation", "rotation"))
    configs, seeds = (_list(found, key, kind) for key, kind in (("configs", str), ("seeds", int)))
    tables = found.get("data")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise ArgumentError("it needs at least one data set, as a table [[data]] with a name.")
    parts = tuple(_part(found, table) for table in tables)
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise ArgumentError(f"two data sets have one name: {', '.join(names)}.")
    recipe = SweepRecipe(name=name, about=str(found.get("about", "")), configs=configs, seeds=seeds, data=parts)
    for part in parts:  # every value is checked before anything runs
        for config in configs:
            cell = Cell(part=part, config=config, seed=seeds[0])
            cell.run_settings(Path(cell.name))
        for features in part.features:
            cell.evaluate_settings(features)
    return recipe


def _part(whole: dict[str, Any], table: dict[str, Any]) -> DataPart:
    _known("[[data]]", table, ("name", "source", "training", "sampling", "evaluation", "rotation"))
    name = table.get("name")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ArgumentError(f"a data set needs a name that can be a folder, not {name!r}.")
    given = {key: {**whole.get(key, {}), **table.get(key, {})} for key in ("training", "sampling", "evaluation")}
    features = given["evaluation"].pop("features", "classifier")
    chosen = [features] if isinstance(features, str) else features
    for key, values in given.items():
        _known(f"[{key}]", values, _fields(key))
    turning = table.get("rotation", whole.get("rotation"))
    rotation = None
    if turning is not None:
        _known("[rotation]", turning, ("angles", "num"))
        angles = tuple(float(a) for a in turning.get("angles", ()))
        if not angles:
            raise ArgumentError("[rotation] needs angles, in degrees.")
        rotation = Rotation(angles=angles, num=int(turning.get("num", Rotation.num)))
    return DataPart(
        name=name, source=str(table.get("source", name)), features=tuple(chosen), rotation=rotation, **given
    )


def _fields(key: str) -> tuple[str, ...]:
    from aliasfree.experiments.evaluate import EvaluateSettings
    from aliasfree.sampling.sampler import SampleSettings
    from aliasfree.training.settings import RunSettings

    settings: dict[str, Any] = {"training": RunSettings, "sampling": SampleSettings, "evaluation": EvaluateSettings}
    return tuple(f.name for f in dataclasses.fields(settings[key]) if f.name not in _NOT_IN_RECIPES[key])


def _known(where: str, found: Any, names: tuple[str, ...]) -> None:
    if not isinstance(found, Mapping):
        raise ArgumentError(f"{where} is a table, not {found!r}.")
    for name in found:
        if name not in names:
            raise ArgumentError(f"{where} has no {name!r}{did_you_mean(name, names)}.")


def _list(found: dict[str, Any], key: str, kind: type) -> tuple[Any, ...]:
    values = found.get(key)
    if not isinstance(values, list) or not values or not all(type(v) is kind for v in values):
        what = "names" if kind is str else "whole numbers"
        raise ArgumentError(f"{key} must be a list of {what}, at least one, not {values!r}.")
    if len(set(values)) < len(values):
        raise ArgumentError(f"{key} names one twice: {values}.")
    return tuple(values)
