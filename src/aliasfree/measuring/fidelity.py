"""Images against real ones by the features of one extractor: FID, KID, IS, precision and recall, and their floor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError
from aliasfree.measuring.extractors import JUDGE, kept_features
from aliasfree.measuring.real_images import RealImages
from aliasfree.results.metrics import Fidelity, Figures

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.evaluation.features import Extractor, Features

__all__ = ["check_enough", "compare_sets", "fidelity", "fidelity_of"]

MANIFOLD = 10_000
"""Most images of each set for precision and recall, whose cost is the product of the two numbers."""
KERNEL_LEAST, MANIFOLD_LEAST = 2, 4
"""Least images of each set for KID, and for precision and recall by the third neighbour."""
Progress = Callable[[int, int], None]


def compare_sets(
    generated: Features, real: Features, *, singular: bool = False, intervals: bool = True, gaps: bool = False
) -> Figures:
    """The figures of generated against real images; "is" is None without classes.

    singular   allow fewer images than features in FID
    intervals  95 %, over images
    gaps       a figure that needs more images than there are is None, else an ArgumentError
    """
    from aliasfree.evaluation import fidelity as f
    from aliasfree.evaluation.intervals import Estimate

    a, b = generated.values, real.values
    near, far = _few(generated.values), _few(real.values)
    figures: Figures = {"is": None, "fid": None, "kid": None, "precision": None, "recall": None}
    p, least = generated.probabilities, min(len(a), len(b)) if gaps else math.inf
    if not intervals:
        if p is not None:
            score, spread = f.inception_score(p, splits=min(10, len(p)))
            figures["is"] = Estimate(score, spread=spread)
        if singular or least > a.shape[1]:
            figures["fid"] = Estimate(f.frechet_distance(a, b, singular=singular))
        if least >= KERNEL_LEAST:
            distance, spread = f.kernel_distance(a, b)
            figures["kid"] = Estimate(distance, spread=spread)
        if least >= MANIFOLD_LEAST:
            figures["precision"], figures["recall"] = (Estimate(v) for v in f.precision_recall(near, far))
        return figures
    if p is not None:
        figures["is"] = f.inception_estimate(p)
    if singular or least > a.shape[1]:
        figures["fid"] = f.frechet_estimate(a, b, singular=singular)
    if least >= KERNEL_LEAST:
        figures["kid"] = f.kernel_estimate(a, b)
    if least >= MANIFOLD_LEAST:
        figures["precision"], figures["recall"] = f.precision_recall_estimate(near, far)
    return figures


def check_enough(count: int, extractor: Extractor, real: RealImages, protocol: str) -> None:
    """Refuse sets that are too small for the figures, naming extractors that would do."""
    from aliasfree.evaluation.features import PixelFeatures

    wide = extractor(real.train[:2]).values.shape[1]
    fewest = min(count, len(real.train))
    if fewest < MANIFOLD_LEAST:
        raise ArgumentError(f"{fewest} images are too few to be compared: take at least {MANIFOLD_LEAST}.")
    if fewest > wide or protocol == "paper":
        return
    pixels = PixelFeatures()(real.train[:1]).values.shape[1]
    others = {"classifier": JUDGE if real.train_labels is not None else math.inf, "pixels": pixels}
    would_do = [f"`features='{name}'`" for name, n in others.items() if n < fewest and name != extractor.name]
    advice = " or ".join([f"take at least {wide + 1}", *would_do])
    what = f"{count} images are" if count <= wide else f"The {len(real.train)} real images of {real.source} are"
    raise ArgumentError(f"{what} too few for a Frechet distance over {wide} features: {advice}.")


def fidelity(
    images: Tensor, real: RealImages, extractor: Extractor, protocol: str, progress: Progress | None = None
) -> Fidelity:
    """Figures of one extractor: of the images, and of as many real test images as the floor."""
    from aliasfree.evaluation.features import extract

    paper = protocol == "paper"
    reference = kept_features(extractor, real.train, progress)
    floor = real.test[: len(images)]
    options = {"singular": paper, "intervals": not paper}
    sets = (
        compare_sets(extract(extractor, images, progress=progress), reference, **options),
        compare_sets(kept_features(extractor, floor, progress), reference, gaps=True, **options),
    )
    counts = {"generated": len(images), "reference": len(reference), "floor": len(floor)}
    return replace(fidelity_of(extractor, *sets), key=extractor.key, images=counts)


def fidelity_of(extractor: Extractor, generated: Figures, floor: Figures) -> Fidelity:
    return Fidelity(generated=generated, floor=floor, accuracy=getattr(extractor, "accuracy", None))


def _few(x: Tensor) -> Tensor:
    import torch

    if len(x) <= MANIFOLD:
        return x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MANIFOLD]]
