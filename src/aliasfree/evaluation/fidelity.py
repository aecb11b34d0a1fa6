"""How close two sets of images are, by features of theirs: FID, KID, Inception Score, precision and recall.

Everything takes features (N, D) or probabilities (N, K), from whatever extractor; sums are in float64. Rows of `a` are
the generated images, rows of `b` the real ones. The figures agree with torch-fidelity's on the same features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation.intervals import NORMAL, Estimate, bootstrap

__all__ = [
    "Moments", "frechet_distance", "frechet_estimate", "inception_estimate", "inception_score", "kernel_distance",
    "kernel_estimate", "precision_recall", "precision_recall_estimate",
]  # fmt: skip

SEED = 2020
"""Of the subsets of KID and the order of IS; torch-fidelity's, so that the figures agree."""
WIDE = 512
"""Features from which a distance costs seconds and is resampled less often."""


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and unbiased covariance (D, D) of n features, float64: all that a Frechet distance sees.

    >>> import torch
    >>> from aliasfree.evaluation.fidelity import Moments, frechet_distance
    >>> real = Moments.of(torch.randn(100, 4))  # once, for many comparisons
    >>> real.n, tuple(real.covariance.shape), abs(frechet_distance(real, real)) < 1e-9
    (100, (4, 4), True)
    """

    n: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Those of the rows of (N, D), N >= 2. Raises ShapeError, ArgumentError."""
        x = _checked(features, 2)
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.mT @ centred / (len(x) - 1))

    @functools.cached_property
    def root(self) -> Tensor:
        """R with covariance = R^T R; directions of no variance, up to rounding, are exactly 0."""
        values, vectors = torch.linalg.eigh(self.covariance)
        noise = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
        return torch.where(values > noise, values, 0).clamp(min=0).sqrt()[:, None] * vectors.mT


def frechet_distance(a: Tensor | Moments, b: Tensor | Moments, *, singular: bool = False) -> float:
    """|mean difference|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), the FID where the features are Inception's.

    a, b      features (N, D), (M, D), or their `Moments`
    singular  allow fewer images than features, whose covariance has directions of no variance by accident (the paper's
              2,000 images with 2,048 features)

    tr (S_a S_b)^(1/2) is the sum of the singular values of R_a R_b^T: no square root of a rounding error, so the
    distance of a set to itself is 0 to 1e-12 of its variance. Raises ShapeError, ArgumentError. Source: Heusel et al.
    2017, eq. 6.

    >>> import torch
    >>> from aliasfree.evaluation import frechet_distance
    >>> features = torch.randn(100, 4)
    >>> round(frechet_distance(features, features + 0.5), 4)  # 4 features, each moved by a half
    1.0
    """
    one, two = (x if isinstance(x, Moments) else Moments.of(x) for x in (a, b))
    d = len(one.mean)
    if len(two.mean) != d:
        raise ShapeError(f"the two sets have {d} and {len(two.mean)} features: use one extractor for both")
    if min(one.n, two.n) <= d and not singular:
        raise ArgumentError(
            f"{min(one.n, two.n)} images are too few for a Frechet distance over {d} features, which needs more than "
            f"{d}: take more images, an extractor with fewer features (classifier or pixels), or KID"
        )
    nuclear = torch.linalg.svdvals(one.root @ two.root.mT).sum()
    distance = ((one.mean - two.mean) ** 2).sum() + one.covariance.trace() + two.covariance.trace() - 2 * nuclear
    return float(distance)


def frechet_estimate(a: Tensor, b: Tensor, *, singular: bool = False, resamples: int | None = None) -> Estimate:
    """`frechet_distance` with a 95 % interval over the images of both sets; resamples None = 100, 10 for wide features.

    The distance itself falls as the number of images grows; the interval says nothing of that.

    >>> import torch
    >>> from aliasfree.evaluation.fidelity import frechet_estimate
    >>> generated, real = torch.randn(200, 4) + 0.5, torch.randn(200, 4)
    >>> estimate = frechet_estimate(generated, real)
    >>> estimate.low < estimate.value < estimate.high
    True
    """
    distance = functools.partial(frechet_distance, singular=singular)
    if resamples is None:
        resamples = 100 if a.shape[1] < WIDE else 10
    value = distance(a, b)
    return bootstrap(distance, a.double(), b.double(), resamples=resamples, value=value)


def kernel_distance(a: Tensor, b: Tensor, *, subsets: int = 100, subset_size: int | None = None) -> tuple[float, float]:
    """KID: squared maximum mean discrepancy under (x.y / D + 1)^3, unbiased; (mean, standard deviation) over subsets.

    a, b         features (N, D), (M, D)
    subsets      how many, >= 1
    subset_size  images of each set in a subset, >= 2; None = 1,000, or the smaller set

    It may lie below 0. Raises ShapeError, ArgumentError. Source: Binkowski et al. 2018, sec. 4.

    >>> import torch
    >>> from aliasfree.evaluation import kernel_distance
    >>> generated, real = torch.randn(200, 4) + 0.5, torch.randn(200, 4)
    >>> mean, deviation = kernel_distance(generated, real, subset_size=100)
    >>> mean > 0, deviation > 0
    (True, True)
    """
    x, y = _pair(a, b)
    size = min(1000, len(x), len(y)) if subset_size is None else subset_size
    if subsets < 1 or not 2 <= size <= min(len(x), len(y)):
        raise ArgumentError(
            f"KID needs subsets of 2 to {min(len(x), len(y))} images, the smaller of the two sets, and at least one, "
            f"not {subsets} of {size}"
        )
    rng = np.random.RandomState(SEED)  # torch-fidelity's subsets
    values = []
    for _ in range(subsets):
        rows = [torch.from_numpy(rng.choice(len(v), size, replace=False)) for v in (x, y)]
        values.append(_mmd2(x[rows[0]], y[rows[1]]))
    return float(np.mean(values)), float(np.std(values))


def kernel_estimate(a: Tensor, b: Tensor, *, blocks: int = 20) -> Estimate:
    """The mean of `kernel_distance` with a 95 % interval.

    Both sets are cut into `blocks` disjoint parts at random; the discrepancies of the parts are unbiased and
    independent, so their spread over sqrt(blocks) is the standard error. Sets of less than 2 blocks images have none.

    >>> import torch
    >>> from aliasfree.evaluation.fidelity import kernel_estimate
    >>> estimate = kernel_estimate(torch.randn(200, 4) + 0.5, torch.randn(200, 4))
    >>> estimate.low < estimate.value < estimate.high
    True
    """
    from scipy.stats import t

    x, y = _pair(a, b)
    value, spread = kernel_distance(x, y)
    if min(len(x), len(y)) < 2 * blocks or blocks < 2:
        return Estimate(value, spread=spread)
    generator = torch.Generator().manual_seed(SEED)
    parts = [v[torch.randperm(len(v), generator=generator)].tensor_split(blocks) for v in (x, y)]
    # blocks of a large set would cost its square; 1,000 images are a block's worth
    values = [_mmd2(p[:1000], q[:1000]) for p, q in zip(*parts, strict=True)]
    half = float(t.ppf(0.975, blocks - 1)) * float(np.std(values, ddof=1)) / blocks**0.5
    return Estimate(value, value - half, value + half, spread)


def inception_score(p: Tensor, *, splits: int = 10) -> tuple[float, float]:
    """exp of the mean divergence of p(class | image) from p(class): (mean, standard deviation) over splits.

    p       class probabilities (N, K) of generated images, rows of sum 1; N >= splits

    Raises ShapeError, ArgumentError. Source: Salimans et al. 2016, sec. 4.

    >>> import torch
    >>> from aliasfree.evaluation import inception_score
    >>> certain_and_varied = torch.eye(5).repeat(20, 1)
    >>> mean, deviation = inception_score(certain_and_varied, splits=1)
    >>> round(mean, 3)  # of at most the number of classes
    5.0
    """
    p = _probabilities(p)
    n = len(p)
    if not 1 <= splits <= n:
        raise ArgumentError(f"the Inception Score in {splits} splits needs at least {splits} images, not {n}")
    p = p[torch.from_numpy(np.random.RandomState(SEED).permutation(n))]  # torch-fidelity's order
    scores = [_score(p[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    return float(np.mean(scores)), float(np.std(scores))


def inception_estimate(p: Tensor) -> Estimate:
    """`inception_score` (in 10 splits, fewer for fewer images) with a 95 % interval over the images.

    >>> import torch
    >>> from aliasfree.evaluation.fidelity import inception_estimate
    >>> estimate = inception_estimate(torch.randn(100, 5).softmax(1))
    >>> estimate.low < estimate.high
    True
    """
    p = _probabilities(p)
    value, spread = inception_score(p, splits=min(10, len(p)))
    return replace(bootstrap(_score, p, value=value), spread=spread)


def precision_recall(a: Tensor, b: Tensor, *, k: int = 3) -> tuple[float, float]:
    """(precision, recall): share of generated images within the real manifold, and of real ones within the generated.

    a, b  features (N, D), (M, D), N, M > k. A manifold is the union of balls, each reaching to an image's k-th
          neighbour

    Raises ShapeError, ArgumentError. Source: Kynkaanniemi et al. 2019, eq. 1 and 2.

    >>> import torch
    >>> from aliasfree.evaluation import precision_recall
    >>> real = torch.randn(100, 2)
    >>> precision_recall(real, real), precision_recall(real + 100, real)
    ((1.0, 1.0), (0.0, 0.0))
    """
    inside_b, inside_a = _covered(a, b, k)
    return inside_b.mean().item(), inside_a.mean().item()


def precision_recall_estimate(a: Tensor, b: Tensor, *, k: int = 3) -> tuple[Estimate, Estimate]:
    """`precision_recall` with 95 % intervals over the images that are tested, the manifolds held fixed.

    >>> import torch
    >>> from aliasfree.evaluation.fidelity import precision_recall_estimate
    >>> precision, recall = precision_recall_estimate(torch.randn(100, 2), torch.randn(100, 2))
    >>> precision.low <= precision.value <= precision.high
    True
    """
    return tuple(_mean_estimate(hits) for hits in _covered(a, b, k))  # type: ignore[return-value]


def _covered(a: Tensor, b: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Whether each row of a lies in the manifold of b, and each of b in that of a; float64 (N,), (M,)."""
    x, y = _pair(a, b)
    if not 1 <= k < min(len(x), len(y)):
        raise ArgumentError(
            f"precision and recall by the {k}. neighbour need more than {k} images, not {min(len(x), len(y))}"
        )
    middle = y.mean(0)  # far from the origin float32 distances lose digits
    x, y = ((v - middle).float() for v in (x, y))
    radius_x, radius_y = _radii(x, k), _radii(y, k)
    inside_y = _by_rows(lambda part: (torch.cdist(part, y) <= radius_y).any(1).double(), x)
    inside_x = _by_rows(lambda part: (torch.cdist(part, x) <= radius_x).any(1).double(), y)
    return inside_y, inside_x


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th neighbour, itself not counted."""
    return _by_rows(lambda part: torch.cdist(part, x).kthvalue(k + 1).values, x)


def _by_rows(fn: Callable[[Tensor], Tensor], x: Tensor, size: int = 1024) -> Tensor:
    return torch.cat([fn(part) for part in x.split(size)])


def _mean_estimate(hits: Tensor) -> Estimate:
    value = hits.mean().item()
    half = NORMAL * float(hits.std() / len(hits) ** 0.5)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def _mmd2(x: Tensor, y: Tensor) -> float:
    xx, yy, xy = (((p @ q.mT) / p.shape[1] + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    within = sum((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (xx, yy))
    return float(within - 2 * xy.mean())


def _score(p: Tensor) -> float:
    q = p.mean(0, keepdim=True)
    return float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1).mean().exp())


def _probabilities(p: Tensor) -> Tensor:
    p = _checked(p, 1)
    if (p < -1e-6).any() or (p.sum(1) - 1).abs().max() > 1e-3:
        raise ArgumentError("the Inception Score takes class probabilities, rows of sum 1: apply a softmax to logits")
    return p


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    x, y = _checked(a, 2), _checked(b, 2)
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"the two sets have {x.shape[1]} and {y.shape[1]} features: use one extractor for both")
    return x, y


def _checked(features: Tensor, least: int) -> Tensor:
    if features.ndim != 2 or not features.shape[1]:
        raise ShapeError(f"expected features (N, D), one row an image, got shape {tuple(features.shape)}")
    if len(features) < least:
        raise ArgumentError(f"{len(features)} image(s) have no spread: give at least {least}, better thousands")
    x = features.detach().double().cpu()
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).any(1).sum())
        raise ArgumentError(f"the features of {bad} of {len(x)} images are NaN or infinite: check images and extractor")
    return x
