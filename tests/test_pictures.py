from __future__ import annotations

import base64
import io
import resource

import numpy as np
import pytest
import torch
from PIL import Image

from aliasfree.errors import ArgumentError, DataError, ShapeError
from aliasfree.pictures import (
    angle_label,
    collage,
    data_uri,
    gif_bytes,
    grid,
    pingpong,
    save_mp4,
    save_png,
    strip,
    to_uint8,
)


def numbered(n: int, size: int = 4, channels: int = 1) -> np.ndarray:
    """Image k has the value k everywhere."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, size, size, channels)).copy()


def test_pixels_are_clipped_and_truncated_as_in_the_paper() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 0.9999, 1.0, 7.0]).reshape(1, 1, 2, 3)
    assert to_uint8(x).flatten().tolist() == [0, 0, 127, 254, 255, 255]


def test_pixels_come_out_channels_last_from_any_float_dtype() -> None:
    x = torch.zeros(2, 3, 4, 5, dtype=torch.bfloat16)
    x[:, 2] = 1
    pixels = to_uint8(x)
    assert pixels.shape == (2, 4, 5, 3)
    assert (pixels[..., 2] == 255).all()
    assert (pixels[..., 0] == 127).all()


def test_nan_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="NaN"):
        to_uint8(torch.full((1, 1, 2, 2), float("nan")))
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        to_uint8(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ShapeError, match="to_uint8"):
        grid(np.zeros((2, 4, 4, 1), np.float32))  # type: ignore[arg-type]


def test_grid_goes_row_by_row_and_scales_pixels_without_blurring() -> None:
    images = numbered(5, size=2)
    images[1, 0, 1] = 200
    sheet = np.asarray(grid(images, columns=3, pad=1, scale=2))
    assert sheet.shape == (2 * 4 + 1, 3 * 4 + 2)
    assert sheet[0:2, 7:9].tolist() == [[200, 200], [200, 200]]
    assert sheet[5:, 0:4].tolist() == np.full((4, 4), 3).tolist()
    assert sheet[5:, 10:].tolist() == np.full((4, 4), 128).tolist()  # no sixth image


def test_grid_of_colour_images_is_rgb_and_as_square_as_possible() -> None:
    sheet = grid(numbered(5, channels=3), pad=0)
    assert sheet.mode == "RGB"
    assert sheet.size == (12, 8)


def test_strip_keeps_the_images_exact_below_their_labels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 1), np.uint8)
    sheet = np.asarray(strip(images, ["-90°", "0°", "90°"], ["A", "D-2N"], scale=3, pad=2))
    body = np.asarray(grid(images.reshape(6, 8, 8, 1), columns=3, pad=2, scale=3))
    h, w = body.shape
    assert (sheet[-h:, -w:] == body).all()
    top, left = sheet[:-h, -w:], sheet[-h:, :-w]
    for k in range(3):  # every column has a label above its middle
        assert top[:, k * 26 : k * 26 + 24].min() < 100
    for r in range(2):
        assert left[r * 26 : r * 26 + 24].min() < 100


def test_strip_refuses_labels_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="2 column labels"):
        strip(numbered(3), ["a", "b"])


@pytest.mark.parametrize(("degrees", "label"), [(-67.5, "-67.5°"), (0, "0°"), (-0.0, "0°"), (90.0, "90°")])
def test_angle_labels_are_short(degrees: float, label: str) -> None:
    assert angle_label(degrees) == label


def test_collage_fills_columns_first_and_names_sheets_by_their_first_image(tmp_path) -> None:
    files = collage(numbered(6, size=3), tmp_path / "sub" / "sheet.png", side=2)
    assert [f.name for f in files] == ["sheet_0.png", "sheet_4.png"]
    first, last = (np.asarray(Image.open(f)) for f in files)
    assert first[::3, ::3].tolist() == [[0, 2], [1, 3]]
    assert last[::3, ::3].tolist() == [[4, 0], [5, 0]]


def test_collage_of_files_equals_collage_of_arrays(tmp_path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), np.uint8)
    paths = [tmp_path / f"{k}.png" for k in range(5)]
    for path, image in zip(paths, images, strict=True):
        save_png(Image.fromarray(image), path)
    a = collage(images, tmp_path / "a.png", side=2)
    b = collage(paths, tmp_path / "b.png", side=2)
    assert [f.read_bytes() for f in a] == [f.read_bytes() for f in b]


def test_collage_names_the_file_it_cannot_read(tmp_path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match=r"bad\.png"):
        collage([bad], tmp_path / "c.png")
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    save_png(Image.new("L", (4, 4)), small)
    save_png(Image.new("L", (5, 4)), large)
    with pytest.raises(DataError, match=r"large\.png"):
        collage([small, large], tmp_path / "c.png")
    assert not list(tmp_path.glob("c*"))


def read_gif(data: bytes, mode: str) -> list[np.ndarray]:
    with Image.open(io.BytesIO(data)) as film:
        frames = []
        for k in range(film.n_frames):
            film.seek(k)
            frames.append(np.asarray(film.convert(mode)))
    return frames


def test_a_grey_gif_keeps_all_256_levels() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frames = [ramp, ramp[::-1], ramp.T]
    back = read_gif(gif_bytes([Image.fromarray(f) for f in frames]), "L")
    assert all((a == b).all() for a, b in zip(frames, back, strict=True))


def test_a_colour_gif_with_few_colours_is_exact_and_one_with_many_is_close() -> None:
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (200, 3), np.uint8)[rng.integers(0, 200, (3, 20, 20))]
    back = read_gif(gif_bytes([Image.fromarray(f) for f in few]), "RGB")
    assert all((a == b).all() for a, b in zip(few, back, strict=True))
    x = np.linspace(0, 255, 40)
    smooth = np.stack(np.broadcast_arrays(x[:, None], x[None, :], x[::-1, None]), -1).astype(np.uint8)
    many = [smooth, smooth[::-1]]
    back = read_gif(gif_bytes([Image.fromarray(f) for f in many]), "RGB")
    assert all(np.abs(a.astype(int) - b).mean() < 12 for a, b in zip(many, back, strict=True))


def test_a_gif_loops_for_ever_at_the_rate_asked_for() -> None:
    data = gif_bytes([Image.fromarray(f[..., 0]) for f in numbered(3)], fps=10)
    with Image.open(io.BytesIO(data)) as film:
        assert film.info["duration"] == 100
        assert film.info["loop"] == 0


def test_animations_refuse_nothing_other_sizes_and_impossible_rates() -> None:
    frame = Image.new("L", (4, 4))
    with pytest.raises(ArgumentError, match="at least one frame"):
        gif_bytes([])
    with pytest.raises(ArgumentError, match="fps"):
        gif_bytes([frame], fps=0)
    with pytest.raises(ShapeError, match="differ in size"):
        gif_bytes([frame, Image.new("L", (5, 4))])


def test_pingpong_comes_back_without_showing_an_end_twice() -> None:
    frames = [Image.new("L", (1, 1), k) for k in range(4)]
    assert [f.getpixel((0, 0)) for f in pingpong(frames)] == [0, 1, 2, 3, 2, 1]
    assert [f.getpixel((0, 0)) for f in pingpong(frames, hold=1)] == [0, 0, 1, 2, 3, 3, 2, 1]


def test_a_film_of_odd_size_plays_with_all_its_frames(tmp_path) -> None:
    import imageio.v2 as imageio

    levels = [20, 120, 220]
    save_mp4([Image.new("L", (33, 17), v) for v in levels], tmp_path / "film.mp4", fps=10)
    with imageio.get_reader(tmp_path / "film.mp4") as film:
        means = [float(np.mean(frame)) for frame in film]
        assert film.get_meta_data()["size"] == (34, 18)
    assert means == pytest.approx(levels, abs=4)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_data_uris_hold_the_bytes_of_the_file() -> None:
    head, body = data_uri(b"abc", "image/gif").split(",")
    assert head == "data:image/gif;base64"
    assert base64.b64decode(body) == b"abc"
    image = Image.open(io.BytesIO(base64.b64decode(data_uri(Image.new("L", (3, 2), 9)).split(",")[1])))
    assert image.size == (3, 2)
    assert image.getpixel((0, 0)) == 9


def test_a_film_that_the_encoder_could_not_finish_is_an_error_and_the_old_one_stays(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    film = tmp_path / "film.mp4"
    save_mp4([Image.fromarray(frame) for frame in noise], film)
    whole = film.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, len(whole) // 2, len(whole) - 1):  # the last: all frames, and an index that is cut short
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(OSError, match="the film was not encoded"):
                save_mp4([Image.fromarray(frame) for frame in noise], film)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert film.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [film]
