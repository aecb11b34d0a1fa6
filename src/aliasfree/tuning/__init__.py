"""Tuning: a converted model trained towards the stock one that it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.lazy_exports import lazy_attributes

if TYPE_CHECKING:
    from aliasfree.tuning.settings import TuneSettings
    from aliasfree.tuning.trainer import tune

__all__ = ["TuneSettings", "tune"]

_WHERE = {"TuneSettings": "settings", "tune": "trainer"}
__getattr__ = lazy_attributes(__name__, _WHERE)
