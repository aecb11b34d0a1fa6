"""Noise schedule, training objective, motions and sampling."""

from aliasfree.diffusion.callbacks import MotionCallback
from aliasfree.diffusion.loss import training_loss
from aliasfree.diffusion.noise import sample_generators
from aliasfree.diffusion.pipeline import AliasFreePipeline, AliasFreePipelineOutput
from aliasfree.diffusion.scheduler import SCHEDULERS, PaperDDPMScheduler, make_scheduler
from aliasfree.diffusion.transforms import Motion, MotionSchedule, Rotation, Transform, Translation, Zoom

__all__ = [
    "SCHEDULERS",
    "AliasFreePipeline",
    "AliasFreePipelineOutput",
    "Motion",
    "MotionCallback",
    "MotionSchedule",
    "PaperDDPMScheduler",
    "Rotation",
    "Transform",
    "Translation",
    "Zoom",
    "make_scheduler",
    "sample_generators",
    "training_loss",
]
