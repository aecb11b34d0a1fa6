from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aliasfree.data import open_images
from aliasfree.errors import DataError


def _zip(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return target


@pytest.fixture(params=["folder", "zip"])
def pack(request, tmp_path):
    """The folder itself, or a zip of it: both must read alike."""
    return lambda folder: folder if request.param == "folder" else _zip(folder, tmp_path / f"{folder.name}.zip")


def test_classes_are_sorted_and_numbers_by_value(tmp_path, write_png, pack):
    for i, name in enumerate(["10", "2", "0"]):
        write_png(tmp_path / "d" / name / "x.png", i)
    data = open_images(pack(tmp_path / "d"))
    assert data.class_names == ("0", "2", "10")
    by_value = dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))
    assert by_value == {0: 2, 1: 1, 2: 0}


def test_images_side_by_side_have_no_labels(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "a.png", 5)
    write_png(tmp_path / "d" / "b.PNG", 9)
    data = open_images(pack(tmp_path / "d"))
    assert data.labels is None
    assert data.class_names is None
    assert data.images[:, 0, 0, 0].tolist() == [5, 9]
    assert data[0]["label"] == -1


def test_split_folders_are_honoured_and_share_their_classes(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "train" / "cat" / "a.png", 1)
    write_png(tmp_path / "d" / "train" / "dog" / "a.png", 2)
    write_png(tmp_path / "d" / "test" / "dog" / "a.png", 3)
    packed = pack(tmp_path / "d")
    train, test = open_images(packed), open_images(packed, split="test")
    assert train.images[:, 0, 0, 0].tolist() == [1, 2]
    assert test.images[:, 0, 0, 0].tolist() == [3]
    assert test.labels.tolist() == [1]
    assert train.class_names == test.class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"no 'val' split; it has: test, train"):
        open_images(packed, split="val")


def test_outer_folder_junk_and_other_files_are_looked_through(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "outer" / "cat" / "a.png", 1)
    write_png(tmp_path / "d" / "outer" / "dog" / "a.png", 2)
    write_png(tmp_path / "d" / "__MACOSX" / "outer" / "cat" / "a.png", 3)
    write_png(tmp_path / "d" / "outer" / "dog" / "._a.png", 4)
    write_png(tmp_path / "d" / ".hidden" / "b.png", 4)
    (tmp_path / "d" / "outer" / "README.md").write_text("x")
    data = open_images(pack(tmp_path / "d"))
    assert data.class_names == ("cat", "dog")
    assert data.images[:, 0, 0, 0].tolist() == [1, 2]


def test_folder_of_zips_is_split_by_file_name(tmp_path, write_png):
    write_png(tmp_path / "d" / "cat" / "a.png", 1)
    write_png(tmp_path / "d" / "dog" / "a.png", 2)
    zips = tmp_path / "zips"
    zips.mkdir()
    _zip(tmp_path / "d", zips / "cifar10-train.zip")
    (tmp_path / "d" / "cat" / "a.png").unlink()
    write_png(tmp_path / "d" / "bird" / "a.png", 7)
    _zip(tmp_path / "d", zips / "cifar10-test.zip")
    assert open_images(zips).images[:, 0, 0, 0].tolist() == [1, 2]
    assert open_images(zips, split="test").class_names == ("bird", "dog")
    assert len(open_images(zips / "cifar10-test.zip", split="test")) == 2
    with pytest.raises(DataError, match="no 'test' split"):
        open_images(zips / "cifar10-train.zip", split="test")


def test_images_beside_and_inside_folders_are_an_error_naming_both(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "a.png")
    write_png(tmp_path / "d" / "cat" / "b.png")
    with pytest.raises(DataError, match=r"'a.png' and 'cat/b.png'"):
        open_images(pack(tmp_path / "d"))


def test_grey_and_colour_mixed_is_an_error_naming_one_of_each_unless_channels_decide(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "a.png", (10, 20, 30))
    write_png(tmp_path / "d" / "b.png", 100)
    packed = pack(tmp_path / "d")
    with pytest.raises(DataError, match=r"b\.png is grey, .*a\.png is in colour.*`channels=1`"):
        open_images(packed)
    assert open_images(packed, channels=3).images[:, :, 0, 0].tolist() == [[10, 20, 30], [100] * 3]
    assert open_images(packed, channels=1).images[:, :, 0, 0].tolist() == [[18], [100]]


def test_different_sizes_are_an_error_naming_two_files_unless_a_size_is_given(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "a.png", 1, (8, 8))
    write_png(tmp_path / "d" / "b.png", 1, (8, 16))
    packed = pack(tmp_path / "d")
    with pytest.raises(DataError, match=r"a\.png is 8x8, .*b\.png is 8x16\); .*`image_size`"):
        open_images(packed)
    assert open_images(packed, image_size=8).images.shape == (2, 1, 8, 8)


def test_corrupt_image_is_named_and_skip_bad_counts_and_goes_on(tmp_path, write_png, pack):
    write_png(tmp_path / "d" / "a.png", 1)
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise[..., 0]).save(tmp_path / "d" / "cut.jpg", quality=95)
    whole = (tmp_path / "d" / "cut.jpg").read_bytes()
    (tmp_path / "d" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d" / "empty.png").write_bytes(b"")
    packed = pack(tmp_path / "d")
    with pytest.raises(DataError, match=r"cut\.jpg is truncated or corrupt .*`skip_bad=True`"):
        open_images(packed, image_size=8)
    data = open_images(packed, image_size=8, skip_bad=True)
    assert data.images[:, 0, 0, 0].tolist() == [1]
    assert ["cut.jpg" in data.skipped[0], "empty.png" in data.skipped[1]] == [True, True]
    with pytest.raises(DataError, match=r"cut\.jpg"):  # the cache made while skipping does not hide them later
        open_images(packed, image_size=8)


def test_damaged_member_is_named_with_its_archive(tmp_path, write_png):
    write_png(tmp_path / "d" / "cat" / "a.png", 1)
    archive = _zip(tmp_path / "d", tmp_path / "d.zip")
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"IDAT") + 6
    raw[at] ^= 0xFF
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"d\.zip!cat/a\.png is truncated or corrupt"):
        open_images(archive)


def test_incomplete_zip_is_an_error_naming_it(tmp_path, write_png):
    write_png(tmp_path / "d" / "cat" / "a.png", 1)
    archive = _zip(tmp_path / "d", tmp_path / "d.zip")
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"d\.zip is not a complete zip file"):
        open_images(archive)


def test_folder_without_images_says_what_is_expected(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no images; expected"):
        open_images(tmp_path)


def test_all_images_bad_is_an_error_even_with_skip_bad(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"all 1 are bad.*a\.png"):
        open_images(tmp_path, skip_bad=True)


def test_changed_folder_is_read_again(tmp_path, write_png):
    write_png(tmp_path / "a.png", 1)
    assert open_images(tmp_path).images[:, 0, 0, 0].tolist() == [1]
    write_png(tmp_path / "b.png", 2)
    assert open_images(tmp_path).images[:, 0, 0, 0].tolist() == [1, 2]


def test_link_back_up_does_not_loop(tmp_path, write_png):
    write_png(tmp_path / "d" / "cat" / "a.png", 1)
    write_png(tmp_path / "d" / "dog" / "a.png", 1)
    (tmp_path / "d" / "dog" / "up").symlink_to(tmp_path / "d")
    assert len(open_images(tmp_path / "d")) == 2
