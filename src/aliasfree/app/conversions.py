"""What the tab Convert does with a model, in a process of its own: convert it, measure it before and after, save it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aliasfree.measuring.conversion import Equivariance

__all__ = ["Conversion", "convert_folder"]


@dataclass(frozen=True)
class Conversion:
    """What became of a model; the converted one lies in `folder`."""

    folder: Path
    kind: str
    about: str
    before: Equivariance
    after: Equivariance
    report: str


def convert_folder(
    path: str, part: str, config: str, padding_mode: str | None, out: Path, *, progress: Callable[[int, int], None]
) -> Conversion:
    """Convert the model in a folder of diffusers and save the copy in `out`. Raises what `open_subject` and
    `convert_and_measure` raise."""
    from aliasfree.measuring.conversion import convert_and_measure
    from aliasfree.measuring.targets import SubjectSettings, open_subject

    subject = open_subject(path, SubjectSettings(part=part))
    done = convert_and_measure(subject, config, padding_mode, progress=progress)
    done.model.save_pretrained(out)
    return Conversion(out, type(done.model).__name__, subject.about, done.before, done.after, str(done.report))
