"""Training: settings, the loop, checkpoints and the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.lazy_exports import lazy_attributes

if TYPE_CHECKING:
    from aliasfree.training.run_folder import RunFolder
    from aliasfree.training.settings import RunSettings
    from aliasfree.training.stopping import RunStopped
    from aliasfree.training.trainer import train

__all__ = [
    "RunFolder",
    "RunSettings",
    "RunStopped",
    "train",
]

_WHERE = {
    "RunFolder": "run_folder",
    "RunSettings": "settings",
    "RunStopped": "stopping",
    "train": "trainer",
}
__getattr__ = lazy_attributes(__name__, _WHERE)
