"""Files that are whole or not there, and JSON with one rule for what is not finite."""

from __future__ import annotations

import json
import math
import resource
from dataclasses import dataclass
from pathlib import Path

import pytest

from aliasfree import files
from aliasfree.files import json_value, new_folder, replacing, write_file, write_json


def test_a_file_replaced_in_one_go_is_the_old_one_when_the_writing_fails(tmp_path):
    file = tmp_path / "new folder" / "config.json"
    write_file(file, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write_file(file, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_a_writer_that_raises_leaves_the_old_file(tmp_path):
    file = tmp_path / "film.mp4"
    write_file(file, b"old")

    def write() -> None:
        with replacing(file) as aside:
            assert aside.suffix == ".mp4"  # writers go by it
            aside.write_bytes(b"half")
            raise ValueError("no more frames")

    with pytest.raises(ValueError, match="no more frames"):
        write()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_appears_when_it_is_whole_and_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "old").touch()

    def fill(name: str, fails: bool) -> None:
        with new_folder(folder) as aside:
            aside.mkdir()
            (aside / name).touch()
            if fails:
                raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fill("half", fails=True)
    assert [p.name for p in tmp_path.rglob("*")] == ["images", "old"]
    fill("new", fails=False)
    assert [p.name for p in tmp_path.rglob("*")] == ["images", "new"]


@dataclass
class Figure:
    value: float
    ends: tuple[float, float]
    of: Path


def test_numbers_that_are_not_finite_are_words_that_float_reads_and_a_path_keeps_its_name(tmp_path):
    figure = Figure(math.inf, (-math.inf, math.nan), Path("runs/Infinity"))
    write_json(tmp_path / "a.json", {"figure": figure, "finite": [1, 0.5, None, True, "NaN"]})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found["figure"] == {"value": "Infinity", "ends": ["-Infinity", "NaN"], "of": "runs/Infinity"}
    assert found["finite"] == [1, 0.5, None, True, "NaN"]
    assert float(found["figure"]["value"]) == math.inf
    assert math.isnan(float(found["figure"]["ends"][1]))
    assert json_value(found) == found


def test_a_name_that_has_changed_works_and_says_its_new_one():
    with pytest.warns(DeprecationWarning, match="plain is called json_value now"):
        assert files.plain is json_value
    with pytest.raises(AttributeError, match="no attribute 'plainer'"):
        _ = files.plainer
