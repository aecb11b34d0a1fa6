"""The figures that a record holds: where each stands in it, and how reports, tables, cards and commands show it.

Everything that shows figures reads `COLUMNS`. A record declares its own; `register_record` checks and enters them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate

__all__ = ["COLUMNS", "RECORDS", "Column", "figure", "floors", "read_estimate", "register_record"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a record.

    key     its name in CSV files and in Python
    title   what stands over it, with the unit: "KID x 1000"
    path    the fields, keys and places from the record to an `Estimate` or a number: "overall.eq_t", "-1.error"
    floor   the path of the same figure of real images; None = there is none
    better  None = says nothing of quality: it has no rank, and no place on a card
    unit    of the value that is stored; "" = a plain number
    bounds  least and greatest value
    factor  what is shown is the value times this, with so many `digits` after the point
    table   of the report: figures of images, of the network, of cost
    record  its name in metrics.json; set when it is registered
    """

    key: str
    title: str
    path: str
    floor: str | None = None
    better: Literal["higher", "lower"] | None
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    factor: float = 1.0
    digits: int = 1
    table: Literal["images", "network", "cost"] = "images"
    record: str = ""

    def number(self, value: float) -> str:
        """A value as it is shown; "exact" for an error of nothing."""
        return "exact" if value == math.inf else f"{value * self.factor:,.{self.digits}f}"


class Holder(Protocol):
    """What holds records, as `Metrics` does."""

    @property
    def fidelity(self) -> Mapping[str, Any]:
        """By the name of the extractor."""

    @property
    def measured(self) -> Mapping[str, Any]:
        """By the names in `RECORDS`."""


COLUMNS: dict[str, Column] = {}
"""By key, in the order in which they are shown."""
RECORDS: dict[str, Callable[[Any], Any]] = {}
"""By its name in metrics.json, what makes a record of its JSON."""


def register_record(name: str, columns: Sequence[Column], read: Callable[[Any], Any] | None) -> None:
    """Enter the columns of a record, and what reads it; None = it is no part of its own in metrics.json.

    Raises ArgumentError for names that are taken or are none, and for columns that could not be shown.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in RECORDS:
        raise ArgumentError(f"A record's name is of small letters, digits and _, and not taken yet, unlike {name!r}.")
    titles = {c.title for c in COLUMNS.values()}
    for k, column in enumerate(columns):
        others = columns[:k]
        if not re.fullmatch(r"[a-z][a-z0-9_]*", column.key) or column.key in {*COLUMNS, *(c.key for c in others)}:
            raise ArgumentError(f"A column's key is of small letters, digits and _, and not taken yet: {column.key!r}.")
        if not column.title or column.title in {*titles, *(c.title for c in others)}:
            raise ArgumentError(f"There is a column called {column.title!r} already; choose another title.")
        if column.better not in ("higher", "lower", None) or column.table not in ("images", "network", "cost"):
            raise ArgumentError(f"The column {column.key} needs a `better` and a `table` that `Column` names.")
        if not column.bounds[0] < column.bounds[1] or not column.factor > 0:
            raise ArgumentError(f"The column {column.key} needs bounds (least, greatest) and a factor above 0.")
    if read is not None:
        RECORDS[name] = read
    COLUMNS.update({c.key: dataclasses.replace(c, record=name) for c in columns})


def figure(column: Column, metrics: Holder, features: str) -> Estimate | None:
    """A figure of what was measured, by the features of one extractor; None where it was not measured."""
    return _at(_record(column, metrics, features), column.path)


def floors(metrics: Holder, features: str) -> dict[str, Estimate]:
    """The figures of real test images, by key."""
    found = {
        key: _at(_record(column, metrics, features), column.floor)
        for key, column in COLUMNS.items()
        if column.floor is not None
    }
    return {key: value for key, value in found.items() if value is not None}


def read_estimate(found: Mapping[str, Any] | None) -> Estimate | None:
    """From JSON; None where there is none, or its value is null, as older versions wrote what was not finite."""
    if not found or found["value"] is None:
        return None
    low, high, spread = (None if found.get(k) is None else float(found[k]) for k in ("low", "high", "spread"))
    return Estimate(float(found["value"]), low, high, spread)


def _record(column: Column, metrics: Holder, features: str) -> Any:
    if column.record == "fidelity":
        return metrics.fidelity[features]
    return metrics.measured.get(column.record) if column.record in RECORDS else metrics


def _at(value: Any, path: str) -> Estimate | None:
    for part in path.split("."):
        if value is None:
            return None
        if isinstance(value, Mapping):
            value = value.get(part)
        else:
            value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    return value if value is None or isinstance(value, Estimate) else Estimate(float(value))
