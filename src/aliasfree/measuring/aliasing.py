"""`aliasfree analyze`: a network measured layer by layer, as JSON and as a page."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aliasfree.errors import ArgumentError
from aliasfree.files import together, write_file, write_json
from aliasfree.measuring.targets import Subject, SubjectSettings, open_subject, read_by
from aliasfree.outputs import check_outputs
from aliasfree.pictures import gif_bytes, grid
from aliasfree.reporting.aliasing import compose

if TYPE_CHECKING:
    from torch import nn

    from aliasfree.config import Config
    from aliasfree.evaluation.aliasing import Aliasing
    from aliasfree.evaluation.layers import Layer

__all__ = ["analyze", "film", "measure"]

FILMS = 3
"""How many of the guiltiest layers the page shows as a moving feature map."""


def analyze(
    target: str,
    out: Path,
    settings: SubjectSettings | None = None,
    *,
    rate: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Aliasing, Subject]:
    """Measure a network layer by layer; write `out` (.html) and beside it a .json of the same name.

    target  a run, a config's name, or a folder of a diffusers model (see `open_subject`)
    rate    how much finer than a pixel the alias-free counterparts look; None = 4, and 5 for T and R: nonlinearities
            at 4x commute with shifts by a quarter of a pixel, whatever else they do

    Raises ArgumentError for an `out` that is no .html or, without `overwrite`, exists (or the .json); and what
    `open_subject` raises.
    """
    if out.suffix.lower() != ".html":
        raise ArgumentError(f"The page is HTML, so `out` must end in .html, not {out.name!r}.")
    check_outputs([out, out.with_suffix(".json")], reads=read_by(target), overwrite=overwrite)
    began = time.monotonic()
    subject = open_subject(target, settings or SubjectSettings())
    found, by_name = measure(subject, rate=rate, progress=progress)
    films = [(layer, film(by_name[layer.name])) for layer in found.layers[:FILMS]]
    seconds = time.monotonic() - began
    facts = {"network": subject.name, "images": subject.about, "seconds": seconds, **dataclasses.asdict(found)}
    with together():
        write_json(out.with_suffix(".json"), facts)
        write_file(out, compose(found, subject.name, subject.about, films, seconds))
    return found, subject


def measure(
    subject: Subject, *, rate: int | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Aliasing, dict[str, Layer]]:
    """What `analyze` finds of a subject, and its layers by name; nothing is written. `rate` as of `analyze`."""
    from aliasfree.evaluation.aliasing import aliasing
    from aliasfree.evaluation.layers import find_layers

    found = aliasing(
        subject.model, subject.images, subject.call,
        framed=subject.framed, progress=progress, rate=rate or _rate(subject.model), periodic=subject.periodic,
        by=_motion(subject.model),
    )  # fmt: skip
    return found, {layer.name: layer for layer in find_layers(subject.model, subject.call, subject.images)}


def film(layer: Layer) -> bytes:
    """A GIF of one channel: the layer on the left, its counterpart on the right."""
    from aliasfree.evaluation.aliasing import shift_sweep

    swept, still = shift_sweep(layer)
    channel = int((swept - still).square().mean((0, 2, 3)).argmax())
    frames, ideal = swept[:, channel].double().numpy(), still[channel].double().numpy()
    low, high = np.quantile(np.concatenate([frames.ravel(), ideal.ravel()]), [0.002, 0.998])

    def pixels(plane: Any) -> Any:
        return (np.clip((plane - low) / max(high - low, 1e-12), 0, 1) * 255).round().astype(np.uint8)[..., None]

    scale = max(1, 160 // ideal.shape[-1])
    pairs = [grid(np.stack([pixels(frame), pixels(ideal)]), columns=2, pad=2, scale=scale) for frame in frames]
    return gif_bytes(pairs, fps=8)


def _config(model: nn.Module) -> Config:
    from aliasfree.config import Config

    config: Any = getattr(model, "config", {})
    return Config.parse(config.get("alias_free") or "A")


def _rate(model: nn.Module) -> int:
    """One that does not hide what a network's own higher rate leaves."""
    config = _config(model)
    return 5 if (config.running_oversample or config.oversample) == 4 else 4


def _motion(model: nn.Module) -> Literal["shifts", "turns"]:
    """What its layers are ranked by: turns for a network that is built to commute with them alone."""
    return "turns" if _config(model).traits.motions == {"turns"} else "shifts"
