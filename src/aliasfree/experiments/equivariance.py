"""The old name of `aliasfree.measuring.network_equivariance`."""

from __future__ import annotations

from aliasfree.lazy_exports import moved

__getattr__ = moved(__name__, "aliasfree.measuring.network_equivariance")
