"""What the studio offers: the runs and diffusers models of the given folders, and nothing outside them.

Whatever lies there, the page is shown: a folder that cannot be offered is left out and named with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.app.visitors import Recent
from aliasfree.app.weights import check_regular, check_weights, read_object
from aliasfree.errors import AliasfreeError, ArgumentError

if TYPE_CHECKING:
    from aliasfree.sampling.denoisers import DenoiserFolder
    from aliasfree.sampling.sampler import Sampler, SampleSettings
    from aliasfree.training import RunFolder

__all__ = ["Networks", "model_folder"]

LOADED = 8
"""Networks that are kept in memory."""
DEPTH = 3
"""Levels of folders, below one that is given, in which runs are looked for: runs/demo/A."""
MOST = 500
"""Runs that are offered."""
CLASSES = 2**20
NAME = 200
"""Characters of a name that a message repeats."""


@dataclass(frozen=True)
class Offer:
    """A folder that is offered, or, for a reason, is not."""

    path: Path
    kind: str = ""  # "run" or "model"
    config: Any = None  # of the network, a mapping; None = of a pipeline, whose parts have theirs
    reason: str = ""


class Networks:
    """Runs and models by the names that the page shows.

    given  folders of runs, of diffusers models, or with such below them; none = what is below `home`
    home   where the studio puts what it makes
    """

    def __init__(self, given: Sequence[Path] = (), home: Path = Path("runs")) -> None:
        self.given, self.home = list(given), home
        self._loaded = Recent(LOADED)
        for path in self.given:
            if not path.is_dir():
                raise ArgumentError(f"There is no folder {path}; give the folder of a run or of a diffusers model.")
            if not any(offer.kind for offer in _below(path, DEPTH + 1)):
                raise ArgumentError(
                    f"{path} holds neither a run nor a diffusers model (a config.json of `aliasfree train` or of "
                    "save_pretrained); give the folder of one."
                )

    def survey(self) -> list[Offer]:
        """Everything that is offered now, and what is left out with its reason. Reads the disk: not for the event
        loop."""
        found: dict[Path, Offer] = {}
        for path in [*self.given, *([] if self.home in self.given else [self.home])]:
            for offer in _below(path, DEPTH + 1):
                found.setdefault(offer.path, offer)
        return list(found.values())[:MOST]

    def skipped(self) -> list[str]:
        """Sentences about the folders that are left out."""
        return [f"{_shown(offer.path)}: {offer.reason}" for offer in self.survey() if offer.reason]

    def runs(self, trained: bool = True) -> list[str]:
        """Names of the runs; with `trained` only those that have weights."""
        from aliasfree.training.run_folder import WEIGHTS

        runs = [offer.path for offer in self.survey() if offer.kind == "run"]
        return [str(path) for path in runs if not trained or (path / "model" / WEIGHTS).is_file()]

    def models(self) -> list[str]:
        """Names of the folders of diffusers models and pipelines."""
        return [str(offer.path) for offer in self.survey() if offer.kind == "model"]

    def movable(self) -> list[str]:
        """Names of all that `sampler` takes: runs with weights, then models of diffusers that are as simple."""
        from aliasfree.sampling.denoisers import is_denoiser

        return [*self.runs(), *(name for name in self.models() if is_denoiser(Path(name)))]

    def offer(self, name: Any) -> Offer:
        """What is offered under a name. Raises ArgumentError for any that is not: nothing else is ever opened."""
        if not name:
            raise ArgumentError("Choose a network first.")
        offer = next((offer for offer in self.survey() if str(offer.path) == name), None)
        if offer is None:
            raise ArgumentError(f"{str(name)[:NAME]} is not there any more, or was never offered; load the page again.")
        if offer.reason:
            raise ArgumentError(f"{name} is not offered: its {offer.reason}.")
        try:
            check_regular(offer.path)
        except OSError as error:
            raise ArgumentError(f"{name} cannot be read ({error.strerror}).") from error
        return offer

    def find(self, name: Any) -> Path:
        """The folder of a name. Raises ArgumentError for any that is not offered."""
        return self.offer(name).path

    def run(self, name: Any) -> RunFolder:
        """The run of a name. Raises ArgumentError."""
        from aliasfree.training import RunFolder

        offer = self.offer(name)
        if offer.kind != "run":
            raise ArgumentError(f"{name} is a diffusers model, no run; choose a run.")
        return RunFolder(offer.path)

    def model(self, name: Any, part: str = "unet") -> Path:
        """The folder of a diffusers model or pipeline, whose part has been looked at. Raises ArgumentError."""
        offer = self.offer(name)
        if offer.kind != "model":
            raise ArgumentError(f"{name} is a run, whose config is chosen when it is trained; choose a model.")
        check_weights(model_folder(offer.path, part))
        return offer.path

    def source(self, name: Any) -> RunFolder | DenoiserFolder:
        """The run of a name, or the folder of diffusers that can be sampled like one. Raises ArgumentError."""
        from aliasfree.sampling.denoisers import DenoiserFolder, is_denoiser

        offer = self.offer(name)
        if offer.kind == "run":
            return self.run(name)
        if not is_denoiser(offer.path):
            raise ArgumentError(
                f"{name} is no UNet2DModel, alone or in a pipeline without another network, so it cannot be sampled "
                "here; use MotionCallback in Python."
            )
        return DenoiserFolder(self.model(name))

    def version(self, name: str) -> tuple[Path, int]:
        """Changes when the network of a name is trained on or saved anew. Raises ArgumentError."""
        source = self.source(name)
        return source.path, max((p.stat().st_mtime_ns for p in source.model.glob("*.safetensors")), default=0)

    def sampler(self, name: str, settings: SampleSettings) -> Sampler:
        """A sampler over the network of a name, which is loaded once. Raises what `Sampler` raises."""
        from aliasfree.sampling.sampler import Sampler

        run, key = self.source(name), self.version(name)
        unet = self._loaded.get(key)
        if unet is None:
            check_weights(run.model)
            unet = run.load_model()
            self._loaded.put(key, unet)
        return Sampler(run, settings, unet=unet)

    def classes(self, names: Sequence[str]) -> int:
        """How many classes all of these can be asked for; 0 = some cannot. What is broken does not count."""
        counts = []
        for name in names:
            try:
                offer = self.offer(name)
                config = offer.config or read_object(model_folder(offer.path) / "config.json")
                counts.append(_classes(config))
            except (AliasfreeError, OSError):
                continue
        return min(counts, default=0)


def model_folder(path: Path, part: str = "unet") -> Path:
    """Where a folder of diffusers has its model, or one of its models if it is a pipeline's."""
    return path / part if (path / "model_index.json").is_file() else path


def _below(path: Path, depth: int) -> Iterator[Offer]:
    """Runs and models in a folder or below it, by name; not within one another. Nothing is raised."""
    try:
        path.name.encode()  # what the page is sent as
        offer = _offered(path)
        if offer is not None:
            yield offer
        elif depth > 1:
            with os.scandir(path) as entries:
                inner = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
            for name in inner:
                yield from _below(path / name, depth - 1)
    except UnicodeEncodeError:
        yield Offer(path, reason="name is not UTF-8")
    except (FileNotFoundError, NotADirectoryError):  # it went, or was never there
        return
    except OSError as error:
        yield Offer(path, reason=f"folder cannot be read ({error.strerror})")


def _offered(path: Path) -> Offer | None:
    """What a folder is; None for one that holds neither a run nor a model. Raises OSError."""
    try:
        for file in ("model_index.json", "config.json"):
            if not os.path.lexists(path / file):
                continue
            content = read_object(path / file)
            if file == "model_index.json":
                return Offer(path, "model")
            kind = "model" if "_class_name" in content else "run"
            network = content if kind == "model" else content.get("model")
            if not isinstance(network, dict) or (kind == "run" and not isinstance(content.get("settings"), dict)):
                raise ArgumentError("config.json is of no run and of no model")
            _classes(network)
            return Offer(path, kind, network)
    except ArgumentError as error:
        return Offer(path, reason=str(error))
    return None


def _classes(config: dict[str, Any]) -> int:
    count = config.get("num_class_embeds")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= CLASSES):
        raise ArgumentError(f"config.json has no usable number of classes (`num_class_embeds` is {str(count)[:40]})")
    return count or 0


def _shown(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")[:NAME]
