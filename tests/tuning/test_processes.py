"""Two processes tune together, and what the first measures is measured once."""

from __future__ import annotations

import signal
import subprocess

import pytest

from aliasfree.training import RunFolder
from tests.tuning.test_tune import assert_same_bits, numbers
from tests.two_processes import two_processes


@pytest.mark.slow
def test_two_processes_that_were_stopped_and_killed_end_with_the_bits_of_two_that_never_were(tmp_path, make_settings):
    def torchrun(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return two_processes(make_settings(tmp_path / name, flip=0.1), tmp_path / "cache", "--tune", *options)

    whole = torchrun("whole")
    assert whole.returncode == 0, whole.stderr
    assert sorted(whole.stdout.split("\n")) == ["", "a table", "no table"]
    assert whole.stderr.count("step 6: EQ-T_frac") == 1, whole.stderr
    assert (tmp_path / "whole" / "table.json").is_file()

    run = RunFolder(tmp_path / "broken")
    broken = torchrun("broken", "--kill", str(int(signal.SIGTERM)), "1", "1", "--kill", "9", "5", "0")
    assert broken.returncode != 0
    assert broken.stderr.count("Stopped by SIGTERM after step 1 of 6") == 2, broken.stderr
    assert run.load_checkpoint().step == 4
    resumed = torchrun("broken", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert run.config["environment"]["processes"] == 2
    assert_same_bits(numbers(run), numbers(RunFolder(tmp_path / "whole")))
