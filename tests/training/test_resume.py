"""A run that was stopped, in whatever way, ends bit for bit as one that never was."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aliasfree.errors import CheckpointError, DataError, RunError
from aliasfree.training import RunFolder, RunStopped, train
from aliasfree.training.losses import read_losses

STEPS = 12
SCRIPT = Path(__file__).with_name("train_here.py")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_step_and_the_resumed_run_has_the_same_bits(
    tmp_path, digits, make_settings, quiet, uninterrupted, final_numbers, assert_same_bits, number
):
    at = random.randint(1, STEPS - 2)
    before = signal.getsignal(number)
    settings = make_settings(tmp_path / "run", checkpoint_every=100)

    def interrupt(step: int, loss: float) -> None:
        if step == at:
            os.kill(os.getpid(), number)

    with pytest.raises(RunStopped) as stopped:
        train(settings, digits, on_step=interrupt, console=quiet)
    assert stopped.value.exit_code == 128 + number
    assert f"aliasfree train --resume --out {tmp_path / 'run'}" in str(stopped.value)
    assert signal.getsignal(number) is before
    run = RunFolder(tmp_path / "run")
    assert run.load_checkpoint().step - at in (0, 1), "at the end of the step in which the signal came"
    run.load_model()  # a stopped run can be sampled

    run = train(run.settings, digits, resume=True, console=quiet)
    assert_same_bits(final_numbers(run), uninterrupted)


def test_killed_at_a_random_moment_it_resumes_from_its_last_checkpoint_with_the_same_bits(
    tmp_path, digits, make_settings, quiet, uninterrupted, final_numbers, assert_same_bits
):
    """A checkpoint after every step, so that the kill may fall into the writing of one."""
    at = random.randint(1, STEPS - 1)
    settings = make_settings(tmp_path / "run", checkpoint_every=1)
    (tmp_path / "settings.json").write_text(json.dumps(settings.to_dict()))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "settings.json"), str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as job:
        for line in job.stdout:
            if line.split() == ["step", str(at)]:
                job.kill()
                break
    assert job.returncode == -signal.SIGKILL
    run = RunFolder(tmp_path / "run")
    if at > 1:
        assert run.load_checkpoint().step >= at - 1, "kill -9 costs at most the steps since the last checkpoint"
    run = train(run.settings, digits, resume=True, console=quiet)
    assert_same_bits(final_numbers(run), uninterrupted)
    assert not list(run.checkpoints.glob(".*")), "what was half-written is gone"


def test_a_torn_last_line_and_lines_past_the_checkpoint_leave_no_trace_in_the_losses(
    tmp_path, digits, make_settings, quiet, uninterrupted, final_numbers, assert_same_bits
):
    settings = make_settings(tmp_path / "run", steps=6)
    run = train(settings, digits, console=quiet)
    with run.losses_file.open("a") as file:
        file.write("7,123.0,0.0003,1.0\n8,0.1")
    assert run.losses()[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    run = train(settings.replace(steps=STEPS), digits, resume=True, console=quiet)
    assert_same_bits(final_numbers(run), uninterrupted)


def test_a_damaged_checkpoint_is_named_skipped_and_made_good(
    tmp_path, digits, make_settings, capsys, uninterrupted, final_numbers, assert_same_bits
):
    run = train(make_settings(tmp_path / "run", steps=9), digits)
    weights = run.latest_checkpoint() / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    capsys.readouterr()
    run = train(make_settings(tmp_path / "run"), digits, resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "step-00000009 is damaged: the checksum of model.safetensors" in said
    assert "from step 6, to step 12" in said
    assert (run.checkpoints / "damaged-step-00000009").is_dir()
    assert_same_bits(final_numbers(run), uninterrupted)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, digits, make_settings, quiet):
    settings = make_settings(tmp_path / "run", steps=2)

    def fail(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, digits, on_step=fail, console=quiet)
    run = train(settings, digits, resume=True, console=quiet)
    assert run.losses()[0].tolist() == [1, 2]


def test_resuming_a_finished_run_says_so_and_changes_nothing(
    tmp_path, digits, make_settings, capsys, final_numbers, assert_same_bits
):
    run = train(make_settings(tmp_path / "run", steps=3), digits)
    before = final_numbers(run)
    capsys.readouterr()
    train(run.settings, digits, resume=True)
    assert "finished at step 3; ask for more steps" in " ".join(capsys.readouterr().err.split())
    assert_same_bits(final_numbers(run), before)


def test_settings_that_change_the_course_may_change_on_resume_and_are_noted(tmp_path, digits, make_settings, capsys):
    run = train(make_settings(tmp_path / "run", steps=3), digits)
    train(make_settings(tmp_path / "run", steps=4, lr=1e-4), digits, resume=True)
    assert "lr 0.0003 -> 0.0001" in " ".join(capsys.readouterr().err.split())
    assert run.config["resumed"] == [{"step": 3, "changes": ["lr 0.0003 -> 0.0001"]}]
    assert run.settings.lr == 1e-4
    last = run.losses_file.read_text().splitlines()[-1]
    assert last.split(",")[2] == "0.0001"


def test_a_learning_rate_that_rises_and_falls_goes_on_where_it_was(
    tmp_path, digits, make_settings, quiet, final_numbers, assert_same_bits
):
    falling = {"lr_warmup": 2, "lr_schedule": "cosine", "steps": 6}
    whole = train(make_settings(tmp_path / "whole", **falling), digits, console=quiet)
    parts = make_settings(tmp_path / "parts", **falling)
    with pytest.raises(RunStopped):
        train(parts, digits, until=0.0, console=quiet)
    train(parts, digits, resume=True, console=quiet)
    assert_same_bits(final_numbers(RunFolder(parts.out)), final_numbers(whole))
    rates = [float(row["lr"]) for row in read_losses(whole.losses_file)]
    share = [0.5, 1.0, *((1 + math.cos(math.pi * k / 4)) / 2 for k in range(4))]
    assert rates == pytest.approx([3e-4 * s for s in share])
    first = whole.load_checkpoint()
    train(whole.settings.replace(steps=7), digits, resume=True, console=quiet)
    assert whole.config["resumed"] == [{"step": first.step, "changes": ["steps 6 -> 7"]}], "the rate falls otherwise"


def test_a_run_whose_time_is_over_saves_and_goes_on_with_the_same_bits(
    tmp_path, digits, make_settings, quiet, uninterrupted, final_numbers, assert_same_bits
):
    settings = make_settings(tmp_path / "parts")
    for resume in (False, True):  # a step is always made, so that any time is enough in the end
        with pytest.raises(RunStopped, match="the time limit after step") as stopped:
            train(settings, digits, resume=resume, until=0.0, console=quiet)
        assert stopped.value.exit_code == 75
    folder = RunFolder(settings.out)
    assert folder.latest_checkpoint().name == "step-00000002"
    train(settings, digits, resume=True, until=time.time() + 3600, console=quiet)
    assert_same_bits(final_numbers(folder), uninterrupted)


def test_a_part_of_a_split_is_trained_on_and_stays_the_same_part(tmp_path, make_settings, quiet, monkeypatch):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    settings = make_settings(tmp_path / "run", num_images=40, steps=2)
    folder = train(settings, console=quiet)
    assert folder.config["data"]["images"] == 40
    train(settings.replace(steps=3), resume=True, console=quiet)
    with pytest.raises(CheckpointError, match="40 images"):
        train(settings.replace(num_images=41, steps=4), resume=True, console=quiet)
    with pytest.raises(DataError, match="no 'test' split"):
        train(make_settings(tmp_path / "other", split="test"), console=quiet)


def test_a_spectrum_that_was_summed_in_another_order_is_gone_on_with(tmp_path, digits, make_settings, quiet):
    run = train(make_settings(tmp_path / "run", steps=3, preconditioning="spectral"), digits, console=quiet)
    config = run.config
    config["model"]["spectrum"]["mean"][0] += 1e-12  # as another number of threads would have it
    run.write_config(config)
    train(run.settings.replace(steps=4), digits, resume=True, console=quiet)
    assert len(read_losses(run.losses_file)) == 4
    assert run.load_model().config["spectrum"]["mean"][0] == config["model"]["spectrum"]["mean"][0]


@pytest.mark.parametrize("left", ["no folder", "an empty folder"])
def test_a_trained_run_without_its_checkpoints_is_not_begun_again(tmp_path, digits, make_settings, quiet, left):
    run = train(make_settings(tmp_path / "run", steps=2), digits, console=quiet)
    shutil.rmtree(run.checkpoints)
    if left == "an empty folder":
        run.checkpoints.mkdir()
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"no checkpoint to go on from.*`model` .*/run/model and another `out`"):
        train(run.settings.replace(steps=3), digits, resume=True, console=quiet)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
