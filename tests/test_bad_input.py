"""Bad input gets one clear sentence and exit code 2: no traceback, nothing half-written."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from aliasfree.cli import app

TINY = ("--image-size", "16", "--base-channels", "8", "--batch-size", "4", "--device", "cpu", "--steps", "1",
        "--sample-every", "0")  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALIASFREE_DATA", raising=False)
    monkeypatch.delenv("ALIASFREE_DEBUG", raising=False)
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of one step, not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = CliRunner().invoke(app, ["train", "--data", "digits", "--config", "A", "--out", str(out), *TINY])
    assert done.exit_code == 0, done.output
    return out


def tree(folder: Path) -> set[str]:
    """Everything below a folder but the cache of decoded images and the lock of a run, which may stay."""
    return {
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if "cache" not in p.relative_to(folder).parts and p.name != ".lock"
    }


def refused(*arguments: object) -> str:
    """Run a command that must be refused in one line on stderr; the line. What lies here must not change."""
    before = tree(Path.cwd())
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert tree(Path.cwd()) == before
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    return lines[0]


def refused_training(data: object, *options: object) -> str:
    line = refused("train", "--data", data, "--config", "A", "--out", "runs/x", *TINY, *options)
    assert not Path("runs/x/config.json").exists()
    return line


def pictures(folder: str, count: int = 3, mode: str = "L", size: int = 16) -> Path:
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        shape = (size, size) if mode == "L" else (size, size, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path / f"{mode}{i}.png")
    return path


def idx(path: str, images: bytes, magic: int = 2051, count: int = 2) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">4i", magic, count, 16, 16) + images)
    return Path(path)


# configs


def test_an_unknown_config_lists_the_valid_ones_and_suggests_the_nearest():
    line = refused("train", "--data", "digits", "--config", "D-2n", "--out", "runs/x")
    assert "'D-2n'" in line
    assert "did you mean 'D-2N'?" in line
    assert "C-1N" in line
    assert "D-2N" in refused("filters", "D2N")


def test_config_a_has_no_filter_to_draw():
    assert "filters nothing" in refused("filters", "A")


# data


def test_a_missing_path_is_named():
    assert "no/such/folder" in refused_training("no/such/folder")


def test_a_misspelt_source_suggests_the_nearest():
    assert "'digits'" in refused_training("digit")


def test_mnist_that_is_not_there_says_where_to_put_it():
    line = refused_training("mnist")
    assert str(Path("data") / "mnist") in line
    assert "ALIASFREE_DATA" in line


@pytest.mark.parametrize("damage", [b"not a picture", None])
def test_a_corrupt_or_truncated_image_is_named_and_skip_bad_goes_on(damage):
    folder = pictures("photos", 6)
    bad = folder / "L2.png"
    bad.write_bytes(damage or bad.read_bytes()[:60])
    assert "L2.png" in refused_training(folder)
    done = CliRunner().invoke(
        app, ["train", "--data", "photos", "--config", "A", "--out", "runs/y", *TINY, "--skip-bad"]
    )
    assert done.exit_code == 0, done.output
    assert "1 damaged image(s) left out, 5 kept" in done.stderr
    assert "L2.png" in done.stderr
    held = json.loads(Path("runs/y/config.json").read_text())["data"]
    assert held["images"] == 5
    assert len(held["skipped"]) == 1
    assert "L2.png" in held["skipped"][0]


@pytest.mark.parametrize(
    ("row", "word"),
    [("1," + ",".join(["0"] * 255), "257 are expected"), ("1," + ",".join(["256"] + ["0"] * 255), "256")],
)
def test_a_bad_csv_row_is_named_by_its_line(row, word):
    good = "3," + ",".join(["7"] * 256)
    Path("digits.csv").write_text("\n".join([good, good, row, good]) + "\n")
    line = refused_training("digits.csv")
    assert "digits.csv" in line
    assert "line 3" in line
    assert word in line


def test_a_csv_with_something_that_is_no_number_is_named_by_its_line():
    good = "3," + ",".join(["7"] * 256)
    Path("digits.csv").write_text("\n".join([good, "3," + ",".join(["x"] + ["7"] * 255)]) + "\n")
    assert "line 2" in refused_training("digits.csv")


def test_idx_with_a_wrong_magic_number_or_length_is_named():
    path = idx("a-images-idx3-ubyte.gz", bytes(2 * 256), magic=2052)
    assert "a-images-idx3-ubyte.gz" in refused_training(path)
    short = idx("b-images-idx3-ubyte.gz", bytes(256 + 10))
    assert "b-images-idx3-ubyte.gz" in refused_training(short)
    long = idx("c-images-idx3-ubyte.gz", bytes(3 * 256))
    assert "c-images-idx3-ubyte.gz" in refused_training(long)


def test_a_gzip_file_cut_short_is_named():
    path = idx("a-images-idx3-ubyte.gz", np.random.default_rng(0).bytes(512))
    path.write_bytes(path.read_bytes()[:200])
    assert path.name in refused_training(path)


def test_grey_and_colour_mixed_needs_channels():
    folder = pictures("photos", 3)
    pictures("photos", 3, mode="RGB")
    assert "--channels" in refused_training(folder)
    for channels in ("1", "3"):
        done = CliRunner().invoke(app, ["data", "info", "photos", "--channels", channels])
        assert done.exit_code == 0, done.output


def test_an_empty_folder_is_named():
    Path("nothing").mkdir()
    assert "nothing" in refused_training("nothing")


def test_pickled_code_in_python_batches_is_refused_and_not_run(here):
    folder = here / "cifar-10-batches-py"
    folder.mkdir()
    ran = here / "ran"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(b"cposix\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR.")
    assert "data_batch_1" in refused_training(folder)
    assert not ran.exists()


def test_a_hub_name_without_network_says_so(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused_training("hub:nobody/nothing")
    assert "nobody/nothing" in line


# settings


def test_an_image_size_not_divisible_by_8_suggests_others():
    line = refused("train", "--data", "digits", "--config", "A", "--out", "runs/x", "--image-size", 30)
    assert "24" in line
    assert "32" in line
    assert "divisible" in refused_training(pictures("photos", size=20), "--image-size", "native")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", 0), ("--epochs", -1), ("--epochs", "nan"), ("--batch-size", 0), ("--lr", "inf"), ("--lr", 0),
     ("--ema-decay", 1), ("--channels", 2), ("--base-channels", 7), ("--seed", -1), ("--checkpoint-every", 0),
     ("--augment", "flop"), ("--mixed-precision", "fp8"), ("--padding-mode", "zero"), ("--device", "abacus"),
     ("--class-dropout", 1.5), ("--image-size", "big"), ("--grad-clip", -1), ("--weight-decay", -1)],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(option, value):
    line = refused("train", "--data", "digits", "--config", "A", "--out", "runs/x", option, value)
    assert option in line


@pytest.mark.parametrize("left_out", ["--data", "--config", "--out"])
def test_a_new_run_says_what_it_lacks(left_out):
    options = {"--data": "digits", "--config": "A", "--out": "runs/x"}
    given = [word for option, value in options.items() if option != left_out for word in (option, value)]
    assert left_out in refused("train", *given)


def test_class_conditional_training_needs_labels():
    assert "--class-conditional" in refused_training(pictures("photos"), "--class-conditional")


# run folders and checkpoints


def test_a_run_folder_with_a_run_is_not_started_over(finished):
    assert "--resume" in refused("train", "--data", "digits", "--config", "A", "--out", finished, *TINY)


def test_a_folder_of_other_things_is_left_alone():
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    refused("train", "--data", "digits", "--config", "A", "--out", "mine", *TINY)
    Path("file").write_text("")
    refused("train", "--data", "digits", "--config", "A", "--out", "file", *TINY)


def test_a_run_folder_in_use_is_refused_with_the_process_that_has_it(finished):
    shutil.copytree(finished, "run")
    with FileLock("run/.lock"):
        Path("run/.pid").write_text("4711\n")
        line = refused("train", "--resume", "--out", "run", "--steps", 2)
    assert "in use" in line
    assert "4711" in line


def test_resuming_what_is_not_there_is_refused():
    assert "runs/x" in refused("train", "--resume", "--out", "runs/x")


def test_a_checkpoint_of_another_architecture_is_refused(finished):
    shutil.copytree(finished, "run")
    assert "architecture" in refused("train", "--resume", "--out", "run", "--config", "D-hq", "--steps", 2)
    assert "architecture" in refused("train", "--resume", "--out", "run", "--base-channels", 16, "--steps", 2)


def test_damaged_weights_are_named(finished):
    shutil.copytree(finished, "run")
    weights = Path("run/model/diffusion_pytorch_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "damaged" in refused("sample", "run", "--num", 1, "--steps", 1)


# sampling


@pytest.mark.parametrize("command", [("sample", "--num", 1), ("rotate", "--num", 1, "--angles", "0:90:2")])
def test_a_folder_without_a_run_is_refused(command):
    assert "aliasfree train" in refused(command[0], "nowhere", *command[1:])


@pytest.mark.parametrize(
    "angles",
    ["0:90:1", "0:90:0", "0:90:x", "0:90:2.5", "nan:90:3", "0:inf:3", "0:90", "1:2:3:4", "", "a", "0:90:999999"],
)
def test_bad_angles_are_refused_with_an_example(finished, angles):
    line = refused("rotate", finished, f"--angles={angles}")
    assert "--angles=-90:90:9" in line


@pytest.mark.parametrize("angles", ["0:99999:3", "4000"])
def test_angles_out_of_range_are_refused(finished, angles):
    assert "degrees" in refused("rotate", finished, f"--angles={angles}", "--out", "t.png", "--steps", 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", 0), ("--steps", 1000), ("--num", 0), ("--batch-size", 0), ("--seed", -1),
     ("--scheduler", "ddpn"), ("--schedule", "0.9:0.1"), ("--schedule", "0:2"), ("--schedule", "half"),
     ("--class", 3), ("--guidance", 2), ("--rotate", "nan"), ("--rotate", 99999), ("--zoom", 0),
     ("--zoom", 1000), ("--method", "nearest"), ("--noise", "white"), ("--class", "three")],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(finished, option, value):
    assert option.strip("-") in refused("sample", finished, "--out", "images", "--num", 2, "--steps", 2, option, value)


def test_a_collage_of_nothing_is_refused(finished):
    assert "nowhere" in refused("collage", "nowhere")
    assert "aliasfree sample" in refused("collage", finished)
    Path("empty").mkdir()
    assert "empty" in refused("collage", "empty")
    assert "--side" in refused("collage", pictures("photos"), "--side", 0)


def test_an_unknown_option_or_command_is_a_usage_error():
    for arguments in (["frobnicate"], ["sample", "run", "--frobnicate"], ["train", "--steps", "many"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert "Traceback" not in done.output
