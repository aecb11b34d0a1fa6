from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aliasfree.data import check_image_size, open_images, source_names
from aliasfree.errors import ArgumentError, DataError


def test_digits_are_all_1797_grey_16x16_with_full_contrast():
    data = open_images("digits")
    assert data.images.shape == (1797, 1, 16, 16)
    assert data.class_names == tuple("0123456789")
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert open_images("digits", image_size=8).images.max() == 255


def test_digits_at_native_size_are_the_values_times_255_16():
    from sklearn.datasets import load_digits

    values = load_digits().images
    assert np.abs(open_images("digits", image_size=8).images[:, 0] - values * 255 / 16).max() <= 0.5


def test_digits_have_no_test_split():
    with pytest.raises(DataError, match="no 'test' split"):
        open_images("digits", split="test")


# --- CIFAR-10 python batches


def _batches(folder: Path, count: int = 4) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    rng, all_pixels = np.random.default_rng(0), {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {
            b"data": pixels,
            b"labels": list(range(count)),
            b"batch_label": b"x",
            b"filenames": [b"a.png"] * count,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        all_pixels[name] = pixels
    return all_pixels


@pytest.mark.parametrize("form", ["folder", "outer", "tar"])
def test_python_batches_are_read_in_order_as_channel_planes(tmp_path, form):
    pixels = _batches(tmp_path / "d" / "cifar-10-batches-py")
    source = tmp_path / "d" / "cifar-10-batches-py" if form == "folder" else tmp_path / "d"
    if form == "tar":
        source = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(tmp_path / "d" / "cifar-10-batches-py", "cifar-10-batches-py")
    train = open_images(source)
    expected = np.concatenate([pixels[f"data_batch_{i}"] for i in range(1, 6)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(train.images, expected)
    assert train.labels.tolist() == [0, 1, 2, 3] * 5
    assert train.class_names[:3] == ("airplane", "automobile", "bird")
    assert np.array_equal(open_images(source, split="test").images, pixels["test_batch"].reshape(-1, 3, 32, 32))


def test_batch_as_python_2_wrote_it_is_read(tmp_path):
    # Protocol 2 of Python 2 holds strings as SHORT_BINSTRING and arrays under numpy.core.multiarray.
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3072), dtype=np.uint8)

    def text(s: bytes) -> bytes:
        return b"T" + len(s).to_bytes(4, "little") + s

    rebuild = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    state = b"(K\x01K\x02M\x00\x0c\x86" + dtype + b"K\x00tb\x89" + text(pixels.tobytes()) + b"tb"
    array = rebuild + state
    raw = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](K\x03K\x09eu."
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (tmp_path / name).write_bytes(raw)
    data = open_images(tmp_path, split="test")
    assert np.array_equal(data.images, pixels.reshape(2, 3, 32, 32))
    assert data.labels.tolist() == [3, 9]


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("codec", [False, True])
def test_pickle_that_would_run_code_is_refused_before_it_runs(tmp_path, codec):
    _batches(tmp_path / "b")
    marker = tmp_path / "ran"
    raw = pickle.dumps({"data": _Evil(marker)}, protocol=2)
    if codec:
        raw = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    (tmp_path / "b" / "data_batch_2").write_bytes(raw)
    with pytest.raises(DataError, match="data_batch_2 was refused"):
        open_images(tmp_path / "b")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]},
        [1],
        {"data": np.zeros((2, 9), np.uint8)},
    ],
)
def test_pickle_of_other_content_is_no_batch(tmp_path, content):
    _batches(tmp_path / "b")
    (tmp_path / "b" / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match="test_batch is no CIFAR-10 batch"):
        open_images(tmp_path / "b", split="test")


def test_cut_batch_missing_batch_and_cut_archive_are_errors(tmp_path):
    _batches(tmp_path / "b")
    archive = tmp_path / "cut.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "b", "b")
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"cut\.tar\.gz is truncated"):
        open_images(archive)
    raw = (tmp_path / "b" / "data_batch_3").read_bytes()
    (tmp_path / "b" / "data_batch_3").write_bytes(raw[:5000])
    with pytest.raises(DataError, match=r"data_batch_3 .*(truncated|damaged)"):
        open_images(tmp_path / "b")
    (tmp_path / "b" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="lacks data_batch_3"):
        open_images(tmp_path / "b")


# --- npz


@pytest.mark.parametrize(
    "keys", [("images", "labels"), ("x", "y"), ("arr_0", "arr_1"), ("train_images", "train_labels")]
)
def test_npz_keys_in_use_are_found(tmp_path, pixels, keys):
    np.savez_compressed(tmp_path / "a.npz", **{keys[0]: pixels, keys[1]: np.arange(7)[:, None]})
    data = open_images(tmp_path / "a.npz")
    assert np.array_equal(data.images[:, 0], pixels)
    assert data.labels.tolist() == list(range(7))


def test_npz_with_splits_gives_the_asked_one(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=[0] * 7, x_test=pixels[:2], y_test=[1, 0])
    assert open_images(tmp_path / "a.npz", split="test").labels.tolist() == [1, 0]
    assert len(open_images(tmp_path / "a.npz")) == 7
    with pytest.raises(DataError, match="no arrays of the split 'val'"):
        open_images(tmp_path / "a.npz", split="val")


def test_npz_layouts_and_types_mean_the_same_image(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    forms = {
        "last": colour,
        "first": colour.transpose(0, 3, 1, 2),
        "wide": colour.astype(np.int64),
        "float": colour.astype(np.float32) / 255,
    }
    for name, images in forms.items():
        np.savez(tmp_path / f"{name}.npz", images=np.ascontiguousarray(images))
        data = open_images(tmp_path / f"{name}.npz")
        assert np.array_equal(data.images, colour.transpose(0, 3, 1, 2)), name
        assert data.labels is None


def test_npz_labels_may_be_names(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array(list("bcabcab")))
    data = open_images(tmp_path / "a.npz")
    assert data.class_names == ("a", "b", "c")
    assert data.labels.tolist() == [1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": np.full((2, 4, 4), 256)}, r"\[0\] holds values out of range: whole numbers must lie in 0..255"),
        ({"images": np.array([np.zeros((4, 4)), np.full((4, 4), np.nan)])}, r"\[1\] holds values out of range: floats"),
        ({"images": np.zeros((4, 4), np.uint8)}, "has shape"),
        ({"images": np.zeros((2, 4, 4, 2), np.uint8)}, "no axis of 1 or 3 channels"),
        ({"images": np.zeros((3, 4, 4), np.uint8), "labels": [0, 1]}, "3 images but 2 labels"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0.5, 1]}, "one whole number or string"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": [0, -1]}, "label -1"),
        ({"images": np.array([{}, {}])}, "type object"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.array([{}, 1])}, "cannot be read"),
        ({"a": np.zeros((2, 4, 4), np.uint8), "b": np.zeros(2)}, "call the images 'images'"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "yields no images"),
    ],
)
def test_npz_of_other_content_is_an_error(tmp_path, arrays, reason):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=reason):
        open_images(tmp_path / "a.npz")


def test_cut_npz_is_an_error_naming_it(tmp_path, pixels):
    np.savez(tmp_path / "a.npz", images=pixels)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.npz is truncated or corrupt"):
        open_images(tmp_path / "a.npz")


def test_array_shorter_than_its_header_says_is_an_error(tmp_path):
    raw = io.BytesIO()
    np.save(raw, np.zeros((5, 4, 4), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", raw.getvalue()[:-20])
    with pytest.raises(DataError, match="truncated: image 3 of 5"):
        open_images(tmp_path / "a.npz")


def test_members_of_an_npz_that_are_no_arrays_are_not_taken_for_some(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images", b"x")
    with pytest.raises(DataError, match="call the images 'images'"):
        open_images(tmp_path / "a.npz")


# --- hub


def _dataset(count: int = 5):
    import datasets

    features = datasets.Features(
        {"id": datasets.Value("int64"), "img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    )
    images = [Image.new("L", (8, 8), i) for i in range(count)]
    columns = {"id": list(range(count)), "img": images, "kind": [i % 2 for i in range(count)]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_hub_reads_a_saved_data_set_by_the_types_of_its_columns(tmp_path):
    _dataset().save_to_disk(str(tmp_path / "d"))
    data = open_images(f"hub:{tmp_path / 'd'}")
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert data.labels.tolist() == [0, 1, 0, 1, 0]
    assert data.class_names == ("cat", "dog")


def test_hub_reads_parquet_and_honours_its_splits(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    (tmp_path / "d" / "data").mkdir(parents=True)
    _dataset().to_parquet(tmp_path / "d" / "data" / "train-0.parquet")
    _dataset(2).to_parquet(tmp_path / "d" / "data" / "test-0.parquet")
    assert len(open_images(f"hub:{tmp_path / 'd'}")) == 5
    assert len(open_images(f"hub:{tmp_path / 'd'}", split="test")) == 2
    with pytest.raises(DataError, match="cannot be loaded"):
        open_images(f"hub:{tmp_path / 'd'}", split="val")


def test_hub_skips_bad_images_when_asked(tmp_path):
    import datasets

    rows = {"image": [{"bytes": b"broken", "path": None}, None], "label": [0, 1]}
    good = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(good, "PNG")
    rows["image"].append({"bytes": good.getvalue(), "path": None})
    rows["label"].append(2)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"\[0\] is truncated or corrupt"):
        open_images(f"hub:{tmp_path / 'd'}")
    data = open_images(f"hub:{tmp_path / 'd'}", skip_bad=True)
    assert data.labels.tolist() == [2]
    assert len(data.skipped) == 2


def test_hub_without_network_says_so_and_names_local_ways():
    import huggingface_hub.constants

    assert huggingface_hub.constants.HF_HUB_OFFLINE  # set for all tests: nothing here reaches out
    with pytest.raises(DataError, match=r"no network.*a folder or zip of images.*'digits'"):
        open_images("hub:somebody/something-nobody-has")


def test_hub_data_without_images_is_an_error_listing_its_columns(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"no column of type Image .*text"):
        open_images(f"hub:{tmp_path / 'd'}")


# --- names


def test_known_names():
    assert source_names() == ("cifar10", "digits", "mnist", "mnist-m")


def test_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(DataError, match=r"did you mean 'cifar10'.*digits, mnist, mnist-m, hub:NAME"):
        open_images("cifar-10")


def test_missing_path_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_images(tmp_path / "nowhere" / "x.zip")


def test_named_data_is_found_in_the_data_folder_and_else_the_error_says_where_to_put_it(
    tmp_path, pixels, write_idx, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"put its files into data/mnist .*ALIASFREE_DATA"):
        open_images("mnist")
    write_idx(tmp_path / "data" / "mnist", pixels, [0] * 7)
    assert len(open_images("mnist")) == 7
    write_idx(tmp_path / "elsewhere" / "mnist", pixels[:3], [0] * 3)
    monkeypatch.setenv("ALIASFREE_DATA", str(tmp_path / "elsewhere"))
    assert len(open_images("mnist")) == 3


def test_file_of_no_known_kind_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="of no known kind; give an IDX"):
        open_images(tmp_path / "a.txt")


def test_unknown_split_is_refused():
    with pytest.raises(ArgumentError, match="'trian'; use one of train, val, test, all"):
        open_images("digits", split="trian")


@pytest.mark.parametrize(("size", "near"), [(30, "24 or 32"), (4, "8"), ((32, 33), "32 or 40")])
def test_size_not_divisible_by_eight_names_the_nearest(size, near):
    with pytest.raises(ArgumentError, match=rf"not divisible by 8; choose {near} with `image_size`"):
        check_image_size(size)
    assert check_image_size((32, 40)) == (32, 40)


def test_a_part_of_the_images_is_a_fair_sample_the_same_every_time():
    data = open_images("digits", image_size=8)
    few = data.some(300)
    again = pickle.loads(pickle.dumps(data.some(300)))
    assert len(few) == 300
    assert np.array_equal(few.images, again.images)
    assert np.array_equal(few.labels, again.labels)
    assert few.fingerprint == again.fingerprint
    assert few.fingerprint not in (data.fingerprint, data.some(301).fingerprint)
    shares = np.bincount(few.labels, minlength=10) / 300
    assert shares.min() > 0.05
    assert few[7]["label"] == few.labels[7]
    assert data.some(5000) is data
    with pytest.raises(ArgumentError, match="at least 1"):
        data.some(0)
