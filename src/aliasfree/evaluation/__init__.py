"""Measures of generated images. Everything here sees tensors and callables, never a model of this package."""

from __future__ import annotations

from aliasfree.evaluation.aliasing import aliasing
from aliasfree.evaluation.classifier import (
    Classifier,
    accepted_share,
    accuracy,
    cached_classifier,
    train_classifier,
)
from aliasfree.evaluation.equivariance import eq_r, eq_t
from aliasfree.evaluation.fidelity import frechet_distance, inception_score, kernel_distance, precision_recall
from aliasfree.evaluation.intervals import Estimate

__all__ = [
    "Classifier",
    "Estimate",
    "accepted_share",
    "accuracy",
    "aliasing",
    "cached_classifier",
    "eq_r",
    "eq_t",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "precision_recall",
    "train_classifier",
]
