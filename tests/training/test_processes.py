"""Several processes under torchrun, with nothing else changed."""

from __future__ import annotations

import random
import signal
import subprocess

import pytest

from aliasfree.training import RunFolder
from tests.two_processes import two_processes

STEPS = 12


@pytest.mark.slow
def test_two_processes_stopped_and_killed_end_with_the_bits_of_two_never_stopped(
    tmp_path, make_settings, final_numbers, assert_same_bits
):
    def torchrun(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return two_processes(make_settings(tmp_path / name, steps=STEPS, augment="flip"), tmp_path / "cache", *options)

    whole = torchrun("whole")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("step 1\n") == 1, "only the main process reports"

    run = RunFolder(tmp_path / "broken")
    first, second = random.randint(2, 5), random.randint(8, 11)
    terminate, kill = ["--kill", str(int(signal.SIGTERM)), str(first), "1"], ["--kill", "9", str(second), "0"]
    broken = torchrun("broken", *terminate, *kill)
    assert broken.returncode != 0
    # both stop after the step in which only one got the signal, and both go on
    assert broken.stderr.count(f"Stopped by SIGTERM after step {first} of {STEPS}") == 2, broken.stderr
    assert run.config["resumed"][0]["step"] == first
    assert run.load_checkpoint().step == (second - 1) // 3 * 3, "killed, it keeps its last checkpoint"

    resumed = torchrun("broken", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(final_numbers(run), final_numbers(RunFolder(tmp_path / "whole")))
    assert run.config["environment"]["processes"] == 2
