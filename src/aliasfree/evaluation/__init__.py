"""Measures of generated images. Everything here sees tensors and callables, never a model of this package."""

from __future__ import annotations

from aliasfree.evaluation.classifier import (
    Classifier,
    accepted_share,
    accuracy,
    cached_classifier,
    train_classifier,
)

__all__ = ["Classifier", "accepted_share", "accuracy", "cached_classifier", "train_classifier"]
