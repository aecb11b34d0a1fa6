"""Measures of generated images. Everything here sees tensors and callables, never a model of this package."""

from __future__ import annotations

from aliasfree.evaluation.accuracy_score import classification_accuracy_score
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
from aliasfree.evaluation.noise_error import noise_error

__all__ = [
    "Classifier",
    "Estimate",
    "accepted_share",
    "accuracy",
    "aliasing",
    "cached_classifier",
    "classification_accuracy_score",
    "eq_r",
    "eq_t",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "noise_error",
    "precision_recall",
    "train_classifier",
]
