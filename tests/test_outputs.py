"""The one check of what a call may write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aliasfree.errors import ArgumentError
from aliasfree.outputs import check_outputs, expand_path, free_name


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(name: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")
    return path


def test_what_is_there_is_written_over_only_when_that_is_asked_for():
    outputs = [Path("new.html"), touch("table.csv"), touch("table.md")]
    with pytest.raises(ArgumentError, match=r"table.csv exists, and so do 1 more.*`overwrite=True`"):
        check_outputs(outputs)
    check_outputs(outputs, overwrite=True)
    check_outputs(outputs, own=True)


@pytest.mark.parametrize("output", ["read.npz", "link.npz", "hard.npz", "folder/a.png", "folder"])
def test_what_is_read_is_never_written_over(output):
    read, folder = touch("read.npz"), touch("folder/a.png").parent
    Path("link.npz").symlink_to(read)
    os.link(read, "hard.npz")
    with pytest.raises(ArgumentError, match="is read by this call"):
        check_outputs([Path(output)], reads=[read, folder, Path("absent")], overwrite=True)


def test_a_folder_of_images_that_is_read_gets_no_more_files():
    folder = touch("images/a.png").parent
    check_outputs([Path("images.json")], reads=[folder], fills=folder)
    with pytest.raises(ArgumentError, match="outside of images"):
        check_outputs([folder / "metrics.json"], reads=[folder], fills=folder)


def test_two_outputs_of_one_name_are_refused():
    with pytest.raises(ArgumentError, match="Two outputs"):
        check_outputs([Path("a.png"), Path("a.png")], overwrite=True)


def test_a_place_where_no_file_can_be_made_is_refused_before_the_work(monkeypatch):
    touch("file")
    with pytest.raises(ArgumentError, match="no folder"):
        check_outputs([Path("file/below/a.png")])
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ArgumentError, match="cannot be written to"):
        check_outputs([Path("new/a.png")])


def test_a_free_name_is_free_for_all_that_is_written_under_it():
    def outputs(path: Path) -> list[Path]:
        return [path, path.with_name(path.name + "-grid.png")]

    assert free_name(Path(), "rot0.5", outputs) == Path("rot0.5")
    touch("rot0.5-grid.png")
    assert free_name(Path(), "rot0.5", outputs) == Path("rot0.5-2")


def test_dots_become_the_folders_they_stand_for_and_the_tilde_the_home(monkeypatch):
    here = Path.cwd()
    monkeypatch.setenv("HOME", str(here))
    assert expand_path(".") == here
    assert expand_path("..") == here.parent
    assert expand_path("a/..") == here
    assert expand_path("~/runs") == here / "runs"
    assert expand_path("runs/a") == Path("runs/a")
