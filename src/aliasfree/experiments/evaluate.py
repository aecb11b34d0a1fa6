"""The old name of `aliasfree.measuring.evaluate`."""

from __future__ import annotations

from aliasfree.lazy_exports import moved

__getattr__ = moved(__name__, "aliasfree.measuring.evaluate")
