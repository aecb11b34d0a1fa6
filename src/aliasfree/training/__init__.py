"""Training: settings, the loop, checkpoints and the run folder."""

from aliasfree.training.run_folder import RunFolder
from aliasfree.training.settings import RunSettings
from aliasfree.training.stopping import RunStopped
from aliasfree.training.trainer import train

__all__ = ["RunFolder", "RunSettings", "RunStopped", "train"]
