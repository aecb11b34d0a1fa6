"""A trained network as a folder to give away: what diffusers saves, with what is known of its training beside it.

    config.json                            the network, as `save_pretrained` writes it
    diffusion_pytorch_model.safetensors    the averaged weights in bfloat16; loading gives float32
    training.json                          settings and data of the run, without paths
    metrics.json                           its figures, if `aliasfree evaluate` has measured them
    README.md, samples.png                 a model card, and the samples that it shows

`AliasFreeUNet2DModel.from_pretrained` takes such a folder, and every command that takes a run takes it like one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from aliasfree.errors import CheckpointError
from aliasfree.files import new_folder, write_file, write_json
from aliasfree.outputs import check_outputs
from aliasfree.training.card import write_card
from aliasfree.training.checkpoint_names import TRAINING
from aliasfree.training.run_folder import WEIGHTS, RunFolder

__all__ = ["publish"]

SAMPLES = "samples.png"
_OF_THIS_MACHINE = (
    "device",
    "out",
    "model",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
    "skip_bad",
    "compile",
)


def publish(run: RunFolder, out: Path, *, overwrite: bool = False) -> RunFolder:
    """Write the network of a run into a new folder to give away, and give that folder.

    Its samples are those that `evaluate` has left beside the figures, else the newest grid of the training. Raises
    RunError and CheckpointError as `RunFolder.config` and `load_model` do, ArgumentError for an `out` that exists.
    """
    import torch
    from safetensors.torch import load_file, save

    config = run.config
    check_outputs([out], reads=run.read, overwrite=overwrite)
    weights = run.model / WEIGHTS
    if not weights.is_file():
        raise CheckpointError(f"The run {run.path} has no weights in model/ yet; train on first.")
    state = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in load_file(weights).items()}
    step = _step(run)
    with new_folder(out) as folder:
        folder.mkdir(parents=True)
        shutil.copy(run.model / "config.json", folder / "config.json")
        write_file(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
        write_json(folder / TRAINING, _facts(config, step), indent=2)
        samples = _samples(run)
        if samples is not None:
            shutil.copy(samples, folder / SAMPLES)
        with contextlib.suppress(FileNotFoundError):
            write_json(folder / "metrics.json", {**_read(run.path / "metrics.json"), "source": out.name}, indent=2)
    published = RunFolder(out)
    write_card(published, step)
    return published


def _facts(config: dict[str, Any], step: int) -> dict[str, Any]:
    """What config.json tells of the training, without the network and without paths of one machine."""
    settings = {k: v for k, v in config["settings"].items() if k not in _OF_THIS_MACHINE}
    settings["data"] = Path(settings["data"]).name if "/" in settings["data"] else settings["data"]
    data = {k: v for k, v in config.get("data", {}).items() if k not in ("path", "skipped")}
    data["source"] = Path(str(data.get("source", ""))).name
    kept: dict[str, Any] = {k: config[k] for k in ("parameters", "versions", "command") if k in config}
    return {"step": step, "settings": settings, "data": data, **kept}


def _step(run: RunFolder) -> int:
    newest = run.latest_checkpoint()
    return int(newest.name.removeprefix("step-")) if newest is not None else 0


def _samples(run: RunFolder) -> Path | None:
    measured = run.path / "metrics.png"
    grids = sorted(run.samples.glob("step-*.png")) if run.samples.is_dir() else []
    return measured if measured.is_file() else (grids[-1] if grids else None)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes()))
