"""Several processes under torchrun, with nothing else changed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aliasfree.training import RunFolder

SCRIPT = Path(__file__).with_name("train_here.py")
STEPS = 12


@pytest.mark.slow
def test_two_processes_stopped_and_killed_end_with_the_bits_of_two_never_stopped(
    tmp_path, make_settings, final_numbers, assert_same_bits
):
    def torchrun(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(make_settings(tmp_path / name, steps=STEPS, augment="flip").to_dict()))
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        return subprocess.run(
            [*launcher, str(SCRIPT), str(file), str(tmp_path / "cache"), *options],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=240,
            check=False,
        )

    whole = torchrun("whole")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("step 1\n") == 1, "only the main process reports"

    first, second = random.randint(2, 5), random.randint(7, 11)
    stopped = torchrun("broken", "--kill", str(int(signal.SIGTERM)), "--at", str(first), "--rank", "1")
    assert "Stopped by SIGTERM" in stopped.stderr, stopped.stderr
    run = RunFolder(tmp_path / "broken")
    assert run.load_checkpoint().step == first, "both stop after the step in which one got the signal"

    kill = ["--kill", str(int(signal.SIGKILL)), "--at", str(second), "--rank", "0"]
    killed = torchrun("broken", "--resume", *kill)
    assert killed.returncode != 0
    assert run.load_checkpoint().step == (second - 1) // 3 * 3 or run.load_checkpoint().step == first

    resumed = torchrun("broken", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(final_numbers(run), final_numbers(RunFolder(tmp_path / "whole")))
    assert run.config["environment"]["processes"] == 2
