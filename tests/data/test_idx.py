from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aliasfree.data import open_images
from aliasfree.errors import DataError


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_folder_gives_the_pixels_and_labels_of_the_asked_split(tmp_path, pixels, write_idx, dot, zipped):
    write_idx(tmp_path, pixels, [3, 1, 4, 1, 5, 9, 2], "train", dot, zipped)
    write_idx(tmp_path, pixels[:2] // 2, [7, 8], "t10k", dot, zipped)
    train, test = open_images(tmp_path), open_images(tmp_path, split="test")
    assert np.array_equal(train.images[:, 0], pixels)
    assert train.labels.tolist() == [3, 1, 4, 1, 5, 9, 2]
    assert train.class_names == tuple("0123456789")
    assert np.array_equal(test.images[:, 0], pixels[:2] // 2)
    assert test.labels.tolist() == [7, 8]
    assert train.channels == 1
    assert train.image_size == (6, 5)


def test_single_images_file_finds_its_labels_beside_it_and_does_without(tmp_path, pixels, write_idx):
    file = write_idx(tmp_path, pixels, [1] * 7)
    assert open_images(file).labels.tolist() == [1] * 7
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert open_images(file).labels is None


def test_bigger_size_is_what_pillow_resizes_bilinearly(tmp_path, write_idx):
    digit = np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    data = open_images(write_idx(tmp_path, digit, [0, 1]), image_size=32)
    expected = np.asarray(Image.fromarray(digit[1]).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(data.images[1, 0], expected)


def _damaged(tmp_path: Path, file: Path, change) -> Path:
    broken = tmp_path / "broken-images-idx3-ubyte"
    broken.write_bytes(change(file.read_bytes()))
    return broken


def test_wrong_magic_is_named_with_both_numbers(tmp_path, pixels, write_idx):
    file = _damaged(tmp_path, write_idx(tmp_path, pixels, [0] * 7), lambda raw: b"\0\0\x08\x04" + raw[4:])
    with pytest.raises(DataError, match=r"broken-images.*2052 instead of 2051"):
        open_images(file)


def test_truncated_file_is_named_with_expected_and_found_bytes(tmp_path, pixels, write_idx):
    file = _damaged(tmp_path, write_idx(tmp_path, pixels, [0] * 7), lambda raw: raw[:-11])
    with pytest.raises(DataError, match=r"226 bytes expected .*, 215 found"):
        open_images(file)


def test_surplus_bytes_are_an_error(tmp_path, pixels, write_idx):
    file = _damaged(tmp_path, write_idx(tmp_path, pixels, [0] * 7), lambda raw: raw + b"x")
    with pytest.raises(DataError, match=r"226 bytes expected .*more than 226"):
        open_images(file)


def test_header_alone_cut_short_is_an_error(tmp_path, pixels, write_idx):
    file = _damaged(tmp_path, write_idx(tmp_path, pixels, [0] * 7), lambda raw: raw[:9])
    with pytest.raises(DataError, match=r"16 bytes expected .*, 9 found"):
        open_images(file)


@pytest.mark.parametrize("cut", [lambda raw: raw[:-12], lambda raw: raw[:40] + bytes(8) + raw[48:]])
def test_damaged_gzip_is_an_error_naming_the_file(tmp_path, pixels, write_idx, cut):
    file = write_idx(tmp_path, pixels, [0] * 7, zipped=True)
    file.write_bytes(cut(file.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz (is|has)"):
        open_images(file)


def test_labels_that_do_not_belong_are_an_error_with_both_counts(tmp_path, pixels, write_idx):
    write_idx(tmp_path, pixels, [0] * 6)
    with pytest.raises(DataError, match=r"7 images .* 6 labels"):
        open_images(tmp_path)


def test_missing_labels_or_split_in_a_folder_is_an_error(tmp_path, pixels, write_idx):
    write_idx(tmp_path, pixels, [0] * 7)
    with pytest.raises(DataError, match=r"no t10k-images"):
        open_images(tmp_path, split="test")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no labels beside"):
        open_images(tmp_path)


def test_idx_under_another_name_is_recognised_by_its_content(tmp_path, pixels, write_idx):
    file = write_idx(tmp_path, pixels, [0] * 7, zipped=True).rename(tmp_path / "digits.bin")
    assert np.array_equal(open_images(file).images[:, 0], pixels)


def test_gzip_content_decides_not_the_name(tmp_path, pixels, write_idx):
    file = write_idx(tmp_path, pixels, [0] * 7)
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert np.array_equal(open_images(file).images[:, 0], pixels)
