"""Saved models and pipelines of diffusers, converted or not, from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aliasfree.errors import CheckpointError

__all__ = ["load_model", "load_pipeline", "read_json"]


def load_model(folder: Path) -> Any:
    """The model that `save_pretrained` wrote into a folder, for inference. Raises CheckpointError."""
    import diffusers

    import aliasfree

    config = folder / "config.json"
    kind = str(read_json(config).get("_class_name"))
    loader: Any = getattr(aliasfree if kind.startswith("AliasFree") else diffusers, kind, None)
    if not (isinstance(loader, type) and issubclass(loader, diffusers.ModelMixin)):  # pipelines may bring code along
        raise CheckpointError(f"{config} names the class {kind}, which this diffusers does not have; update diffusers.")
    return _loaded(loader, folder).eval()


def load_pipeline(folder: Path) -> Any:
    """The pipeline that `save_pretrained` wrote into a folder. Raises CheckpointError."""
    import diffusers

    import aliasfree

    index = folder / "model_index.json"
    kind = str(read_json(index).get("_class_name"))
    loader: Any = getattr(aliasfree if kind == "AliasFreePipeline" else diffusers, kind, None)
    if not (isinstance(loader, type) and issubclass(loader, diffusers.DiffusionPipeline)):  # no code of the folder's
        raise CheckpointError(f"{index} names the class {kind}, which this diffusers does not have; update diffusers.")
    return _loaded(loader, folder)


def _loaded(loader: Any, folder: Path) -> Any:
    try:
        return loader.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be loaded ({str(error).splitlines()[0]}); save it again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} for anything else. Raises CheckpointError for what is no JSON."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); restore it from a copy.") from error
    return content if isinstance(content, dict) else {}
