"""The one folder that holds all a run writes, for the trainer to write and for everything else to read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aliasfree.errors import ArgumentError, CheckpointError, ConfigError, RunError
from aliasfree.files import clear_leftovers, is_leftover, write_file, write_json
from aliasfree.settings import Settings, check_types
from aliasfree.training.checkpoint_names import TRAINING, command_of, list_checkpoints, resume_command
from aliasfree.training.losses import read_losses
from aliasfree.training.settings import RunSettings

if TYPE_CHECKING:
    from torch import nn

    from aliasfree.training.checkpoint import Checkpoint

__all__ = ["RunFolder", "check_folder"]

WEIGHTS = "diffusion_pytorch_model.safetensors"  # the name diffusers gives
LOCK, HOLDER = ".lock", ".pid"  # the second names the process that holds the first
Kind = TypeVar("Kind", bound=Settings)


class RunFolder:
    """A run folder, which need not exist yet.

    `README.md` (a model card), `config.json` (settings, versions, data, network), `losses.csv`, `model/` (the averaged
    weights, for `from_pretrained`), `checkpoints/`, `samples/` (grids over time), `images/` (generated images),
    `tensorboard/`, and `training_images/` when asked for.

    >>> from aliasfree.training import RunFolder
    >>> run = RunFolder("runs/digits")
    >>> run.exists, run.latest_checkpoint(), run.model.as_posix()
    (False, None, 'runs/digits/model')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.losses_file = self.path / "losses.csv"
        self.is_published = (self.path / TRAINING).is_file()  # by `publish`: a network alone, which reads like a run
        self.model = self.path if self.is_published else self.path / "model"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.images = self.path / "images"
        self.tensorboard = self.path / "tensorboard"
        self.training_images = self.path / "training_images"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def read(self) -> list[Path]:
        """What is read of a run to sample from it or to measure it."""
        return [self.config_file, self.losses_file, self.model, self.checkpoints]

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.config_file.is_file()

    @property
    def is_empty(self) -> bool:
        """Whether a new run may begin here: no folder, or nothing in it but the lock and what a killed start left."""
        if not self.path.is_dir():
            return not self.path.exists()
        return all(path.name in (LOCK, HOLDER) or is_leftover(path) for path in self.path.iterdir())

    def clear_leftovers(self) -> None:
        """Remove what killed processes had begun to write. Only for the process that holds the lock."""
        for folder in (self.path, self.model, self.samples):
            clear_leftovers(folder)

    @property
    def config(self) -> dict[str, Any]:
        """What `config.json` holds: "settings", "model", "data", "versions", "resumed". Raises `RunError`."""
        try:
            config = json.loads(self.config_file.read_bytes())
            if self.is_published:
                config = {**json.loads((self.path / TRAINING).read_bytes()), "model": config}
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(
                f"There is no run in {self.path} (no config.json); start one with `aliasfree train`."
            ) from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.config_file} is not valid JSON ({error}); restore it from a copy.") from error
        if not isinstance(config, dict) or not {"settings", "model"} <= config.keys():
            raise RunError(f"{self.config_file} was not written by `aliasfree train`; give the folder of a run.")
        try:
            _check_facts(config)
        except ArgumentError as error:
            raise RunError(f"{self.config_file} cannot be used: {error} Restore it from a copy.") from error
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace `config.json` in one go."""
        write_json(self.config_file, config, indent=2)

    @property
    def settings(self) -> RunSettings:
        """The settings of the run, with `out` being where the folder lies now. Raises `RunError` without a run of
        `aliasfree train`."""
        self.check_command("train")
        return self.settings_of(RunSettings)

    def settings_of(self, kind: type[Kind]) -> Kind:
        """The settings in config.json, of a class of settings, with `out` being where the folder lies now. Raises
        `RunError` for what no run of this kind has."""
        config = self.config
        versions = config.get("versions")
        version = versions.get("aliasfree") if isinstance(versions, dict) else None
        try:
            return kind.from_dict({**config["settings"], "out": str(self.path)}, version)
        except (ArgumentError, ConfigError) as error:
            raise RunError(f"{self.config_file} cannot be used: {error}") from error

    @property
    def num_train_timesteps(self) -> int:
        """Time steps of its diffusion. Raises `RunError`."""
        return self.settings.num_train_timesteps

    @property
    def title(self) -> str:
        """What its network is called: the config. Raises `RunError`."""
        return self.settings.config

    def check_command(self, command: str) -> None:
        """Raise `RunError` unless the run was made by `aliasfree COMMAND`."""
        if command_of(self.path) != command:
            raise RunError(
                f"{self.path} is no run of `aliasfree {command}`; go on with it by {resume_command(self.path)}."
            )

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint by name, not verified; None when there is none."""
        found = list_checkpoints(self.checkpoints)
        return found[-1] if found else None

    def load_checkpoint(self) -> Checkpoint:
        """The newest whole checkpoint. Raises `CheckpointError` when there is none."""
        from aliasfree.training.checkpoint import load_latest

        checkpoint, _ = load_latest(self.checkpoints)
        if checkpoint is None:
            raise CheckpointError(f"The run {self.path} has no checkpoint yet; go on with `aliasfree train --resume`.")
        return checkpoint

    def load_model(self, ema: bool = True) -> Any:
        """The network on the CPU, in eval mode: averaged weights, or with `ema=False` those of the newest checkpoint.

        Raises `RunError` when there is no run, `CheckpointError` when it has no weights yet or they are damaged.
        """
        from aliasfree.loading import DAMAGE, load_model, model_class

        described = {"_class_name": "AliasFreeUNet2DModel", **self.config["model"]}
        if not ema:
            network = model_class(described, self.config_file)
            weights = self.load_checkpoint().tensors["model"]
            try:
                model = network.from_config(described)
                model.load_state_dict(weights)
            except DAMAGE as error:
                raise CheckpointError(
                    f"The network in {self.config_file} does not fit its checkpoint ({str(error).splitlines()[0]}); "
                    f"restore the file from a copy."
                ) from error
            return model.eval()
        if not (self.model / WEIGHTS).is_file():
            raise CheckpointError(
                f"The run {self.path} has no weights in model/ yet, which come with its first checkpoint; train on "
                f"with {resume_command(self.path)}."
            )
        try:
            return load_model(self.model)
        except CheckpointError as error:
            raise CheckpointError(
                f"The weights in {self.model} are damaged: {error} {resume_command(self.path)} writes them again."
            ) from error

    def write_model(self, model: nn.Module) -> None:
        """Put weights into `model/`, each file replaced in one go, so that a reader never sees half of it."""
        from safetensors.torch import save

        description = model.to_json_string() + "\n"  # type: ignore[operator]  # of diffusers' ConfigMixin
        write_file(self.model / "config.json", description)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_file(self.model / WEIGHTS, save(state, metadata={"format": "pt"}))

    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps (N,) int64 and their losses (N,) float64, from `losses.csv`; empty before the first step."""
        rows = read_losses(self.losses_file)
        steps = np.array([int(row["step"]) for row in rows], dtype=np.int64)
        return steps, np.array([float(row["loss"]) for row in rows], dtype=np.float64)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, created when absent, against other processes; the system lets go when this one dies.

        Raises `RunError` naming the process that has it.
        """
        from filelock import FileLock, Timeout

        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file, and `out` must be a folder; choose another name.")
        lock, holder = FileLock(self.path / LOCK, timeout=0), self.path / HOLDER
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            holder.write_text(f"{os.getpid()}\n")
        except Timeout as error:
            other = holder.read_text(errors="replace").strip() if holder.is_file() else ""
            raise RunError(
                f"The run folder {self.path} is in use by another process (pid {other[:20] or 'unknown'}); wait for "
                f"it, stop it, or choose another `out`."
            ) from error
        except OSError as error:
            lock.release()
            raise RunError(
                f"Cannot create the run folder {self.path} ({error.strerror}); choose another `out`."
            ) from error
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The types of what config.json holds, where it does."""

    settings: dict[str, Any]
    model: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    resumed: tuple[dict[str, Any], ...] = ()
    parameters: int = 0
    command: str = ""
    teacher: str = ""


@dataclass(frozen=True, kw_only=True)
class _DataFacts:
    """The same of its "data"."""

    source: str = ""
    path: str | None = None
    split: str = ""
    fingerprint: str = ""
    images: int = 0
    image_size: tuple[int, int] = (0, 0)
    channels: int = 0
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()


def _check_facts(config: dict[str, Any]) -> None:
    def check(kind: type[Any], values: dict[str, Any]) -> None:
        known = {one.name for one in dataclasses.fields(kind)}
        check_types(kind(**{name: value for name, value in values.items() if name in known}))

    check(_Facts, config)
    check(_DataFacts, config.get("data") or {})


def check_folder(folder: RunFolder, resume: bool) -> None:
    """Refuse a new run in a folder with content, and a resume without a run. Writes nothing; raises `RunError`."""
    if resume and not folder.exists:
        raise RunError(f"There is no run in {folder.path} to resume; leave out `resume=True` to start one.")
    if resume and not list_checkpoints(folder.checkpoints) and (folder.model / WEIGHTS).is_file():
        tuned = command_of(folder.path) == "tune"
        go_on = (
            "start anew in another `out`"
            if tuned
            else (f"begin another run from these weights, with `model` {folder.model} and another `out`")
        )
        raise RunError(
            f"The run {folder.path} has trained weights in {folder.model.name}/ and no checkpoint to go on from in "
            f"{folder.checkpoints.name}/; restore that folder from a copy, or {go_on}."
        )
    if not resume and folder.exists:
        raise RunError(
            f"There is a run in {folder.path} already; go on with it by {resume_command(folder.path)}, or choose "
            f"another `out`."
        )
    if not resume and not folder.is_empty:
        what = "is not empty" if folder.path.is_dir() else "is a file"
        raise RunError(f"{folder.path} {what}; choose another `out` for the new run.")
