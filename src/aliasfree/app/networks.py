"""What the studio offers: the runs and diffusers models of the given folders, and nothing outside them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.app import limits
from aliasfree.errors import AliasfreeError, ArgumentError

if TYPE_CHECKING:
    from aliasfree.sampling.denoisers import DenoiserFolder
    from aliasfree.sampling.sampler import Sampler, SampleSettings
    from aliasfree.training import RunFolder

__all__ = ["Networks", "is_model", "model_folder"]

LOADED = 8
"""Networks that are kept in memory."""
DEPTH = 3
"""Levels of folders, below one that is given, in which runs are looked for: runs/demo/A."""
MOST = 500
"""Runs that are offered."""


class Networks:
    """Runs and models by the names that the page shows.

    given  folders of runs, of diffusers models, or with such below them; none = what is below `home`
    home   where the studio puts what it makes
    """

    def __init__(self, given: Sequence[Path] = (), home: Path = Path("runs")) -> None:
        self.given, self.home = list(given), home
        self._loaded: OrderedDict[tuple[Path, int], Any] = OrderedDict()
        self._lock = threading.Lock()
        for path in self.given:
            if not path.is_dir():
                raise ArgumentError(f"There is no folder {path}; give the folder of a run or of a diffusers model.")
            if not (is_run(path) or is_model(path) or _below(path)):
                raise ArgumentError(
                    f"{path} holds neither a run nor a diffusers model (a config.json of `aliasfree train` or of "
                    "save_pretrained); give the folder of one."
                )

    @property
    def folders(self) -> list[Path]:
        """The folders of everything that is offered now; newly trained runs come along."""
        found: dict[Path, None] = {}
        for path in [*self.given, *([] if self.home in self.given else [self.home])]:
            for folder in [path] if is_run(path) or is_model(path) else _below(path):
                found.setdefault(folder)
        return list(found)[:MOST]

    def runs(self, trained: bool = True) -> list[str]:
        """Names of the runs; with `trained` only those that have weights."""
        from aliasfree.training.run_folder import WEIGHTS

        return [str(p) for p in self.folders if is_run(p) and (not trained or (p / "model" / WEIGHTS).is_file())]

    def models(self) -> list[str]:
        """Names of the folders of diffusers models and pipelines."""
        return [str(p) for p in self.folders if is_model(p)]

    def movable(self) -> list[str]:
        """Names of all that `sampler` takes: runs with weights, then models of diffusers that are as simple."""
        from aliasfree.sampling.denoisers import is_denoiser

        return [*self.runs(), *(name for name in self.models() if is_denoiser(Path(name)))]

    def find(self, name: str | None) -> Path:
        """The folder of a name. Raises ArgumentError for any that is not offered: nothing else is ever opened."""
        if not name:
            raise ArgumentError("Choose a network first.")
        path = next((p for p in self.folders if str(p) == name), None)
        if path is None:
            raise ArgumentError(f"{name} is not there any more, or was never offered; load the page again.")
        return path

    def run(self, name: str | None) -> RunFolder:
        """The run of a name. Raises ArgumentError."""
        from aliasfree.training import RunFolder

        path = self.find(name)
        if not is_run(path):
            raise ArgumentError(f"{name} is a diffusers model, no run; choose a run.")
        return RunFolder(path)

    def source(self, name: str | None) -> RunFolder | DenoiserFolder:
        """The run of a name, or the folder of diffusers that can be sampled like one. Raises ArgumentError."""
        from aliasfree.sampling.denoisers import DenoiserFolder, is_denoiser

        path = self.find(name)
        if is_run(path):
            return self.run(name)
        if not is_denoiser(path):
            raise ArgumentError(
                f"{name} is no UNet2DModel, alone or in a pipeline without another network, so it cannot be sampled "
                "here; use MotionCallback in Python."
            )
        limits.check_weights(model_folder(path))
        return DenoiserFolder(path)

    def version(self, name: str) -> tuple[Path, int]:
        """Changes when the network of a name is trained on or saved anew. Raises ArgumentError."""
        source = self.source(name)
        return source.path, max((p.stat().st_mtime_ns for p in source.model.glob("*.safetensors")), default=0)

    def sampler(self, name: str, settings: SampleSettings) -> Sampler:
        """A sampler over the network of a name, which is loaded once. Raises what `Sampler` raises."""
        from aliasfree.sampling.sampler import Sampler

        run, key = self.source(name), self.version(name)
        with self._lock:
            unet = self._loaded.pop(key, None)
        if unet is None:
            unet = run.load_model()
        with self._lock:
            self._loaded[key] = unet
            while len(self._loaded) > LOADED:
                self._loaded.popitem(last=False)
        return Sampler(run, settings, unet=unet)

    def classes(self, names: Sequence[str]) -> int:
        """How many classes all of these can be asked for; 0 = some cannot. What is broken does not count."""
        from aliasfree.training import RunFolder

        counts = []
        for name in names:
            try:
                source = self.source(name)
                model = source.config["model"] if isinstance(source, RunFolder) else source.config
                counts.append(int(model.get("num_class_embeds") or 0))
            except AliasfreeError:
                continue
        return min(counts, default=0)


def is_run(path: Path) -> bool:
    """Whether a folder holds what `aliasfree train` writes; a broken one counts, and says so when it is opened."""
    return (path / "config.json").is_file() and not is_model(path)


def is_model(path: Path) -> bool:
    """Whether a folder holds a diffusers model or pipeline."""
    if (path / "model_index.json").is_file():
        return True
    try:
        content = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "_class_name" in content


def model_folder(path: Path, part: str = "unet") -> Path:
    """Where a folder of diffusers has its model, or one of its models if it is a pipeline's."""
    return path / part if (path / "model_index.json").is_file() else path


def _below(path: Path, depth: int = DEPTH) -> list[Path]:
    """Runs and models below a folder, by name; not within one another."""
    if depth == 0 or not path.is_dir():
        return []
    found = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        found += [folder] if is_run(folder) or is_model(folder) else _below(folder, depth - 1)
    return found
