"""Checkpoints that are either whole or not there.

A checkpoint is the folder `checkpoints/step-00001234/` with `model.safetensors`, `ema.safetensors`,
`optimizer.safetensors`, `state.json` and `manifest.json` (size and SHA-256 of every other file). It is written under
another name, every file and the folder synced to the disk, and renamed last; older ones go only after that. No pickle.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aliasfree.errors import CheckpointError, RunError
from aliasfree.files import put_back, put_in_place, sync
from aliasfree.training.checkpoint_names import list_checkpoints, resume_command

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"
GROUPS = ("model", "ema", "optimizer")
_UNFINISHED = ".unfinished-"
_DAMAGED = "damaged-"
# no room, over quota, over the file size limit, failing device, mounted read-only
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: the JSON state and, for each of `GROUPS`, tensors by name (on the CPU)."""

    path: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return int(self.state["step"])


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], *, keep: int
) -> Path:
    """Write the checkpoint of `step` into `folder`, then remove all but the newest `keep`.

    Raises `RunError` when it cannot be written (disk full ...); what was there before is then untouched.
    """
    target = checkpoint_path(folder, step)
    unfinished = folder / f"{_UNFINISHED}{target.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        manifest = {}
        for group, named in tensors.items():
            manifest[f"{group}.safetensors"] = _write(unfinished / f"{group}.safetensors", _pack(named))
        content = {**state, "format": FORMAT, "step": step}
        manifest[STATE] = _write(unfinished / STATE, _json_bytes(content))
        _write(unfinished / MANIFEST, _json_bytes({"format": FORMAT, "files": manifest}))
        sync(unfinished)
        put_in_place({target: unfinished})  # also where the step is there, after going on from an earlier checkpoint
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise cannot_write(target, error, folder) from error
    for old in list_checkpoints(folder)[:-keep]:
        if old != target:  # renamed first, so that no half-removed checkpoint ever carries a checkpoint's name
            shutil.rmtree(old.rename(folder / f"{_UNFINISHED}{old.name}"))
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint, verifying every checksum. Raises `CheckpointError` naming what is damaged."""
    from safetensors.torch import load

    files = verify_checkpoint(path)
    state = json.loads(files[STATE])
    return Checkpoint(path, state, {group: load(files[f"{group}.safetensors"]) for group in GROUPS})


def verify_checkpoint(path: Path) -> dict[str, bytes]:
    """The content of every file of a checkpoint, after comparing size and SHA-256 with the manifest.

    Raises `CheckpointError` when a file is missing, cut short or changed, or the manifest itself is.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        listed = dict(manifest["files"])
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"The checkpoint {path} is damaged: its {MANIFEST} cannot be read.") from error
    if version != FORMAT:
        raise CheckpointError(f"The checkpoint {path} has format {version}, and this version reads {FORMAT}.")
    files = {}
    for name in [*(f"{group}.safetensors" for group in GROUPS), STATE]:
        try:
            content = (path / name).read_bytes()
            known = listed[name]["sha256"]
        except (OSError, KeyError, TypeError) as error:
            raise CheckpointError(f"The checkpoint {path} is damaged: its {name} is missing.") from error
        if hashlib.sha256(content).hexdigest() != known:
            raise CheckpointError(f"The checkpoint {path} is damaged: the checksum of {name} is wrong.")
        files[name] = content
    return files


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[tuple[Path, CheckpointError]]]:
    """The newest checkpoint that is whole, and path and error of each newer one that was skipped as damaged.

    (None, []) when there is no checkpoint at all. Raises `CheckpointError` when there are some and none is whole.
    """
    damaged: list[tuple[Path, CheckpointError]] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path), damaged
        except CheckpointError as error:
            damaged.append((path, error))
    if damaged:
        names = ", ".join(path.name for path in list_checkpoints(folder))
        raise CheckpointError(
            f"Every checkpoint in {folder} is damaged ({names}); restore one from a copy or start a new run "
            f"with another `out`."
        )
    return None, []


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed process had begun to write, and put back what it was about to replace.

    Only for the process that holds the run folder's lock.
    """
    if folder.is_dir():
        put_back(folder)
        for path in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path)


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that it is not taken for one again, and keep it for inspection."""
    aside = path.with_name(f"{_DAMAGED}{path.name}")
    if aside.exists():
        shutil.rmtree(aside)
    return path.rename(aside)


def is_cannot_write(error: OSError) -> bool:
    """Whether the disk refused to take what was written."""
    return error.errno in _CANNOT_WRITE


def cannot_write(target: Path | str, error: OSError, checkpoints: Path) -> RunError:
    """The sentence for a disk that takes no more, naming the checkpoint that is left."""
    left = list_checkpoints(checkpoints)
    kept = f"the checkpoint {left[-1]} is intact" if left else "there was no checkpoint before it"
    return RunError(
        f"Cannot write {target} ({error.strerror or error}); {kept}, so make room on the disk and go on with "
        f"{resume_command(checkpoints.parent)}."
    )


def pack_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The state of an optimizer as flat tensors "exp_avg.<parameter>"; hyperparameters come from the settings."""
    state = optimizer.state_dict()["state"]
    return {f"{key}.{names[i]}": torch.as_tensor(value) for i in sorted(state) for key, value in state[i].items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: list[str]) -> None:
    """The inverse of `pack_optimizer`, into an optimizer over the same parameters."""
    place = {name: i for i, name in enumerate(names)}
    parameters = [p.detach() for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for flat, value in tensors.items():
        key, name = flat.split(".", 1)
        parameter = parameters[place[name]]
        if value.shape == parameter.shape:  # in the parameter's memory layout, which fused optimizers take for granted
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(place[name], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _pack(named: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()})


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> dict[str, Any]:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
