"""Which differences between networks are more than chance: paired tests, Holm's correction, ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.evaluation.intervals import over_runs

__all__ = ["holm", "paired_difference", "ranks"]


def paired_difference(a: Sequence[float], b: Sequence[float]) -> tuple[Estimate, float | None]:
    """Mean of a - b with its 95 % interval, and the two-sided p-value, both by Student's t over the pairs.

    a, b  figures of two networks, one pair a training seed

    A single pair has neither interval nor p-value. Raises ArgumentError for lists of unlike length or none.

    >>> from aliasfree.evaluation.comparison import paired_difference
    >>> difference, p = paired_difference([10.0, 12.0, 11.0], [9.0, 10.9, 10.1])
    >>> round(difference.value, 2), p < 0.01
    (1.0, True)
    """
    if len(a) != len(b) or not a:
        raise ArgumentError(f"a paired comparison needs as many figures of both, at least one, not {len(a)}, {len(b)}")
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    mean = over_runs(differences.tolist())
    if len(differences) == 1:
        return mean, None
    if np.ptp(differences) == 0:  # no spread: certain, one way or the other
        return mean, 1.0 if differences[0] == 0 else 0.0
    from scipy.stats import ttest_1samp

    return mean, float(ttest_1samp(differences, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for having looked at all of them: the chance of even one false finding stays below the level.

    Raises ArgumentError for a value outside [0, 1]. Source: Holm 1979: the k-th smallest of m is multiplied by
    m - k + 1, and none is below a smaller one's.

    >>> from aliasfree.evaluation.comparison import holm
    >>> [round(v, 2) for v in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ArgumentError("p-values lie in [0, 1]")
    order = np.argsort(values, kind="stable")
    corrected = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    result = np.empty_like(values)
    result[order] = np.minimum(1.0, corrected)
    return [float(v) for v in result]


def ranks(values: Sequence[float], *, higher_is_better: bool = False) -> list[float]:
    """1 for the best, and so on; equals share the mean of their ranks.

    >>> from aliasfree.evaluation.comparison import ranks
    >>> ranks([9.6, 8.1, 9.6])
    [2.5, 1.0, 2.5]
    """
    from scipy.stats import rankdata

    sign = -1.0 if higher_is_better else 1.0
    return [float(v) for v in rankdata([sign * v for v in values])]
