"""The command line as a user meets it: real runs, small ones."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.cli.parse import parse_angles, parse_size, parse_window
from aliasfree.cli.train import train
from aliasfree.config import PAPER_CONFIGS, known_names
from aliasfree.settings import options
from aliasfree.training import RunSettings

TINY = ("--image-size", "16", "--base-channels", "8", "--batch-size", "4", "--device", "cpu")


def aliasfree(*arguments: str | Path, code: int = 0) -> str:
    """Run the command in this process; its stdout (or all output when it fails)."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output if code else done.stdout


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A class-conditional run of two steps on digits."""
    out = tmp_path_factory.mktemp("runs") / "run"
    aliasfree("train", "--data", "digits", "--config", "D-2N", "--out", out, *TINY, "--steps", 2,
              "--class-conditional", "--sample-every", 0)  # fmt: skip
    return out


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def numbered(folder: Path) -> list[np.ndarray]:
    return [pixels(path) for path in sorted(folder.iterdir())]


# the command itself


def test_help_names_every_command_and_is_quick():
    command = [sys.executable, "-m", "aliasfree", "--help"]
    quickest = min(_cpu_seconds(command) for _ in range(3))
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in (
        "demo",
        "train",
        "sample",
        "rotate",
        "film",
        "collage",
        "filters",
        "configs",
        "recipes",
        "data",
        "evaluate",
        "analyze",
        "report",
    ):
        assert name in text
    # processor time, which a busy machine does not stretch as it does the clock; importing torch alone would take two
    assert quickest < 1.0


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_version_is_printed():
    from aliasfree import __version__

    assert aliasfree("--version").strip() == f"aliasfree {__version__}"


# train


def test_every_setting_has_an_option_with_its_name_default_and_help():
    names = list(inspect.signature(train, eval_str=True).parameters)
    names.remove("resume")
    names.remove("recipe")
    names.remove("context")
    assert names == sorted(names, key=list(options(RunSettings)).index)
    assert set(names) == {field.name for field in dataclasses.fields(RunSettings)}
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", aliasfree("train", "--help")).split())
    for name, field in RunSettings.__dataclass_fields__.items():
        assert f"--{name.replace('_', '-')}" in text
        told = field.metadata["option"]
        assert not told.help or told.help in text
        if isinstance(field.default, str | int | float) and not isinstance(field.default, bool):
            assert f"[default: ({field.default})]" in text
    order = [text.index(f" {title} ") for title in ("Options", "Optimisation", "Network", "What is written")]
    assert order == sorted(order)


def test_train_writes_the_settings_that_were_given(run):
    settings = json.loads((run / "config.json").read_text())["settings"]
    given = {"data": "digits", "config": "D-2N", "image_size": 16, "base_channels": 8, "batch_size": 4, "steps": 2}
    assert {name: settings[name] for name in given} == given
    assert settings["class_conditional"] is True
    assert settings["sample_every"] is None  # 0 on the command line
    assert (run / "model" / "config.json").is_file()


def test_resume_keeps_the_stored_settings_and_takes_what_is_given_again(tmp_path):
    out = tmp_path / "run"
    start = ("train", "--data", "digits", "--config", "B-1", "--out", out, *TINY, "--sample-every", 0, "--seed", 7)
    aliasfree(*start, "--steps", 1)
    aliasfree("train", "--resume", "--out", out, "--steps", 3)
    settings = json.loads((out / "config.json").read_text())["settings"]
    assert (settings["config"], settings["seed"], settings["steps"]) == ("B-1", 7, 3)
    steps = [line.split(",")[0] for line in (out / "losses.csv").read_text().splitlines()[1:]]
    assert steps == ["1", "2", "3"]


# sample


def test_sample_writes_numbered_images_a_grid_and_the_settings(run, tmp_path):
    out = tmp_path / "images"
    aliasfree("sample", run, "--num", 5, "--steps", 2, "--batch-size", 2, "--out", out)
    assert sorted(p.name for p in out.iterdir()) == [f"{i:05d}.png" for i in range(5)]
    assert all(image.shape == (16, 16) and image.dtype == np.uint8 for image in numbered(out))
    assert (tmp_path / "images-grid.png").is_file()
    facts = json.loads((tmp_path / "images.json").read_text())
    assert (facts["num"], facts["steps"], facts["scheduler"], facts["rotate"]) == (5, 2, "ddpm", 0.0)


def test_images_of_a_seed_do_not_depend_on_the_batch_size(run, tmp_path):
    for size in (1, 3):
        aliasfree("sample", run, "--num", 3, "--steps", 3, "--batch-size", size, "--out", tmp_path / str(size))
    one, three = (np.stack(numbered(tmp_path / str(size))).astype(int) for size in (1, 3))
    # a network computes a batch of three by other kernels than a batch of one
    assert np.abs(one - three).max() <= 1
    assert np.abs(one[0] - one[1]).max() > 1


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpm++"])
def test_every_scheduler_moves_and_guides(run, tmp_path, scheduler):
    still, moved = tmp_path / "still", tmp_path / "moved"
    common = ("--num", 2, "--steps", 4, "--scheduler", scheduler, "--class", "each", "--guidance", 2)
    aliasfree("sample", run, *common, "--out", still)
    aliasfree("sample", run, *common, "--rotate", -45, "--translate", -1, 2.5, "--zoom", 1.1, "--schedule", "0.2:0.9",
              "--noise", "co-moving", "--method", "spline", "--out", moved)  # fmt: skip
    assert not np.array_equal(numbered(still)[0], numbered(moved)[0])
    facts = json.loads((tmp_path / "moved.json").read_text())
    assert facts["translate"] == [-1.0, 2.5]
    assert facts["schedule"] == [0.2, 0.9]
    assert facts["class_label"] == "each"


def test_sampling_again_takes_a_fresh_name(run):
    before = set((run / "images").glob("ddpm3-*")) if (run / "images").exists() else set()
    for _ in range(2):
        aliasfree("sample", run, "--num", 1, "--steps", 3)
    folders = {p for p in (run / "images").glob("ddpm3-*") if p.is_dir()} - before
    assert len(folders) == 2


def test_existing_output_is_replaced_only_when_asked(run, tmp_path):
    out = tmp_path / "images"
    aliasfree("sample", run, "--num", 2, "--steps", 2, "--out", out)
    message = aliasfree("sample", run, "--num", 1, "--steps", 2, "--out", out, code=2)
    assert "--overwrite" in message
    assert len(numbered(out)) == 2
    aliasfree("sample", run, "--num", 1, "--steps", 2, "--out", out, "--overwrite")
    assert len(numbered(out)) == 1


def test_overwrite_never_removes_a_folder_of_other_things(run, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    message = aliasfree("sample", run, "--num", 1, "--steps", 2, "--out", precious, "--overwrite", code=2)
    assert "more than numbered images" in message
    assert (precious / "thesis.txt").read_text() == "years of work"


# rotate and collage


def test_rotate_draws_one_row_an_image_and_one_column_an_angle(run, tmp_path):
    out = tmp_path / "table.png"
    printed = aliasfree("rotate", run, "--angles=-90:90:3", "--num", 2, "--steps", 2, "--out", out)
    assert [Path(line).name for line in printed.split()] == ["table.png", "table.gif", "table.mp4"]
    assert json.loads((tmp_path / "table.json").read_text())["angles"] == [-90.0, 0.0, 90.0]
    with Image.open(tmp_path / "table.gif") as film:
        assert film.n_frames == 4  # -90, 0, 90, 0; an end that is held is one long frame
    table = pixels(out)
    assert table.shape[1] > 3 * 64
    assert table.shape[0] > 2 * 64


def test_rotate_at_zero_degrees_shows_the_image_that_sample_draws(run, tmp_path):
    aliasfree("sample", run, "--num", 1, "--steps", 2, "--out", tmp_path / "images")
    aliasfree("rotate", run, "--angles", "0", "--num", 1, "--steps", 2, "--out", tmp_path / "table.png")
    drawn = numbered(tmp_path / "images")[0]
    table = np.array(Image.open(tmp_path / "table.png").convert("L"))
    assert np.abs(table[-64:, -64:].astype(int) - drawn.repeat(4, 0).repeat(4, 1)).max() <= 1


def test_comparing_methods_doubles_the_rows(run, tmp_path):
    common = ("--angles=0,30", "--num", 1, "--steps", 2)
    aliasfree("rotate", run, *common, "--out", tmp_path / "one.png")
    aliasfree("rotate", run, *common, "--compare-methods", "--out", tmp_path / "both.png")
    one, both = pixels(tmp_path / "one.png"), pixels(tmp_path / "both.png")
    assert both.shape[0] >= one.shape[0] + 64
    assert json.loads((tmp_path / "both.json").read_text())["methods"] == ["fourier", "spline"]


def test_collage_lays_out_a_folder_and_the_newest_images_of_a_run(run, tmp_path):
    aliasfree("sample", run, "--num", 5, "--steps", 2, "--out", tmp_path / "images")
    printed = aliasfree("collage", tmp_path / "images", "--side", 2, "--out", tmp_path / "sheet.png")
    assert [Path(line).name for line in printed.split()] == ["sheet_0.png", "sheet_4.png"]
    assert pixels(tmp_path / "sheet_0.png").shape == (32, 32)
    assert "--overwrite" in aliasfree("collage", tmp_path / "images", "--out", tmp_path / "sheet.png", code=2)
    aliasfree("sample", run, "--num", 1, "--steps", 2)
    assert Path(aliasfree("collage", run, "--overwrite").strip()).is_file()


# filters, configs, data


def test_filters_draws_and_prints_the_figures_of_both(here):
    printed = aliasfree("filters", "D-2N", "D-hq")
    assert re.search(r"0\.377  0\.239\W+1\.000  1\.000", printed)
    assert re.search(r"0\.239  0\.145\W+1\.000  1\.000", printed)
    assert re.search(r"9\.2 dB\W+46\.\d dB", printed)
    assert pixels(here / "filters-D-2N-D-hq.png").size > 0


def test_configs_lists_every_name():
    words = aliasfree("configs").split()
    assert set(known_names()) <= set(words)
    assert set(PAPER_CONFIGS) <= set(words)


def test_data_info_says_what_a_source_holds():
    printed = aliasfree("data", "info", "digits", "--image-size", "24x16")
    assert "1,797" in printed
    assert "24 x 16, grey" in printed
    assert "3 183" in printed  # 183 threes


def test_mnist_m_is_made_from_digits_and_photographs(here):
    rng = np.random.default_rng(0)
    (here / "photos").mkdir()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(here / "photos" / "a.png")
    aliasfree("data", "mnist-m", "--digits", "digits", "--backgrounds", "photos", "--out", "made", "--num", 12)
    images = sorted((here / "made").rglob("*.png"))
    assert len(images) == 12
    assert pixels(images[0]).ndim == 3
    assert "not an empty folder" in aliasfree(
        "data", "mnist-m", "--digits", "digits", "--backgrounds", "photos", "--out", "made", code=2
    )


# parsing


def test_angles_are_a_range_with_both_ends_or_a_list():
    assert parse_angles("-90:90:5") == [-90, -45, 0, 45, 90]
    assert parse_angles("0:1:2") == [0, 1]
    assert parse_angles("10,-20,33.5") == [10, -20, 33.5]
    assert parse_angles("45") == [45]


def test_windows_and_sizes():
    assert parse_window("0.7:0.95") == (0.7, 0.95)
    assert parse_window("0.9:0.9") == (0.9, 0.9)
    assert parse_size("32") == 32
    assert parse_size("24x48") == (24, 48)
    assert parse_size("native") is None


# errors


def test_a_bug_keeps_its_traceback_and_a_users_mistake_has_one_only_on_request(tmp_path):
    command = [sys.executable, "-m", "aliasfree", "sample", str(tmp_path / "nothing")]
    plain = subprocess.run(command, capture_output=True, text=True)
    debug = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ALIASFREE_DEBUG": "1"})
    assert plain.returncode == 2
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: ")
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in debug.stderr
    assert debug.returncode != 0


# examples

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_examples_run_one_after_the_other(tmp_path):
    out = tmp_path / "run"
    _example("train_digits.py", out, "--steps", 1, "--config", "A")
    _example("sample_rotated.py", out, tmp_path / "rotated.png", "--num", 1, "--steps", 2)
    assert pixels(tmp_path / "rotated.png").size > 0


def _example(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, EXAMPLES / name, *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "digits", "--config", "D-hqq"], "did you mean 'D-hq'"),
        (["--data", "digits", "--config", "A", "--lr", "-1"], "--lr must be a positive number"),
        (["--data", "no-such-data", "--config", "A"], "There is no data at 'no-such-data'"),
        (["--resume"], "There is no run in"),
    ],
)
def test_training_is_refused_before_torch_is_imported(options, message, tmp_path):
    command = ["train", *options, "--out", str(tmp_path / "run")]
    script = (
        "import sys; from aliasfree.cli import main\n"
        f"sys.argv = ['aliasfree', *{command!r}]\n"
        "try: main()\n"
        "except SystemExit as stopped: print('code', stopped.code)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert message in done.stderr
    assert done.stdout.split() == ["code", "2", "False"]
