"""Paths, devices and consoles as people have them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aliasfree.cli import app
from aliasfree.pictures import grid, save_png
from aliasfree.training import RunFolder

RUN = ("--data", "digits", "--config", "A", "--image-size", "8", "--base-channels", "4", "--batch-size", "4",
       "--steps", "1", "--sample-every", "0")  # fmt: skip


def aliasfree(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def command(*arguments: str | Path, **environment: str) -> str:
    """What the installed command prints, in a process of its own."""
    call = [sys.executable, "-m", "aliasfree", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("ascii" if environment.get("PYTHONIOENCODING") == "ascii" else "utf-8")


def save_images(folder: Path, count: int = 70, size: int = 8) -> Path:
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (count, size, size, 1), np.uint8)):
        save_png(grid(image[None]), folder / f"{i:03d}.png")
    return folder


def test_the_folder_one_stands_in_may_be_called_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(save_images(tmp_path / "images"))
    figures = ("--data", "digits", "--features", "pixels")
    aliasfree("evaluate", ".", *figures)
    assert (tmp_path / "images-metrics.json").is_file()
    aliasfree("collage", ".", "--side", 5)
    assert (tmp_path / "images-collage_0.png").is_file()
    aliasfree("report", ".", "--out", tmp_path / "report.html")
    assert len(list(Path().iterdir())) == 70  # nothing was put among the images
    aliasfree("train", *RUN, "--out", tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    aliasfree("sample", ".", "--num", 2, "--steps", 1)
    aliasfree("collage", ".", "--side", 2)
    aliasfree("evaluate", ".", *figures, "--num", 66, "--steps", 1, "--no-equivariance")
    assert Path("metrics.json").is_file()
    aliasfree("report", ".")
    aliasfree("analyze", ".", "--images", 1, "--rate", 2)
    assert any(Path().glob("analysis-*-run.html"))


def test_a_tilde_that_the_shell_left_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    aliasfree("train", *RUN, "--out=~/runs/a")
    assert (tmp_path / "home/runs/a/config.json").is_file()
    aliasfree("sample", "~/runs/a", "--num", 1, "--steps", 1, "--out=~/samples")
    assert (tmp_path / "home/samples/00000.png").is_file()
    save_images(tmp_path / "home/few", 3)
    assert "images       3" in aliasfree("data", "info", "~/few")
    aliasfree("analyze", "~/runs/a", "--images", 1, "--rate", 2, "--out=~/a.html")
    assert (tmp_path / "home/a.html").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]


def test_a_run_goes_on_from_anywhere(tmp_path, monkeypatch):
    project = tmp_path / "my project"
    save_images(project / "pictures" / "faces", 8)
    (project / "data").mkdir()
    np.savez(project / "data" / "mnist.npz", images=np.zeros((8, 8, 8), np.uint8))
    monkeypatch.chdir(project)
    monkeypatch.delenv("ALIASFREE_DATA", raising=False)
    aliasfree("train", *RUN, "--data", "pictures/faces", "--out", "a run")
    aliasfree("train", *RUN, "--data", "mnist", "--out", "named")
    assert RunFolder("named").settings.data == "mnist"
    monkeypatch.chdir(tmp_path)
    said = aliasfree("train", *RUN, "--data", "digits", "--out", "my project/a run", code=2)
    command = re.search("`aliasfree (.*?)`", said)[1]
    assert command == "train --resume --out 'my project/a run'"
    aliasfree(*shlex.split(command), "--steps", 2)
    aliasfree("train", "--resume", "--steps", 2, "--out", "my project/named")
    assert RunFolder("my project/named").latest_checkpoint().name == "step-00000002"


DEVICES = {
    "train": ("train", *RUN, "--out", "r"),
    "sample": ("sample", "run", "--num", "1"),
    "rotate": ("rotate", "run", "--num", "1"),
    "evaluate": ("evaluate", "run", "--data", "digits"),
    "evaluate --angles": ("evaluate", "run", "--data", "digits", "--angles=0,90"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    aliasfree("train", *RUN, "--out", out)
    return out


@pytest.mark.parametrize("name", ["sample", "rotate", "film"])
def test_a_file_given_as_a_run_is_told_from_its_folder(name, run, tmp_path):
    (tmp_path / "notes.txt").write_text("no run")
    assert f"a run is a folder; give the folder: {run}." in aliasfree(name, run / "config.json", code=2)
    assert "a run is a folder; give the folder." in aliasfree(name, tmp_path / "notes.txt", code=2)


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_is_not_there_is_refused_in_a_sentence(name, run, monkeypatch):
    monkeypatch.chdir(run.parent)
    for device, words in (("gpu", "There is no --device 'gpu'"), ("mps", "There is no --device 'mps'"),
                          ("cuda", "There is no CUDA device here"), ("cuda:7", "no")):  # fmt: skip
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert words in aliasfree(*DEVICES[name], "--device", device, code=2)
    assert not Path("r").exists()
    assert not (run / "evaluation").exists()


def test_a_seed_that_torch_does_not_take_is_refused_in_a_sentence(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    analysed = ("analyze", "A", "--image-size", 8, "--base-channels", 4, "--images", 1, "--rate", 2)
    for call in (*DEVICES.values(), analysed):
        assert "--seed must be a whole number from 0 to 2^64 - 1" in aliasfree(*call, "--seed", 2**64, code=2)
    for call in (DEVICES["sample"] + ("--steps", "1"), analysed):
        aliasfree(*call, "--seed", 2**64 - 1)


def test_square_brackets_in_names_are_printed_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("[red]", "[b] x"):
        save_images(tmp_path / "set [v2]" / name, 2)
    shown = aliasfree("data", "info", "set [v2]")
    assert "set [v2], split train" in shown
    assert "2: [b] x 2, [red] 2" in shown
    aliasfree("train", *RUN, "--out", "run [bold]")
    shown = aliasfree("analyze", "run [bold]", "--images", 1, "--rate", 2)
    assert "A in run [bold]" in shown
    aliasfree("train", "--resume", "--steps", 2, "--out", "run [bold]")
    assert "[red]" in aliasfree("sample", "[red]", code=2)


def test_a_console_that_has_no_letter_for_a_sign_gets_it_spelled_out(tmp_path):
    for name in ("猫", "chien é"):
        save_images(tmp_path / "fotos äöü 数字" / name, 2)
    shown = command("data", "info", tmp_path / "fotos äöü 数字", PYTHONIOENCODING="ascii")
    assert r"\xe4\xf6\xfc" in shown
    assert r"\u732b 2" in shown
    assert "gain" in command("filters", "D-2N", "--out", tmp_path / "a.png", PYTHONIOENCODING="ascii")
    command("configs", PYTHONIOENCODING="ascii")


def test_a_name_that_is_no_text_is_spelled_out(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    save_images(Path(os.fsdecode(folder)), 2)
    assert r"caf\udce9" in command("data", "info", os.fsdecode(folder))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_on_a_full_disk_is_told_in_a_sentence():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-m", "aliasfree", "configs"], stdout=full, stderr=-1, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: No space left on device; make room, or choose another place.\n"
