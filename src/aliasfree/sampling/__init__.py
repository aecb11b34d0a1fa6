"""Sampling from a run or a folder of diffusers: the settings, and what makes image number i of a seed."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

__all__: list[str] = []

_NAMES = ("LATE", "METHODS", "NOISE", "NOISES", "PAPER_WINDOW", "WHOLE", "default_window")
_NOW = {**dict.fromkeys(_NAMES, "names"), "SCHEDULERS": "registry"}


def __getattr__(name: str) -> Any:
    """The names that were here before they moved to `aliasfree.diffusion`."""
    if name not in _NOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    where = f"aliasfree.diffusion.{_NOW[name]}"
    warnings.warn(f"{name} is in {where} now", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(where), name)
