from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aliasfree.data import make_mnist_m, open_images
from aliasfree.data.registry import find_named
from aliasfree.data.sources.mnist_m import blend
from aliasfree.errors import ArgumentError, DataError


@pytest.fixture
def ingredients(tmp_path, write_idx):
    """Twelve random 'digits' of 8x8 and photographs in train/ (values below 100) and test/ (above)."""
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    write_idx(tmp_path / "data" / "mnist", digits, [i % 10 for i in range(12)])
    write_idx(tmp_path / "data" / "mnist", digits[:4], [9, 8, 7, 6], "t10k")
    for split, low in (("train", 0), ("test", 150)):
        (tmp_path / "data" / "bsds500" / split).mkdir(parents=True)
        for i in range(3):
            photo = rng.integers(low, low + 100, (20, 31, 3), dtype=np.uint8)
            Image.fromarray(photo).save(tmp_path / "data" / "bsds500" / split / f"{i}.png")
    return digits, tmp_path / "data" / "mnist", tmp_path / "data" / "bsds500"


def test_blend_is_the_absolute_difference_without_wrapping():
    patch = np.array([[[0, 100, 255]]], np.uint8)
    assert blend(np.array([[255]], np.uint8), patch).tolist() == [[[255, 155, 0]]]
    assert blend(np.array([[0]], np.uint8), patch).tolist() == patch.tolist()


def test_every_image_is_a_train_photograph_patch_less_its_digit(ingredients):
    digits, mnist, bsds = ingredients
    made = open_images(f"mnist-m:{mnist}:{bsds}")
    assert made.images.shape == (12, 3, 8, 8)
    assert made.labels.tolist() == [i % 10 for i in range(12)]
    photos = [np.asarray(Image.open(p)).astype(int) for p in sorted((bsds / "train").iterdir())]
    windows = np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(p, (8, 8), axis=(0, 1)).reshape(-1, 3, 8, 8) for p in photos]
    )
    for digit, image in zip(digits, made.images, strict=True):
        assert (np.abs(windows - digit.astype(int)) == image).all(axis=(1, 2, 3)).any()


def test_written_folders_hold_what_the_stream_gives(ingredients, tmp_path):
    _, mnist, bsds = ingredients
    assert make_mnist_m(mnist, bsds, tmp_path / "out" / "train") == 12
    streamed, written = open_images(f"mnist-m:{mnist}:{bsds}"), open_images(tmp_path / "out")
    assert (tmp_path / "out" / "train" / "3" / "00003.png").exists()
    order = np.lexsort((np.arange(12), streamed.labels))
    assert np.array_equal(written.images, streamed.images[order])
    assert np.array_equal(written.labels, streamed.labels[order])


def test_image_depends_on_seed_and_index_only(ingredients, tmp_path):
    _, mnist, bsds = ingredients
    make_mnist_m(mnist, bsds, tmp_path / "all")
    make_mnist_m(mnist, bsds, tmp_path / "few", num=4)
    make_mnist_m(mnist, bsds, tmp_path / "other", num=4, seed=1)
    few = {p.relative_to(tmp_path / "few"): p.read_bytes() for p in (tmp_path / "few").rglob("*.png")}
    assert len(few) == 4
    assert all((tmp_path / "all" / name).read_bytes() == raw for name, raw in few.items())
    assert any((tmp_path / "other" / name).read_bytes() != raw for name, raw in few.items())


def test_bare_name_makes_it_from_the_data_folder_unless_a_ready_one_is_there(
    ingredients, tmp_path, monkeypatch, write_png
):
    _, mnist, bsds = ingredients
    monkeypatch.setenv("ALIASFREE_DATA", str(tmp_path / "data"))
    assert np.array_equal(open_images("mnist-m").images, open_images(f"mnist-m:{mnist}:{bsds}").images)
    assert open_images("mnist-m", split="test").labels.tolist() == [9, 8, 7, 6]
    write_png(tmp_path / "data" / "mnist-m" / "train" / "0" / "a.png", (1, 2, 3))
    write_png(tmp_path / "data" / "mnist-m" / "train" / "1" / "b.png", (1, 2, 3))
    assert len(open_images("mnist-m")) == 2


def test_bare_name_without_ingredients_says_which_are_missing(ingredients, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "bsds500").rename(tmp_path / "gone")
    with pytest.raises(DataError, match=r"'mnist-m' was not found.*missing: bsds500"):
        open_images("mnist-m")


def test_folder_in_use_is_refused_and_untouched(ingredients, tmp_path):
    _, mnist, bsds = ingredients
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "keep.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        make_mnist_m(mnist, bsds, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["keep.txt"]


def test_failure_on_the_way_leaves_nothing_half_written(ingredients, tmp_path):
    _, mnist, bsds = ingredients
    (bsds / "train" / "1.png").write_bytes(b"broken")
    (tmp_path / "place").mkdir()
    with pytest.raises(DataError, match=r"1\.png is truncated or corrupt"):
        make_mnist_m(mnist, bsds, tmp_path / "place" / "out")
    Image.new("RGB", (7, 30)).save(bsds / "train" / "1.png")
    with pytest.raises(DataError, match="30x7 pixels is smaller than the 8x8 digits"):
        make_mnist_m(mnist, bsds, tmp_path / "place" / "out", seed=3)
    assert list((tmp_path / "place").iterdir()) == []


def test_bad_arguments_are_one_sentence(ingredients, tmp_path):
    _, mnist, bsds = ingredients
    with pytest.raises(ArgumentError, match="at least 1"):
        make_mnist_m(mnist, bsds, tmp_path / "out", num=0)
    with pytest.raises(DataError, match="no photographs at"):
        make_mnist_m(mnist, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DataError, match="write mnist-m:DIGITS:BACKGROUNDS"):
        open_images("mnist-m:justone")
    with pytest.raises(DataError, match="is in colour"):
        make_mnist_m(bsds, bsds, tmp_path / "out")


def test_the_folder_is_found_whatever_the_case_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "MNIST-M").mkdir(parents=True)
    assert find_named("mnist-m") == tmp_path / "data" / "MNIST-M"
