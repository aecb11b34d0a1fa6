from __future__ import annotations

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from aliasfree.data.decode import decode, decode_all, fit, without_remarks
from aliasfree.errors import DataError


def _saved(image: Image.Image, kind: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def test_exif_orientation_is_applied():
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn clockwise to show
    upright = decode(_saved(image, "PNG", exif=exif), "x")
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(image), -1))


def test_transparency_is_composited_on_black():
    rgba = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    rgba.putpixel((1, 0), (200, 100, 50, 0))
    decoded = decode(_saved(rgba, "PNG"), "x")
    assert decoded.mode == "RGB"
    assert [decoded.getpixel((i, 0)) for i in (0, 1)] == [(200, 100, 50), (0, 0, 0)]


def test_grey_with_alpha_stays_grey():
    image = Image.new("LA", (2, 1), (200, 255))
    image.putpixel((1, 0), (200, 0))
    decoded = decode(_saved(image, "PNG"), "x")
    assert decoded.mode == "L"
    assert np.asarray(decoded).tolist() == [[200, 0]]


def test_sixteen_bit_grey_is_rounded_to_eight():
    values = np.array([[0, 128, 129, 257 * 77, 65535]], np.uint16)
    decoded = decode(_saved(Image.fromarray(values), "PNG"), "x")
    assert np.asarray(decoded).tolist() == [[0, 0, 1, 77, 255]]


def test_palette_with_a_transparent_entry_becomes_rgb_on_black():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    decoded = decode(_saved(image, "PNG", transparency=1), "x")
    assert [decoded.getpixel((i, 0)) for i in (0, 1)] == [(255, 0, 0), (0, 0, 0)]


def test_cmyk_becomes_rgb():
    decoded = decode(_saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), "x")
    assert decoded.mode == "RGB"
    assert decoded.getpixel((0, 0)) == (255, 0, 0)


def test_one_bit_images_become_black_and_white():
    assert np.asarray(decode(_saved(Image.fromarray(np.eye(3, dtype=bool)), "PNG"), "x")).max() == 255


def test_float_pixels_are_refused_by_name():
    with pytest.raises(DataError, match=r"^odd\.tif holds floating-point pixels"):
        decode(_saved(Image.new("F", (2, 2), 0.5), "TIFF"), "odd.tif")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_cut_through_a_file_is_a_data_error_or_an_image(kind):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    raw = _saved(Image.fromarray(noise), kind).getvalue()
    for at in range(0, len(raw) - 40, 37):
        with pytest.raises(DataError, match=r"^cut\.x is truncated or corrupt"):
            decode(io.BytesIO(raw[:at]), "cut.x")


def test_other_proportions_are_scaled_to_cover_and_cut_at_the_centre():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255  # the middle third is what a square crop must keep
    square = fit(Image.fromarray(wide), (10, 10), Image.Resampling.BILINEAR)
    assert np.asarray(square).min() == 255
    tall = fit(Image.fromarray(wide.T), (5, 5), Image.Resampling.BILINEAR)
    assert np.asarray(tall)[1:-1].min() == 255


def test_equal_proportions_are_one_pillow_resize():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 40, 3), dtype=np.uint8))
    expected = noise.resize((16, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(fit(noise, (24, 16), Image.Resampling.BILINEAR)), np.asarray(expected))


def test_images_decoded_by_a_pool_come_in_order_with_errors_in_their_places():
    made = [_saved(Image.new("L", (4 + 40 * (k % 3), 4), k), "PNG") for k in range(40)]
    made[17] = io.BytesIO(b"no image")
    found = list(decode_all(((lambda file=file: file), f"{k}.png") for k, file in enumerate(made)))
    assert [i for i, image in enumerate(found) if isinstance(image, DataError)] == [17]
    assert "17.png" in str(found[17])
    assert [image.getpixel((0, 0)) for k, image in enumerate(found) if k != 17] == [k for k in range(40) if k != 17]


def test_images_wait_for_their_reader_and_not_in_memory():
    opened = []

    def open_one(k: int) -> io.BytesIO:
        opened.append(k)
        return _saved(Image.new("L", (4, 4), k), "PNG")

    images = decode_all(((lambda k=k: open_one(k)), str(k)) for k in range(100))
    next(images)
    images.close()
    assert len(opened) <= 5 + 2 * os.cpu_count()


def test_remarks_of_pillow_are_left_out_and_all_other_warnings_kept():
    def remark_and_warn() -> None:
        warnings.warn_explicit("Corrupt EXIF data", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn("ours", stacklevel=1)

    with pytest.warns(UserWarning, match="ours") as seen, without_remarks():
        remark_and_warn()
    assert len(seen) == 1
