"""The names that sampling takes and its defaults, stated once for every layer and cheap to import.

The defaults are those of `AliasFreePipeline`, `MotionCallback`, the command line and the experiments. They were
measured on pixel models (docs/lab/measurements.md); for the latents of other pipelines nothing was measured.
"""

from __future__ import annotations

__all__ = ["LATE", "MAX_DEGREES", "METHODS", "NOISE", "NOISES", "PAPER_WINDOW", "WHOLE", "ZOOMS", "default_window"]

METHODS = ("fourier", "spline", "bicubic")
"""How an image is moved; the first is the default."""

NOISES = ("co-moving", "independent")
"""What injected noise does while the image moves; "independent" is the paper's."""
NOISE = NOISES[0]

MAX_DEGREES = 3600.0
"""Of a turn, either way."""
ZOOMS = (0.1, 10.0)
"""The least and the greatest factor of a zoom."""

LATE: tuple[float, float] = (0.95, 0.95)
"""The default window: the whole motion at once, when a twentieth of sampling is left; with fewer than 20 steps, after
the last. The early steps decide what is seen, upright, where the network is at home; docs/lab/measurements.md has the
figures by which it was chosen."""

WHOLE: tuple[float, float] = (0.0, 1.0)
"""The motion spread evenly over all steps: the default for what a network that is given the frame commutes with by
construction (T: shifts, R: turns)."""
PAPER_WINDOW = WHOLE
"""As in arXiv 2411.09174."""


def default_window(commutes: bool) -> tuple[float, float]:
    """When the motion happens unless something else is asked for: `WHOLE` where the network, given the frame, commutes
    with it (`Config.commutes_with`), else `LATE`."""
    return WHOLE if commutes else LATE
