"""What a converted module is: the stock class with another `forward`, and a note of how it was.

A module is converted in place, by `__class__`; the stock class and the attributes that changed are noted in a
`StockState`, so that they can be put back. No parameter and no buffer is added: state-dict keys stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from aliasfree.conversion.plane_filters import PlaneFilters

__all__ = ["OWN", "Converted", "StockState"]


@dataclass(frozen=True)
class StockState:
    """How a touched module was before, and what was done to it."""

    stock: type[nn.Module]
    done: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Converted(nn.Module):
    """A module with filters."""

    _filters: PlaneFilters
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # diffusers' classes are untyped


OWN = ("decimation", "decimations", "plane", "axes", "around", "outside", "attention_rate")
"""Attributes that conversion adds to modules, and takes away again."""
