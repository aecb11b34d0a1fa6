"""Features of images, by which sets of them are compared.

    classifier   64 features of a small network trained on the data's own labels: the meaningful one for grey digits
    pixels       the image in at most 8x8 blocks: always there, blind to all that is finer

Inception, whose features published tables use, is in `inception`; more networks trained on photographs in `pretrained`.

All take uint8 images (N, C, H, W).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from aliasfree.errors import ShapeError
from aliasfree.evaluation.classifier import Classifier

__all__ = ["ClassifierFeatures", "Extractor", "Features", "PixelFeatures", "extract"]


@dataclass(frozen=True)
class Features:
    """values (N, D) float32, and class probabilities (N, K) or None where the extractor knows no classes.

    >>> import torch
    >>> from aliasfree.evaluation.features import Features
    >>> features = Features(values=torch.randn(10, 64), probabilities=None)
    >>> len(features), len(features[:3])
    (10, 3)
    """

    values: Tensor
    probabilities: Tensor | None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor | slice) -> Features:
        return Features(self.values[rows], None if self.probabilities is None else self.probabilities[rows])


class Extractor(Protocol):
    """Features of a batch of images; `key` names all that decides them, for caches.

    >>> import torch
    >>> from aliasfree.evaluation.features import Features, extract
    >>> class MeanColour:
    ...     name = key = "mean colour"
    ...     def __call__(self, images):
    ...         return Features(images.float().mean((2, 3)), None)
    >>> tuple(extract(MeanColour(), torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).values.shape)
    (5, 3)
    """

    name: str
    key: str

    def __call__(self, images: Tensor) -> Features: ...


def extract(
    extractor: Extractor,
    images: Tensor,
    batch_size: int = 500,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Features of images (N, C, H, W), uint8, N >= 1, batch by batch. Raises ShapeError.

    >>> import torch
    >>> from aliasfree.evaluation.features import PixelFeatures, extract
    >>> tuple(extract(PixelFeatures(), torch.zeros(5, 1, 32, 32, dtype=torch.uint8), batch_size=2).values.shape)
    (5, 64)
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != torch.uint8 or not len(images):
        raise ShapeError(f"expected uint8 images (N, C, H, W), N >= 1, got {images.dtype} {tuple(images.shape)}")
    parts = []
    for part in images.split(batch_size):
        parts.append(extractor(part))
        if progress is not None:
            progress(sum(map(len, parts)), len(images))
    known = [p.probabilities for p in parts if p.probabilities is not None]
    return Features(torch.cat([p.values for p in parts]), torch.cat(known) if known else None)


class PixelFeatures:
    """Block means, at most 8x8 of them, in [-1, 1]: 64 features a channel.

    >>> import torch
    >>> from aliasfree.evaluation.features import PixelFeatures
    >>> PixelFeatures()(torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)).values.unique()
    tensor([1.])
    """

    name, key = "pixels", "pixels-8"

    def __call__(self, images: Tensor) -> Features:
        h, w = images.shape[-2:]
        blocks = F.adaptive_avg_pool2d(images.float() / 127.5 - 1, (min(8, h), min(8, w)))
        return Features(blocks.flatten(1), None)


class ClassifierFeatures:
    """The last features of a `Classifier`, averaged over the pixels, and its probabilities.

    accuracy  share of held-out real images it gets right; report it beside every figure

    >>> import torch
    >>> from aliasfree.evaluation.classifier import Classifier, Shape
    >>> from aliasfree.evaluation.features import ClassifierFeatures, extract
    >>> classifier = Classifier(Shape(channels=1, classes=10, width=4))
    >>> features = extract(ClassifierFeatures(classifier, accuracy=0.1), torch.zeros(5, 1, 16, 16, dtype=torch.uint8))
    >>> tuple(features.values.shape), tuple(features.probabilities.shape)
    ((5, 16), (5, 10))
    """

    name = "classifier"

    def __init__(self, classifier: Classifier, accuracy: float) -> None:
        self.classifier, self.accuracy = classifier.eval(), accuracy
        digest = hashlib.sha256()
        for tensor in classifier.state_dict().values():
            digest.update(tensor.detach().cpu().numpy().tobytes())
        self.key = f"classifier-{digest.hexdigest()[:16]}"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        device = next(self.classifier.parameters()).device
        x = images.to(device).float() / 127.5 - 1
        values = self.classifier.features(x).mean((2, 3))
        return Features(values.cpu(), self.classifier.head(values).softmax(1).cpu())
