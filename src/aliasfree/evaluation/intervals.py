"""Error bars: an estimate with its 95 % interval, from resampled images or from several runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate

__all__ = ["Estimate", "bootstrap", "over_runs", "share"]

NORMAL = 1.959963984540054
"""97.5 % quantile of the normal distribution: two-sided 95 %."""


def bootstrap(
    statistic: Callable[..., float], *sets: Tensor, resamples: int = 100, seed: int = 0, value: float | None = None
) -> Estimate:
    """value +- 1.96 bootstrap standard errors, with the rows of every set drawn anew, with replacement.

    statistic   takes the sets, each (N_i, ...), and gives a number
    resamples   >= 2; a standard error needs few
    value       statistic(*sets), where it is known already

    The interval is centred on the estimate and not made of the percentiles: a Frechet distance grows with every
    repeated image, so its resampled values lie above the estimate and their percentiles would miss it.

    >>> import torch
    >>> from aliasfree.evaluation.intervals import bootstrap
    >>> estimate = bootstrap(lambda x: x.mean().item(), torch.arange(100.0))
    >>> estimate.value, 40 < estimate.low < 49.5 < estimate.high < 60
    (49.5, True)
    """
    if resamples < 2:
        raise ArgumentError(f"a bootstrap needs at least 2 resamples, not {resamples}")
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(resamples):
        rows = [torch.randint(len(x), (len(x),), generator=generator) for x in sets]
        drawn.append(statistic(*(x[i.to(x.device)] for x, i in zip(sets, rows, strict=True))))
    centre = statistic(*sets) if value is None else value
    spread = NORMAL * float(np.std(drawn, ddof=1))
    return Estimate(centre, centre - spread, centre + spread)


def over_runs(values: Sequence[float]) -> Estimate:
    """Mean over runs and its interval by Student's t; none for a single run. Raises ArgumentError for no run.

    >>> from aliasfree.evaluation.intervals import over_runs
    >>> over_runs([9.0, 10.0, 11.0]).text()
    '10.00 [7.52, 12.48]'
    """
    if not values:
        raise ArgumentError("a mean over runs needs at least one run")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def share(hits: int, n: int) -> Estimate:
    """hits / n with Wilson's interval, in [0, 1]; n >= 1, 0 <= hits <= n. Raises ArgumentError.

    >>> from aliasfree.evaluation.intervals import share
    >>> share(98, 100).text(3)
    '0.980 [0.930, 0.994]'
    """
    if n < 1 or not 0 <= hits <= n:
        raise ArgumentError(f"a share needs 0 <= hits <= n and n >= 1, not {hits} of {n}")
    p, z = hits / n, NORMAL
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))
