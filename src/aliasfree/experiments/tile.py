"""`aliasfree tile`: a saved model or pipeline, made seamless and saved again."""

from __future__ import annotations

from pathlib import Path

from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.files import new_folder
from aliasfree.outputs import check_outputs, expand_path

__all__ = ["tile"]


def tile(
    target: Path, out: Path, axes: str = "xy", *, undo: bool = False, overwrite: bool = False
) -> list[tuple[str, str, float | None]]:
    """Tile (or with `undo` untile) the diffusers model or pipeline in `target` and save it as `out`.

    Gives for each part its name, class and how well rolled inputs give rolled outputs in dB (None after `undo`).
    Raises ArgumentError for what cannot be tiled and an `out` that exists; CheckpointError for what cannot be loaded.
    """
    if axes not in ("x", "y", "xy"):
        raise ArgumentError(f"`axes` are x (left meets right), y (top meets bottom) or xy, not {axes!r}.")
    target, out = expand_path(target), expand_path(out)
    check_outputs([out], reads=[target], overwrite=overwrite)
    if not any((target / name).is_file() for name in ("model_index.json", "config.json")):
        raise CheckpointError(
            f"{target} holds no diffusers model or pipeline (no config.json or model_index.json); give a folder "
            f"written by save_pretrained."
        )
    from aliasfree.conversion.tiling import prove, tiled_parts, untile
    from aliasfree.conversion.tiling import tile as make_seamless
    from aliasfree.loading import load_model, load_pipeline

    whole = (target / "model_index.json").is_file()
    model = load_pipeline(target) if whole else load_model(target)
    if undo:
        untile(model)
    else:
        make_seamless(model, axes, prove=False)
    parts = list(tiled_parts(model)) if whole else [(target.name, model)]
    found: list[tuple[str, str, float | None]] = []
    for name, part in parts:
        try:
            decibels = None if undo else prove(part, axes)
        except ArgumentError as error:
            raise ArgumentError(f"{name}: {error}") from error
        found.append((name, type(part).__name__, decibels))
    with new_folder(out) as aside:
        model.save_pretrained(aside)
    return found
