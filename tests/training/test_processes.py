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
