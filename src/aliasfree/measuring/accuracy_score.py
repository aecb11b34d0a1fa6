"""The classification accuracy score of a run: a classifier of its images and one of as many real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError
from aliasfree.measuring.real_images import RealImages
from aliasfree.results.metrics import AccuracyScore

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.measuring.sample_store import SampleStore

__all__ = ["accuracy_score", "check_asked_classes"]


def check_asked_classes(store: SampleStore | None, real: RealImages) -> None:
    """Refuse, before hours of sampling, images whose classes nobody asked for. Raises ArgumentError."""
    if store is None:
        raise ArgumentError("The `accuracy_score` needs a run whose images were asked for by class, not a folder.")
    if store.settings.class_label != "each":
        raise ArgumentError(
            "The `accuracy_score` needs images of every class: give `class_label='each'` and a run with classes."
        )
    if real.train_labels is None or real.test_labels is None:
        raise ArgumentError(f"The data {real.source} have no labels, so leave out `accuracy_score`.")


def accuracy_score(
    store: SampleStore, images: Tensor, real: RealImages, progress: Callable[[int, int], None] | None = None
) -> AccuracyScore:
    """The score of a run's images, uint8 (N, C, H, W), one class after the other, and of the first N real ones."""
    import torch

    from aliasfree.data import unit_range
    from aliasfree.evaluation import classification_accuracy_score

    assert store.sampler.num_classes is not None
    assert real.train_labels is not None
    assert real.test_labels is not None
    labels = torch.arange(len(images)) % store.sampler.num_classes
    sets = ((images, labels), (real.train[: len(images)], real.train_labels[: len(images)]))
    scores = []
    for k, (x, asked) in enumerate(sets):

        def report(done: int, total: int, before: int = k) -> None:
            if progress is not None:
                progress(before * total + done, 2 * total)

        scores.append(
            classification_accuracy_score(
                unit_range(x), asked, unit_range(real.test), real.test_labels, progress=report
            )
        )
    return AccuracyScore(generated=scores[0], floor=scores[1])
