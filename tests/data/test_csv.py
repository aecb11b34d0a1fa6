from __future__ import annotations

import gzip

import numpy as np
import pytest

from aliasfree.data import open_images
from aliasfree.errors import DataError


def _rows(count: int = 5, side: int = 4) -> tuple[np.ndarray, list[str]]:
    images = np.random.default_rng(2).integers(0, 256, (count, side, side), dtype=np.uint8)
    lines = [",".join(map(str, [i % 3, *image.ravel().tolist()])) for i, image in enumerate(images)]
    return images, lines


@pytest.mark.parametrize(
    "header", [[], ["label," + ",".join(f"pixel{i}" for i in range(16))], ["label," + ",".join(map(str, range(16)))]]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_label_first_rows_are_read_with_and_without_header(tmp_path, header, end):
    images, lines = _rows()
    (tmp_path / "a.csv").write_bytes((end.join(header + lines) + end).encode())
    data = open_images(tmp_path / "a.csv")
    assert np.array_equal(data.images[:, 0], images)
    assert data.labels.tolist() == [0, 1, 2, 0, 1]
    assert data.class_names == ("0", "1", "2")


def test_label_column_is_found_by_its_header_name(tmp_path):
    images, lines = _rows()
    moved = [",".join([*line.split(",")[1:], line.split(",")[0]]) for line in lines]
    (tmp_path / "a.csv").write_text("\n".join([",".join([*(f"p{i}" for i in range(16)), "class"]), *moved]))
    data = open_images(tmp_path / "a.csv")
    assert np.array_equal(data.images[:, 0], images)
    assert data.labels.tolist() == [0, 1, 2, 0, 1]


def test_rows_of_square_length_have_no_labels(tmp_path):
    images, lines = _rows()
    (tmp_path / "a.csv").write_text("\n".join(line.split(",", 1)[1] for line in lines))
    data = open_images(tmp_path / "a.csv")
    assert np.array_equal(data.images[:, 0], images)
    assert data.labels is None


def test_folder_of_csvs_is_split_by_file_name_and_gzip_is_read(tmp_path):
    _, lines = _rows()
    (tmp_path / "mnist_train_small.csv").write_text("\n".join(lines))
    (tmp_path / "mnist_test.csv.gz").write_bytes(gzip.compress("\n".join(lines[:2]).encode()))
    assert len(open_images(tmp_path)) == 5
    assert len(open_images(tmp_path, split="test")) == 2


def _broken(tmp_path, replace: dict[int, str], count: int = 600, header: bool = True):
    """A file of `count` rows in which the lines with these 1-based numbers are replaced."""
    _, lines = _rows(count)
    if header:
        lines.insert(0, "label," + ",".join(f"p{i}" for i in range(16)))
    for number, text in replace.items():
        lines[number - 1] = text
    file = tmp_path / "broken.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


GOOD = "1" + ",7" * 16


@pytest.mark.parametrize("line", [3, 512, 513, 514, 601])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2,3", "has 3 values where 17 are expected"),
        (GOOD + ",1", "has 18 values where 17 are expected"),
        (GOOD.replace(",7", ",256", 1), "column 2 holds 256, which is outside 0..255"),
        (GOOD[:-1] + "-1", "column 17 holds -1, which is outside"),
        (GOOD[:-1] + "3.5", r"column 17 holds '3\.5', which is no whole number"),
        (GOOD[:-1], "column 17 holds '', which is no whole number"),
        (GOOD[:-1] + "é", "column 17 holds .*, which is no whole number"),
    ],
)
def test_bad_row_is_named_by_its_line_wherever_it_stands(tmp_path, line, row, reason):
    with pytest.raises(DataError, match=rf"broken\.csv, line {line}(,)? {reason}"):
        open_images(_broken(tmp_path, {line: row}))


def test_line_numbers_hold_without_header_and_after_empty_lines(tmp_path):
    with pytest.raises(DataError, match=r"line 5 has 3 values"):
        open_images(_broken(tmp_path, {2: "", 4: "  ", 5: "1,2,3"}, header=False))


def test_skip_bad_leaves_bad_rows_out_and_counts_them(tmp_path):
    file = _broken(tmp_path, {2: "1,2", 9: GOOD.replace("7", "999")})
    data = open_images(file, skip_bad=True)
    assert len(data) == 598
    assert [("line 2" in s, "line 9" in s) for s in data.skipped] == [(True, False), (False, True)]


def test_row_length_that_fits_no_square_image_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3,4,5,6,7\n")
    with pytest.raises(DataError, match="line 1 has 7 values"):
        open_images(tmp_path / "a.csv")


def test_empty_file_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"a\.csv"):
        open_images(tmp_path / "a.csv")


@pytest.mark.parametrize("border", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_label_behind_the_pixels_is_found_without_a_header(tmp_path, border, separator):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16))
    if border:
        pixels[:, 0] = 0
    labels = np.arange(60) % 5
    for name, columns in (("last", [pixels, labels[:, None]]), ("first", [labels[:, None], pixels])):
        np.savetxt(tmp_path / f"{name}.csv", np.hstack(columns), "%d", separator)
        data = open_images(tmp_path / f"{name}.csv")
        assert data.labels.tolist() == labels.tolist()
        assert np.array_equal(data.images.reshape(60, 16), pixels)
        assert data.notes == (f"labels from the {name} column",)
