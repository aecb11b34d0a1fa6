"""Images that used to be read wrongly without a word."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aliasfree.data import open_images
from aliasfree.errors import DataError

GREY = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))


def folder(path: Path, *images: Image.Image) -> Path:
    path.mkdir()
    for i, image in enumerate(images):
        image.save(path / f"{i}.png")
    return path


def test_a_palette_of_greys_is_grey(tmp_path):
    data = open_images(folder(tmp_path / "grey", Image.fromarray(GREY).convert("P")))
    assert np.array_equal(data.images[0], GREY[None])
    colour = Image.fromarray(np.stack([GREY, GREY.T, 255 - GREY], -1)).quantize(64)
    assert open_images(folder(tmp_path / "colour", colour)).channels == 3


def test_16_bit_images_that_use_12_bits_are_told(tmp_path):
    dark = Image.fromarray(GREY.astype(np.uint16) * 16)
    with pytest.warns(UserWarning, match="reach 4080 of 65535 only"):
        data = open_images(folder(tmp_path / "dark", dark))
    assert "4080" in data.notes[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one bright image shows the range
        open_images(folder(tmp_path / "both", dark, Image.fromarray(GREY.astype(np.uint16) * 257)))


def test_a_lab_image_has_its_colours(tmp_path):
    neutral = Image.new("L", (16, 16), 128)  # a* = b* = 0, which the file holds as 0
    (tmp_path / "lab").mkdir()
    Image.merge("LAB", (Image.fromarray(GREY), neutral, neutral)).save(tmp_path / "lab" / "0.tif")
    pixels = open_images(tmp_path / "lab").images[0].astype(int)
    assert abs(pixels - pixels.mean(0)).max() <= 3  # grey
    assert (np.diff(pixels[0, 0]) >= 0).all()


@pytest.mark.parametrize("shape", [(5, 3, 8, 3), (5, 1, 8, 3), (5, 3, 8, 1)])
def test_an_array_whose_channels_may_be_first_or_last_is_refused(tmp_path, shape):
    np.savez(tmp_path / "a.npz", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="first or last"):
        open_images(tmp_path / "a.npz")
