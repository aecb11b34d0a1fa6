"""Noise schedule, training objective, motions and sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.lazy_exports import lazy_attributes

if TYPE_CHECKING:
    from aliasfree.diffusion.callbacks import MotionCallback
    from aliasfree.diffusion.loss import training_loss
    from aliasfree.diffusion.noise import sample_generators
    from aliasfree.diffusion.pipeline import AliasFreePipeline, AliasFreePipelineOutput
    from aliasfree.diffusion.registry import SCHEDULERS, make_scheduler, register_scheduler
    from aliasfree.diffusion.rolling import RollCallback
    from aliasfree.diffusion.scheduler import PaperDDPMScheduler
    from aliasfree.diffusion.transforms import Motion, MotionSchedule, Rotation, Transform, Translation, Zoom

__all__ = [
    "SCHEDULERS",
    "AliasFreePipeline",
    "AliasFreePipelineOutput",
    "Motion",
    "MotionCallback",
    "MotionSchedule",
    "PaperDDPMScheduler",
    "RollCallback",
    "Rotation",
    "Transform",
    "Translation",
    "Zoom",
    "make_scheduler",
    "register_scheduler",
    "sample_generators",
    "training_loss",
]

_WHERE = {
    "AliasFreePipeline": "pipeline",
    "AliasFreePipelineOutput": "pipeline",
    "Motion": "transforms",
    "MotionCallback": "callbacks",
    "MotionSchedule": "transforms",
    "PaperDDPMScheduler": "scheduler",
    "RollCallback": "rolling",
    "Rotation": "transforms",
    "SCHEDULERS": "registry",
    "Transform": "transforms",
    "Translation": "transforms",
    "Zoom": "transforms",
    "make_scheduler": "registry",
    "register_scheduler": "registry",
    "sample_generators": "noise",
    "training_loss": "loss",
}
__getattr__ = lazy_attributes(__name__, _WHERE)
