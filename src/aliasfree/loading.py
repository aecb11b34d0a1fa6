"""Saved models and pipelines of diffusers, converted or not, from a folder."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aliasfree.errors import CheckpointError

__all__ = ["DAMAGE", "load_model", "load_pipeline", "model_class", "read_json", "saved_class"]

DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What is raised where a file says something that no model can be made of."""


def load_model(folder: Path, as_class: str | None = None, **options: Any) -> Any:
    """The model that `save_pretrained` wrote into a folder, for inference. Raises CheckpointError.

    as_class  the class to make of it; None = the one that its config.json names
    options   in the place of entries of its config
    """
    config = folder / "config.json"
    described = read_json(config) if as_class is None else {"_class_name": as_class}
    return _loaded(model_class(described, config), folder, **options).eval()


def model_class(description: Mapping[str, Any], where: Path) -> Any:
    """The class of a model, of ours or of diffusers, by the content of its config.json. Raises CheckpointError.

    where  the file, for the message
    """
    import diffusers

    return saved_class(description, where, diffusers.ModelMixin)


def load_pipeline(folder: Path) -> Any:
    """The pipeline that `save_pretrained` wrote into a folder. Raises CheckpointError."""
    import diffusers

    index = folder / "model_index.json"
    return _loaded(saved_class(read_json(index), index, diffusers.DiffusionPipeline), folder)


def saved_class(description: Mapping[str, Any], where: Path, base: type) -> Any:
    """The class that a saved config names, of ours or of diffusers, and no code of the folder's, which pipelines may
    bring along.

    where  the file, for the message
    base   what it must be: a model, a pipeline or a scheduler

    Raises CheckpointError, with the cause where one is found.
    """
    import diffusers
    from packaging.version import InvalidVersion, Version

    import aliasfree
    import aliasfree.diffusion

    kind = str(description.get("_class_name"))
    ours = getattr(aliasfree if kind.startswith("AliasFree") else aliasfree.diffusion, kind, None)
    loader: Any = ours or getattr(diffusers, kind, None)
    if isinstance(loader, type) and issubclass(loader, base):
        return loader
    missing = [name for name in getattr(loader, "_backends", ()) if importlib.util.find_spec(name) is None]
    if missing:  # diffusers has a stand-in for a class whose packages are not there
        packages = " ".join(missing)
        raise CheckpointError(f"{where} names the class {kind}, which needs {packages}: `pip install {packages}`.")
    cure = "give a folder that save_pretrained wrote"
    with contextlib.suppress(InvalidVersion):
        by = Version(str(description.get("_diffusers_version")))
        if by > Version(diffusers.__version__):
            cure = f"it was saved by diffusers {by}: update diffusers"
    what = {diffusers.ModelMixin: "model", diffusers.DiffusionPipeline: "pipeline"}.get(base, "scheduler")
    raise CheckpointError(
        f"{where} names the class {kind[:80]!r}, which diffusers {diffusers.__version__} does not have as a {what}; "
        f"{cure}."
    )


def _loaded(loader: Any, folder: Path, **options: Any) -> Any:
    from safetensors import SafetensorError

    try:
        return loader.from_pretrained(folder, local_files_only=True, **options)
    except (*DAMAGE, SafetensorError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise CheckpointError(f"{folder} cannot be loaded ({why}); save it again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} for anything else. Raises CheckpointError for what is no JSON."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); restore it from a copy.") from error
    return content if isinstance(content, dict) else {}
