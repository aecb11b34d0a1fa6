"""Names of checkpoints, and what to type to go on from one; told without torch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

__all__ = ["list_checkpoints", "resume_command"]

_NAME = re.compile(r"step-(\d{8,})")


def resume_command(run: Path) -> str:
    """What to type to go on with a run; a shell takes it as it is."""
    return f"`aliasfree train --resume --out {shlex.quote(str(run))}`"


def list_checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in a folder, the oldest first, found by their names; none when there is no folder."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    found = {int(m[1]): path for m, path in named if m and path.is_dir()}
    return [found[step] for step in sorted(found)]
