"""Classification accuracy score: what a classifier learns about real images from generated ones.

It sees what a Frechet distance does not: classes that are confused or missing, and too little variety within one.
"""

from __future__ import annotations

from torch import Tensor

from aliasfree.errors import ShapeError
from aliasfree.estimate import Estimate
from aliasfree.evaluation.classifier import BATCH, Progress, train_classifier, usual_epochs
from aliasfree.evaluation.intervals import share

__all__ = ["classification_accuracy_score"]

STEPS = 300
"""Least optimizer steps of the classifier."""


def classification_accuracy_score(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Share of real test images that a classifier trained on `images` gets right, with Wilson's interval over them.

    images, labels            generated, (N, C, H, W) in [-1, 1], and the classes (N,) they were asked for; real
                              training images give the score that generated ones can reach
    test_images, test_labels  real
    seed, epochs              of `train_classifier`; epochs None = its own number, more where that makes less than 300
                              steps of 128 images, so that few images are learned as well

    The interval is over the test images: another seed of the classifier moves the score as well. Raises ShapeError,
    ArgumentError. Source: Ravuri & Vinyals 2019, sec. 3.

    >>> import torch
    >>> from aliasfree.evaluation import classification_accuracy_score
    >>> labels = torch.arange(64) % 2
    >>> images = 0.1 * torch.randn(64, 1, 8, 8) + (labels - 0.5)[:, None, None, None]
    >>> classification_accuracy_score(images, labels, images, labels, epochs=20).value
    1.0
    """
    if test_labels.shape != test_images.shape[:1]:
        raise ShapeError(f"expected {len(test_images)} test labels, one an image, got {tuple(test_labels.shape)}")
    if epochs is None:
        epochs = max(usual_epochs(len(images)), -(-STEPS // -(-len(images) // BATCH)))
    classifier = train_classifier(images, labels, seed=seed, epochs=epochs, progress=progress)
    classes = classifier.probabilities(test_images).argmax(1).cpu()
    return share(int((classes == test_labels.cpu()).sum()), len(test_labels))
