"""Image files are opened in one place, which starts no program and waits for no pipe."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

import aliasfree
from aliasfree.data import open_images
from aliasfree.errors import DataError
from aliasfree.image_files import FORMATS, open_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_no_other_place_opens_images_with_pillow():
    top = Path(aliasfree.__file__).parent
    opening = re.compile(r"^(?!.*(>>>|`)).*(\bImage\.open|\bimread|import imageio\b)", re.MULTILINE)
    found = {path.relative_to(top).as_posix() for path in top.rglob("*.py") if opening.search(path.read_text())}
    assert found == {"image_files.py"}


def test_postscript_by_another_name_starts_no_ghostscript(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    file = tmp_path / "d" / "x.png"
    file.parent.mkdir()
    file.write_bytes(EPS)
    with Image.open(file) as image:  # what Pillow takes it for when it is left to itself
        assert image.format == "EPS"
    with pytest.raises(UnidentifiedImageError):
        open_image(file)
    with pytest.raises(DataError, match=r"x\.png is truncated or corrupt"):
        open_images(file.parent, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("form", [f for f in FORMATS if f != "MPO"])
def test_every_format_that_is_named_is_read(form):
    if form not in Image.SAVE:
        Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 10)).save(file, form)
    file.seek(0)
    assert open_image(file).convert("RGB").getpixel((8, 8))[0] > 150


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files")
def test_a_pipe_among_images_or_in_their_place_is_named_and_not_opened(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "a.png")
    os.mkfifo(folder / "b.png")
    with pytest.raises(DataError, match=r"b\.png is truncated or corrupt \(.*is no regular file"):
        open_images(folder, cache_dir=tmp_path / "cache")
    assert len(open_images(folder, cache_dir=tmp_path / "cache", skip_bad=True)) == 1
    for name in ("x.png", "x.npz", "x.csv", "x.zip", "train-images-idx3-ubyte"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="neither a file nor a folder"):
            open_images(tmp_path / name, cache_dir=tmp_path / "cache")
    for name in ("metadata.csv", "train.csv", "train.zip", "train-images-idx3-ubyte"):
        inside = tmp_path / f"in {name}"
        inside.mkdir()
        os.mkfifo(inside / name)
        with pytest.raises(DataError):  # of one kind or another; none waits
            open_images(inside, cache_dir=tmp_path / "cache")
