"""Settings check what they are given: types by the annotations, ranges by the fields' own checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aliasfree.errors import ArgumentError, ConfigError
from aliasfree.settings import Settings, at_least, between, one_of, option, options


@dataclass(frozen=True, kw_only=True)
class Base(Settings):
    out: Path = option(help="A folder.")
    count: int | None = option(None, "How many.", at_least(1), none="all")
    share: float = option(0.5, "Of them.", between(0, 1))
    quick: bool = option(False, "Less exact.")


@dataclass(frozen=True, kw_only=True)
class Made(Base):
    size: int | tuple[int, int] | None = option(32, "Pixels.", after="out")
    kind: str = option("none", "Of noise.", one_of(("none", "pink")))
    share: float = option(0.25, "Of them.", between(0, 1))
    levels: tuple[float, ...] = option((1.0,), "In dB.")
    more: dict[str, Any] | None = option(None, "A table.", after="quick")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quick": "no"}, "`quick` must be true or false, not 'no'."),
        ({"quick": 0}, "true or false, not 0"),
        ({"count": True}, "a whole number, not True"),
        ({"count": 2.0}, "a whole number, not 2.0"),
        ({"count": "2"}, "a whole number, not '2'"),
        ({"count": 0}, "at least 1, not 0 (left out: all)."),
        ({"share": "half"}, "a finite number, not 'half'"),
        ({"share": float("nan")}, "a finite number, not nan"),
        ({"share": 10**400}, "a finite number"),
        ({"share": None}, "a finite number, not None"),
        ({"share": 2}, "between 0 and 1, not 2"),
        ({"out": 3}, "a path, not 3"),
        ({"out": "a\0b"}, "a path"),
        ({"size": [1, 2, 3]}, "a whole number or a list of 2 whole numbers, not [1, 2, 3]"),
        ({"size": {"a": 1}}, "a whole number or a list of 2 whole numbers"),
        ({"kind": ["none"]}, "a text, not ['none']"),
        ({"kind": "pnik"}, "There is no `kind` 'pnik'; did you mean 'pink'?"),
        ({"levels": [1, "2"]}, "a list of finite numbers, not [1, '2']"),
        ({"more": [1]}, "a table, not [1]"),
        ({"count": -(10**5000)}, "not so large a number"),
        ({"kind": "x" * 10**6}, "There is no `kind`"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused_in_one_short_sentence(given, says):
    with pytest.raises(ArgumentError) as error:
        Made(**{"out": "x", **given})
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_text_becomes_a_path_a_list_a_tuple_and_all_survives_a_round_trip():
    made = Made(out="runs/a", size=[8, 16], levels=[1, 2.5], share=1)
    assert (made.out, made.size, made.levels) == (Path("runs/a"), (8, 16), (1, 2.5))
    assert made.to_dict()["size"] == [8, 16]
    assert Made.from_dict(made.to_dict()) == made
    assert made.replace(count=3).count == 3


def test_names_that_are_unknown_missing_or_no_table_are_told():
    with pytest.raises(ConfigError, match="no setting 'cuont'; did you mean 'count'"):
        Made.from_dict({"out": "x", "cuont": 3})
    with pytest.raises(ConfigError, match=r"written by aliasfree 99\.1; install that version"):
        Made.from_dict({"out": "x", "later": 3}, version="99.1")
    with pytest.raises(ArgumentError, match="lack out"):
        Made.from_dict({})
    with pytest.raises(ArgumentError, match="a table of names"):
        Made.from_dict(["out"])


def test_options_stand_where_they_are_put_and_redeclared_ones_where_they_stood():
    assert list(options(Made)) == ["out", "size", "kind", "count", "share", "levels", "quick", "more"]
    assert (options(Made)["share"].help, Made(out="x").share) == ("Of them.", 0.25)
