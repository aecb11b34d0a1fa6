"""Names of checkpoints, and what to type to go on from one; told without torch."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

__all__ = ["TRAINING", "command_of", "list_checkpoints", "resume_command"]

TRAINING = "training.json"
"""What a published network has in the place of a run's config.json."""

_NAME = re.compile(r"step-(\d{8,})")


def resume_command(run: Path) -> str:
    """What to type to go on with a run; a shell takes it as it is."""
    return f"`aliasfree {command_of(run)} --resume --out {shlex.quote(str(run))}`"


def command_of(run: Path) -> str:
    """The command that made a run: "tune" where its config.json says so, else "train"."""
    try:
        return str(json.loads((run / "config.json").read_bytes()).get("command", "train"))
    except (OSError, ValueError, AttributeError, RecursionError):  # not begun, or damaged: said by those who read it
        return "train"


def list_checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in a folder, the oldest first, found by their names; none when there is no folder."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    found = {int(m[1]): path for m, path in named if m and path.is_dir()}
    return [found[step] for step in sorted(found)]
