"""Sampling from a run or a folder of diffusers: the settings, and what makes image number i of a seed."""

from __future__ import annotations

import warnings
from typing import Any

__all__: list[str] = []

_NAMES = ("LATE", "METHODS", "NOISE", "NOISES", "PAPER_WINDOW", "SCHEDULERS", "WHOLE", "default_window")


def __getattr__(name: str) -> Any:
    """The names that were here before they moved to `aliasfree.diffusion.names`."""
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aliasfree.diffusion import names

    warnings.warn(f"{name} is in aliasfree.diffusion.names now", DeprecationWarning, stacklevel=2)
    return getattr(names, name)
