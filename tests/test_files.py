"""Files that are whole or not there, and JSON with one rule for what is not finite."""

from __future__ import annotations

import json
import math
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from aliasfree import files
from aliasfree.errors import ArgumentError
from aliasfree.files import json_value, new_folder, replacing, together, write_file, write_json
from aliasfree.outputs import check_outputs
from tests.interrupted import stopped_before_each_call


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


def content(folder: Path) -> dict[str, str]:
    """Of the files of a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


NEW, OLD = {"t/sub/a": "new", "t/b": "new"}, {"t/sub/a": "old", "t/c": "old"}


@pytest.fixture
def replaced(tmp_path):
    """(put the old folder there, replace it by the new one)."""

    def write(folder: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = folder / name.removeprefix("t/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def prepare() -> None:
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        write(tmp_path / "t", OLD)

    def replace() -> None:
        with new_folder(tmp_path / "t") as aside:
            write(aside, NEW)

    return prepare, replace


def test_a_folder_replaced_by_a_process_killed_before_any_call_is_old_or_new_to_the_next_call(replaced, tmp_path):
    prepare, replace = replaced
    seen = []
    for k in stopped_before_each_call(prepare, replace, kill=True):
        with pytest.raises(ArgumentError, match=f"{tmp_path / 't'} exists"):
            check_outputs([tmp_path / "t"])
        files = {name: text for name, text in content(tmp_path).items() if not name.startswith(".")}
        assert files in (OLD, NEW), f"killed before call {k}"
        seen.append(files)
        replace()
        assert content(tmp_path) == NEW
    assert seen[0] == OLD
    assert seen[-1] == NEW


def test_a_folder_whose_replacing_fails_at_any_call_is_old_or_new_whole(replaced, tmp_path):
    prepare, replace = replaced
    for k in stopped_before_each_call(prepare, replace, kill=False):
        files = {name: text for name, text in content(tmp_path).items() if not name.startswith(".")}
        assert files in (OLD, NEW), f"failed at call {k}"


def test_a_folder_that_cannot_be_removed_is_replaced_and_what_is_left_of_it_named(replaced, tmp_path, monkeypatch):
    prepare, replace = replaced
    prepare()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.warns(UserWarning, match=r"t is replaced; the old one cannot be removed whole: see .*\.tmp"):
        replace()
    files = content(tmp_path)
    assert NEW.items() <= files.items()
    assert sorted(files.values()) == ["new", "new", "old", "old"]


def test_files_written_together_are_all_new_or_all_old_whichever_call_fails(tmp_path):
    def prepare() -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        for name in ("a.png", "a.json"):
            (tmp_path / name).write_text("old")

    def write() -> None:
        with together():
            for name in ("a.png", "a.gif", "a.json"):
                write_file(tmp_path / name, "new")

    old = {"a.png": "old", "a.json": "old"}
    new = {"a.png": "new", "a.gif": "new", "a.json": "new"}
    for k in stopped_before_each_call(prepare, write, kill=False):
        assert {n: t for n, t in content(tmp_path).items() if not n.startswith(".")} in (old, new), (
            f"failed at call {k}"
        )
    assert content(tmp_path) == new
    for k in stopped_before_each_call(prepare, write, kill=True):
        left = {n: t for n, t in content(tmp_path).items() if not n.startswith(".")}
        assert left.keys() >= old.keys(), f"killed before call {k}"
        assert set(left.values()) <= {"old", "new"}


def test_files_and_folders_written_together_are_none_when_one_of_them_fails(tmp_path):
    (tmp_path / "a.png").write_text("old")

    def write() -> None:
        with together():
            with new_folder(tmp_path / "images") as aside:
                write_file(aside / "0.png", "new")
                assert (aside / "0.png").read_text() == "new"  # what is in it is at its place in it
            write_file(tmp_path / "a.png", "new")
            write_file(tmp_path / "a.gif", "new")
            raise ValueError("no film")

    with pytest.raises(ValueError, match="no film"):
        write()
    assert content(tmp_path) == {"a.png": "old"}
