"""The Triton kernels compile for the GPUs they are meant for; no GPU is needed for that.

By default every (filter, operation, number format) is compiled for two of the four architectures, half of them for each
(about 4 s apiece on a slow core); ALIASFREE_COMPILE_ALL=1 compiles all of them for all four. Triton keeps what it has
compiled on disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia")

LIMITS = {80: 163, 90: 227, 100: 227, 120: 99}
"""Compute capability x 10 -> KiB of shared memory a block may take."""
ALL = list(product(enumerate(("hq", "2N")), enumerate(("activate", "backward")), enumerate(("bfloat16", "float32"))))

ALWAYS = ("hq:resample:bfloat16", "below-nyquist:activate:bfloat16")


def names(place: int) -> list[str]:
    """What is compiled for the architecture at this place of LIMITS: any two of the three factors in all pairs."""
    everything = os.environ.get("ALIASFREE_COMPILE_ALL") == "1"
    chosen = [c for c in ALL if everything or sum(i for i, _ in c) % 2 == place % 2]
    return [":".join(name for _, name in c) for c in chosen]


def compiled(capability: int, *wanted: str) -> list[dict]:
    script = Path(__file__).with_name("compile_here.py")
    done = subprocess.run(
        [sys.executable, script, str(capability), *wanted], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["name"] for f in found] == list(wanted)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("capability", LIMITS)
def test_filtered_activations_compile_and_fit_into_shared_memory(capability):
    for facts in compiled(capability, *names(list(LIMITS).index(capability)), *ALWAYS):
        assert facts["cubin"] > 0
        assert facts["target"].startswith(f"sm_{capability}")
        assert 0 < facts["shared"] <= LIMITS[capability] << 10


def test_the_default_choice_leaves_no_combination_out(monkeypatch):
    monkeypatch.delenv("ALIASFREE_COMPILE_ALL", raising=False)
    chosen = [set(names(place)) for place in range(4)]
    assert set.union(*chosen) == {":".join(name for _, name in c) for c in ALL}
    assert all(len(c) == len(ALL) // 2 for c in chosen)


@pytest.mark.slow
def test_a_filter_of_six_terms_compiles_to_code_of_the_size_of_one_terms():
    one, six = compiled(90, "hq:backward:bfloat16", "radial:backward:bfloat16")
    assert six["cubin"] < 3 * one["cubin"]
