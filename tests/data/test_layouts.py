from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from aliasfree.cli.data import app
from aliasfree.data import open_images
from aliasfree.data.tree import arrange
from aliasfree.errors import ArgumentError, DataError


def test_side_files_do_not_decide_what_a_folder_of_images_is(tmp_path, write_png):
    for i in range(4):
        write_png(tmp_path / "d" / f"{i}.png", i)
    (tmp_path / "d" / "README.csv").write_text("file,width\na,1\n")
    (tmp_path / "d" / "metadata.csv").write_text("file_name,text\n0.png,a cat\n")
    with zipfile.ZipFile(tmp_path / "d" / "old.zip", "w") as archive:
        archive.write(tmp_path / "d" / "3.png", "x.png")
    data = open_images(tmp_path / "d")
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert data.labels is None


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_metadata_with_labels_labels_the_images(tmp_path, write_png, form):
    names = ["cat", "dog", "cat"]
    for i in range(3):
        write_png(tmp_path / "d" / f"{i}.png", i)
    rows = [f"{i}.png,{n}" for i, n in enumerate(names)]
    lines = [json.dumps({"file_name": f"{i}.png", "label": n}) for i, n in enumerate(names)]
    text = "\n".join(["file_name,label", *rows] if form == "csv" else lines)
    (tmp_path / "d" / f"metadata.{form}").write_text(text)
    data = open_images(tmp_path / "d")
    assert (data.class_names, data.labels.tolist()) == (("cat", "dog"), [0, 1, 0])
    (tmp_path / "d" / f"metadata.{form}").write_text(text.replace("dog", "cow"))
    assert open_images(tmp_path / "d").class_names == ("cat", "cow")  # a changed file of labels is noticed
    (tmp_path / "d" / f"metadata.{form}").write_text(text[: text.rindex("\n")])
    with pytest.raises(DataError, match=r"no label for '2\.png'"):
        open_images(tmp_path / "d")
    assert open_images(tmp_path / "d", labels="none").labels is None


@pytest.mark.parametrize(
    ("folder", "split"),
    [("Train", "train"), ("training", "train"), ("train2017", "train"), ("val2017", "val"), ("valid", "val"),
     ("Validation", "val"), ("dev", "val"), ("eval", "val"), ("TEST", "test"), ("test_images", "test"),
     ("testset", "test"), ("holdout", "test"), ("hold-out", "test"), ("held_out", "test")],
)  # fmt: skip
def test_names_in_use_for_splits_are_splits_not_classes(folder, split):
    tree = arrange([f"{folder}/cat/a.png", f"{folder}/dog/a.png", "other/cat/b.png", "other/dog/b.png"], split, "x")
    assert {name.split("/")[0] for name, _ in tree.files} == {folder}
    assert tree.class_names == ("cat", "dog")


@pytest.mark.parametrize("word", ["unlabeled", "Unlabelled", "extra", "unsup"])
def test_sets_that_are_no_training_set_stay_out_of_training(word):
    tree = arrange(["train/cat/a.png", "train/dog/a.png", "test/cat/t.png", f"{word}/u.png"], "train", "x")
    assert [name for name, _ in tree.files] == ["train/cat/a.png", "train/dog/a.png"]
    assert any(f"{word}/ left out" in note for note in tree.notes)
    beside = arrange(["cat/a.png", "dog/a.png", f"{word}/u.png", "test/t.png"], "train", "x")
    assert (beside.class_names, len(beside.files)) == (("cat", "dog"), 2)


def test_a_class_whose_name_holds_more_than_a_split_word_stays_a_class():
    for classes in (["test tube", "train station"], ["bullet_train", "train_station"], ["beaker", "testTube"]):
        assert arrange([f"{name}/a.png" for name in classes], "train", "x").class_names == (*classes,)


@pytest.mark.parametrize(
    ("train", "test", "left_out"),
    [("seg_train", "seg_test", "seg_pred"), ("TrainFaces", "TestFaces", None), ("01-train-hq", "02-val-hq", None),
     ("mytrain", "mytest", None), ("train", "test_hard", None), ("imagenet-train-part", "imagenet-val", None)],
)  # fmt: skip
def test_split_words_with_more_in_the_name_are_splits_where_siblings_have_them_too(train, test, left_out):
    names = [f"{folder}/{kind}/a.png" for folder in (train, test) for kind in ("cat", "dog")]
    tree = arrange([*names, *([f"{left_out}/u.png"] if left_out else [])], "train", "x")
    assert ([name for name, _ in tree.files], tree.class_names) == (names[:2], ("cat", "dog"))
    assert f"{train}/ is the split train" in tree.notes
    assert sum(note.startswith(f"{test}/ is the split") for note in tree.notes) == 1
    assert not left_out or any(note.startswith(f"{left_out}/ left out") for note in tree.notes)


def test_a_split_inside_a_folder_of_its_own_name_as_kaggle_unpacks_it_keeps_its_classes():
    names = [f"seg_{s}/seg_{s}/{kind}/a.png" for s in ("train", "test") for kind in ("sea", "street")]
    tree = arrange([*names, "seg_pred/seg_pred/u.png"], "train", "x")
    assert ([name for name, _ in tree.files], tree.class_names) == (names[:2], ("sea", "street"))


def test_domains_of_splits_are_classes_and_told():
    tree = arrange([f"{s}{d}/a.png" for s in ("train", "test") for d in "AB"], "test", "x")
    assert tree.files == [("testA/a.png", 0), ("testB/a.png", 1)]
    assert tree.class_names == ("A", "B")
    assert {"testA/ is the split test, domain A", "labels from the domains"} <= {*tree.notes}


def test_split_all_and_labels_folders_overrule_the_reading_of_names():
    names = ["test/a.png", "train/b.png"]
    assert arrange(names, "all", "x").class_names == ("test", "train")
    shards = ["00000/a.png", "00001/b.png"]
    assert arrange(shards, "train", "x").class_names is None
    assert arrange(shards, "train", "x", "folders").class_names == ("00000", "00001")


def test_shards_of_a_stylegan_archive_take_their_labels_from_dataset_json(tmp_path, write_png):
    labels = []
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for i in range(6):
            name = f"{i // 3:05d}/img{i:08d}.png"
            archive.write(write_png(tmp_path / "p.png", i), name)
            labels.append([name, (i * 5) % 3])
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    assert open_images(tmp_path / "s.zip").labels.tolist() == [0, 2, 1, 0, 2, 1]
    assert open_images(tmp_path / "s.zip", labels="none").labels is None
    assert open_images(tmp_path / "s.zip", labels="folders").class_names == ("00000", "00001")
    assert arrange([n for n, _ in labels], "train", "x", "auto").class_names is None


def test_tiny_imagenet_has_its_classes_in_train_and_val(tmp_path, write_png):
    root = tmp_path / "tiny-imagenet-200"
    for c in ("n01", "n02", "n03"):
        write_png(root / "train" / c / "images" / f"{c}_0.png", 1)
    for i in range(3):
        write_png(root / "val" / "images" / f"val_{i}.png", i)
        write_png(root / "test" / "images" / f"test_{i}.png", i)
    lines = [f"val_{i}.png\t{c}\t0\t0\t8\t8" for i, c in enumerate(("n03", "n01", "n02"))]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    train, val, test = (open_images(root, split=s) for s in ("train", "val", "test"))
    assert train.class_names == val.class_names == ("n01", "n02", "n03")
    assert (train.labels.tolist(), val.labels.tolist(), test.labels) == ([0, 1, 2], [2, 0, 1], None)


@pytest.mark.parametrize("prefix", ["./", "/home/u/", ".\\"])
def test_archive_names_are_read_however_they_are_spelled(prefix):
    names = [prefix + n for n in ("a/0.png", "b/0.png")] + ["__MACOSX\\a\\._0.png"]
    tree = arrange(names, "train", "x")
    assert [name for name, _ in tree.files] == names[:2]
    assert tree.class_names == ("a", "b")


def test_archive_names_that_leave_the_archive_are_refused():
    with pytest.raises(DataError, match="leads out of it"):
        arrange(["a/0.png", "b/../../x.png"], "train", "x")


def test_a_name_that_comes_twice_in_an_archive_is_told():
    tree = arrange(["a/0.png", "b/0.png", "./a/0.png"], "train", "x")
    assert len(tree.files) == 2
    assert any("comes again" in note for note in tree.notes)


@pytest.mark.parametrize("flat", [True, False])
def test_kaggles_mnist_is_found_inside_folders_of_its_own_name(tmp_path, pixels, write_idx, flat):
    write_idx(tmp_path / "raw", pixels, [0, 1, 2, 3, 4, 5, 6])
    for file in (tmp_path / "raw").iterdir():
        inner = tmp_path / "k" / file.name
        inner.mkdir(parents=True)
        (inner / file.name).write_bytes(file.read_bytes())
        if flat:
            (tmp_path / "k" / file.name.replace("-idx", ".idx")).write_bytes(file.read_bytes())
    data = open_images(tmp_path / "k")
    assert np.array_equal(data.images[:, 0], pixels)
    assert data.labels.tolist() == list(range(7))


@pytest.mark.parametrize("form", ["bom", "bom header", "floats", "quotes"])
def test_csv_as_spreadsheets_and_pandas_write_it(tmp_path, form):
    lines = ["1,217,3,4,5", "0,9,8,7,6"]
    if form == "floats":
        lines = [",".join(v + ".0" for v in line.split(",")) for line in lines]
    if form == "quotes":
        lines = [",".join(f'"{v}"' for v in line.split(",")) for line in ["label,a,b,c,d", *lines]]
    if form == "bom header":
        lines = ["label,a,b,c,d", *lines]
    mark = b"\xef\xbb\xbf" if "bom" in form else b""
    (tmp_path / "a.csv").write_bytes(mark + "\n".join(lines).encode())
    data = open_images(tmp_path / "a.csv")
    assert data.labels.tolist() == [1, 0]
    assert data.images[0, 0].tolist() == [[217, 3], [4, 5]]


@pytest.mark.parametrize("suffix", ["avif", "jp2", "tga", "dib", "jpe"])
def test_less_common_formats_of_pillow_are_read(tmp_path, suffix):
    Image.new("RGB", (16, 16), (200, 40, 90)).save(tmp_path / f"a.{suffix}")
    assert np.abs(open_images(tmp_path).images[0, :, 8, 8].astype(int) - [200, 40, 90]).max() <= 6


def test_formats_that_are_not_read_are_counted(tmp_path, write_png):
    write_png(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"x")
    assert "1 .heic file(s) left out: not read here" in open_images(tmp_path).notes


def test_dangling_link_is_named_and_skipped_when_asked(tmp_path, write_png):
    write_png(tmp_path / "d" / "a.png", 1)
    (tmp_path / "d" / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"b\.png"):
        open_images(tmp_path / "d")
    data = open_images(tmp_path / "d", skip_bad=True)
    assert (len(data), len(data.skipped)) == (1, 1)
    assert "b.png" in data.skipped[0]
    assert "skip_bad" not in data.skipped[0], "no advice to do what was done"


def test_two_folders_linked_to_one_place_are_both_there(tmp_path, write_png):
    write_png(tmp_path / "real" / "a" / "1.png")
    write_png(tmp_path / "real" / "b" / "1.png")
    (tmp_path / "d").mkdir()
    for split in ("train", "test"):
        (tmp_path / "d" / split).symlink_to(tmp_path / "real")
    assert [len(open_images(tmp_path / "d", split=s)) for s in ("train", "test")] == [2, 2]


def test_hub_calls_val_validation(tmp_path):
    import datasets

    column = {"image": [Image.new("L", (8, 8), i) for i in range(3)]}
    part = datasets.Dataset.from_dict(column, features=datasets.Features({"image": datasets.Image()}))
    datasets.DatasetDict({"train": part, "validation": part.select([1])}).save_to_disk(str(tmp_path / "d"))
    for split in ("val", "validation"):
        assert open_images(f"hub:{tmp_path / 'd'}", split=split).images[:, 0, 0, 0].tolist() == [1]


def test_labels_that_are_ids_are_refused_before_a_name_is_made_for_each(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=[20240101120000, 5, 6])
    with pytest.raises(DataError, match="label 20240101120000; labels are classes counted from 0"):
        open_images(tmp_path / "a.npz")


def test_labels_are_checked_and_only_for_folders_and_zips(tmp_path, write_png):
    with pytest.raises(ArgumentError, match="use one of auto, none, folders, file"):
        open_images("digits", labels="no")
    with pytest.raises(ArgumentError, match="folders and zips"):
        open_images("digits", labels="none")
    write_png(tmp_path / "a.png")
    with pytest.raises(DataError, match="no file of labels"):
        open_images(tmp_path, labels="file")


def test_data_info_says_what_was_taken_for_what(tmp_path, write_png):
    for name in ("train/[red]/a.png", "train/blue/a.png", "extra/x.png"):
        write_png(tmp_path / name)
    text = CliRunner().invoke(app, ["info", str(tmp_path)], env={"COLUMNS": "300"}).output
    assert "train/ is the split train" in text
    assert "extra/ left out" in text
    assert "[red] 1" in text


def test_labels_that_a_hub_keeps_back_are_none(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

    def part(*labels: int) -> datasets.Dataset:
        rows = {"image": [Image.new("L", (8, 8), i) for i in range(len(labels))], "label": list(labels)}
        return datasets.Dataset.from_dict(rows, features=features)

    datasets.DatasetDict({"train": part(0, 1, -1), "test": part(-1, -1)}).save_to_disk(str(tmp_path / "d"))
    test = open_images(f"hub:{tmp_path / 'd'}", split="test")
    assert (len(test), test.labels, test.class_names) == (2, None, None)
    assert "all in the column 'label' are -1" in test.notes[0]
    with pytest.raises(DataError, match=r"\[2\] has no label; leave such rows out"):
        open_images(f"hub:{tmp_path / 'd'}")
    assert open_images(f"hub:{tmp_path / 'd'}", skip_bad=True).labels.tolist() == [0, 1]
