"""What a sweep runs: configs, data sets and seeds, and the settings of every cell, from a TOML file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.diffusion.names import MAX_DEGREES
from aliasfree.errors import AliasfreeError, ArgumentError, check_seed, did_you_mean
from aliasfree.settings import Settings, at_least, option

if TYPE_CHECKING:
    from aliasfree.measuring.evaluate import EvaluateSettings
    from aliasfree.sampling.sampler import SampleSettings
    from aliasfree.training.settings import RunSettings

__all__ = ["Cell", "DataPart", "Rotation", "SweepRecipe", "read_recipe"]

_TABLES = ("training", "sampling", "evaluation")
_OFF = ("grad_clip", "sample_every")
"""Settings that are off when 0, which TOML can write, where None is meant."""
_NOT_IN_RECIPES = {
    "training": ("data", "config", "out", "seed", "device"),
    "sampling": (),
    "evaluation": ("data", "sampling", "weights", "image_size"),
}
_CELL = {"sample_every": 0, "keep_checkpoints": 1}
"""Training settings of a cell unless the recipe says otherwise."""


def _folder_name(name: str, value: str, _: str) -> None:
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", value, re.IGNORECASE)  # by Windows
    if reserved or value in (".", "..") or not re.fullmatch(r"[^/\\\0-\x1f]{1,100}", value):
        raise ArgumentError(f"`{name}` must be a name that can be a folder, not {value[:60]!r}.")


def _distinct(name: str, values: Sequence[Any], _: str) -> None:
    if not values or len(set(values)) < len(values):
        raise ArgumentError(f"`{name}` needs at least one, and none of them twice, not {list(values)}.")


@dataclass(frozen=True, kw_only=True)
class Rotation(Settings):
    """The rotation figure: `num` images at each of the `angles` (degrees), of the baseline and of the best D."""

    angles: tuple[float, ...] = option((), check=_distinct)
    num: int = option(128, check=at_least(1))

    def check(self) -> None:
        if max(map(abs, self.angles)) > MAX_DEGREES:
            raise ArgumentError(f"`angles` are degrees within +-{MAX_DEGREES:g}, not {list(self.angles)}.")
        object.__setattr__(self, "angles", tuple(map(float, self.angles)))


@dataclass(frozen=True, kw_only=True)
class DataPart(Settings):
    """One data set of a recipe and what its cells are made with."""

    name: str = option(check=_folder_name)
    source: str
    training: Mapping[str, Any]
    sampling: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    features: tuple[str, ...] = option(check=_distinct)  # extractors, the first one that of the table
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
        from aliasfree.measuring.evaluate import EvaluateSettings

        trained = {"split": "split", "num_real": "num_images"}
        real = {ours: self.part.training[theirs] for ours, theirs in trained.items() if theirs in self.part.training}
        return EvaluateSettings(
            data=self.part.source, features=features, sampling=self.sample_settings(),
            **{**real, **self.part.evaluation},
        )  # fmt: skip

    def check(self) -> None:
        """Raise ArgumentError or ConfigError for a setting that cannot be, though it would be used last."""
        from aliasfree.measuring.extractors import check_features
        from aliasfree.measuring.rotation import check_curves

        training = self.run_settings(Path(self.name))
        for features in self.part.features:
            check_features(features)
            measured = self.evaluate_settings(features)
            least = 64 * (training.channels or 1)  # means of 8x8 blocks, of a channel at least
            if features == "pixels" and measured.count <= least and measured.protocol != "paper":
                raise ArgumentError(
                    f"{measured.count} images are too few for a Frechet distance over {least} features of pixels: "
                    f"take at least {least + 1} (`num`)."
                )
        if self.part.rotation is not None:
            side = training.image_size or 32
            check_curves(self.part.rotation.num, (side, side) if isinstance(side, int) else side)


@dataclass(frozen=True, kw_only=True)
class SweepRecipe(Settings):
    """A recipe as read. `configs` and `seeds` may grow from one call to the next; what a cell is made with may not."""

    name: str
    about: str = ""
    configs: tuple[str, ...] = option((), check=_distinct)  # the first one is what the others are compared with
    seeds: tuple[int, ...] = option((), check=_distinct)
    data: tuple[DataPart, ...]

    def check(self) -> None:
        _distinct("name", [part.name for part in self.data], "")
        for seed in self.seeds:
            check_seed(seed)
        for cell in self.cells:
            if cell.seed == self.seeds[0]:
                cell.check()

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
    """The recipe of a TOML file. Raises ArgumentError naming the file and what is wrong in it, of all its values."""
    path = path if path.is_file() or path.suffix else shipped(path.name) or path
    if not path.exists():
        names = ", ".join(sorted(_shipped_names())) or "none"
        raise ArgumentError(f"There is no recipe {path}; give a TOML file, or one that is here already: {names}.")
    try:
        return _recipe(path.stem, tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ArgumentError(f"The recipe {path} cannot be read ({error.strerror}); give a TOML file.") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"The recipe {path} is not UTF-8 text, which TOML is; save it as UTF-8.") from error
    except (AliasfreeError, tomllib.TOMLDecodeError) as error:
        words = str(error).replace("`", "'")  # of the file's names, which no option has
        raise ArgumentError(f"The recipe {path} cannot be used: {words}") from error


def shipped(name: str) -> Path | None:
    """A recipe that comes with the package, by its name without .toml."""
    return next((p for folder in _folders() if (p := folder / f"{name}.toml").is_file()), None)


def _folders() -> tuple[Path, ...]:
    package = Path(__file__).parents[1]
    return (package / "recipes", package.parents[1] / "recipes")  # installed, and in a checkout


def _shipped_names() -> set[str]:
    return {p.stem for folder in _folders() for p in folder.glob("*.toml")}


def _recipe(name: str, table: dict[str, Any]) -> SweepRecipe:
    tables = table.get("data")
    _known("a recipe", table, ("about", "configs", "seeds", "data", *_TABLES, "rotation"))
    if not isinstance(tables, list) or not tables:
        raise ArgumentError("it needs at least one data set, as a table [[data]] with a name.")
    parts = tuple(_part(table, one) for one in tables)
    own = {key: table[key] for key in ("about", "configs", "seeds") if key in table}
    return SweepRecipe(name=name, data=parts, **own)


def _part(whole: dict[str, Any], table: dict[str, Any]) -> DataPart:
    _known("[[data]]", table, ("name", "source", *_TABLES, "rotation"))
    if "name" not in table:
        raise ArgumentError("a data set needs a name.")
    made: dict[str, Any] = {"source": table["name"]} | {k: table[k] for k in ("name", "source") if k in table}
    for key in _TABLES:
        names = (*_fields(key), *(["features"] if key == "evaluation" else []))
        for one in (whole, table):
            _known(f"[{key}]", one.get(key, {}), names)
        made[key] = {**whole.get(key, {}), **table.get(key, {})}
    features = made["evaluation"].pop("features", "classifier")
    turning = table.get("rotation", whole.get("rotation"))
    if turning is not None:
        _known("[rotation]", turning, ("angles", "num"))
        turning = Rotation(**turning)
    named: Any = (features,) if isinstance(features, str) else features
    return DataPart(features=named, rotation=turning, **made)


def _fields(key: str) -> tuple[str, ...]:
    from aliasfree.measuring.evaluate import EvaluateSettings
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
