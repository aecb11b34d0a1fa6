"""Samples turned while they are made: the curves over the angle, and their file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.estimate import Estimate
from aliasfree.files import json_value, write_file
from aliasfree.results.columns import read_estimate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RotationCurve", "read_curves", "write_curves"]


@dataclass(frozen=True)
class RotationCurve:
    """What one way of turning gives over the angles; every list has one entry an angle.

    db     x(theta) against the turned x(0), inside the disc, image level
    fd     Frechet distance of x(theta) to real images turned by theta
    kept   share of samples that have, turned back, the class of x(0)
    right  share that have the class asked for; None for samples without one
    step   x(theta) against x of the angle before, turned by the difference; None for the first angle
    shown  the first few samples, uint8 (angles, n, C, S, S)
    """

    name: str
    degrees: tuple[float, ...]
    db: tuple[Estimate, ...]
    fd: tuple[Estimate, ...]
    kept: tuple[Estimate, ...]
    right: tuple[Estimate | None, ...]
    step: tuple[Estimate | None, ...]
    shown: Tensor = field(repr=False, compare=False)

    def figures(self) -> dict[str, Any]:
        """All but `shown`, by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "shown"}


def write_curves(path: Path, curves: Sequence[RotationCurve], about: Mapping[str, Any]) -> None:
    """Keep curves under `about`, what they were measured with."""
    from safetensors.torch import save

    note = {"about": json_value(about), "curves": [json_value(curve.figures()) for curve in curves]}
    tensors = {str(k): curve.shown.contiguous() for k, curve in enumerate(curves)}
    write_file(path, save(tensors, metadata={"curves": json.dumps(note)}))


def read_curves(path: Path, about: Mapping[str, Any]) -> list[RotationCurve] | None:
    """The curves of a file, or None where there is none or they were measured with something else."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        note = json.loads(file.metadata()["curves"])
        if note["about"] != json_value(about):
            return None
        return [_curve(found, file.get_tensor(str(k))) for k, found in enumerate(note["curves"])]


def _curve(found: dict[str, Any], shown: Any) -> RotationCurve:
    lists = {name: tuple(read_estimate(v) for v in found[name]) for name in ("db", "fd", "kept", "right", "step")}
    return RotationCurve(found["name"], tuple(found["degrees"]), **lists, shown=shown)  # type: ignore[arg-type]
