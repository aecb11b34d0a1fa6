"""Which samples a resampling step reads, and by which taps: the index arithmetic that all backends share.

y[i] = sum_m h[k] x[m]    up: k = factor m - i + offset    down: k = m - factor i + offset
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aliasfree.filters import FilterSpec, downsampling_offset, upsampling_offset

__all__ = ["axis_taps"]

Ints = NDArray[np.int64]


def axis_taps(n: int, spec: FilterSpec, factor: int, *, up: bool) -> tuple[Ints, Ints]:
    """(source, tap) of every output of an axis of length n, both (n_out, reach).

    n_out    factor n when upsampling, ceil(n / factor) when downsampling
    source   the m of the formula, padding not resolved: it may lie outside 0 .. n-1 (see `padding.outside`)
    tap      the k of the formula, >= 0; at `spec.taps` and beyond there is no tap, the shorter phases end there
    """
    if up:
        out = np.arange(n * factor)[:, None]
        offset = upsampling_offset(spec, factor)
        source = -(-(out - offset) // factor) + np.arange(-(-spec.taps // factor))
        return source, factor * source - out + offset
    out = np.arange(-(-n // factor))[:, None]
    tap = np.broadcast_to(np.arange(spec.taps), (len(out), spec.taps))
    return tap + factor * out - downsampling_offset(spec, factor), tap
