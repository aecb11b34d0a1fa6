"""Training: settings, the loop, checkpoints and the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aliasfree.training.run_folder import RunFolder
from aliasfree.training.settings import RunSettings
from aliasfree.training.stopping import RunStopped

if TYPE_CHECKING:
    from aliasfree.training.trainer import train

__all__ = ["RunFolder", "RunSettings", "RunStopped", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":  # with it come accelerate and diffusers, which reading a run folder does not need
        from aliasfree.training.trainer import train

        return train
    raise AttributeError(f"module 'aliasfree.training' has no attribute {name!r}")
