"""Shared by all tests: golden numbers, seeds, and no network."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

if not torch.cuda.is_available():  # Triton reads it when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """golden("resample") -> the tensors of tests/golden/resample.safetensors."""

    def load(name: str) -> dict[str, Tensor]:
        return load_file(GOLDEN / f"{name}.safetensors")

    return load


@pytest.fixture(scope="session")
def keymap() -> list[list[str]]:
    """Row i: the published names of parameter i in Configs A, B, C, D."""
    return json.loads((GOLDEN / "unet_keymap.json").read_text())["keys"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """What could not be tested here is said aloud, not only counted."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    told = {str(where[2]) for where in skipped if isinstance(where, tuple) and "NOT tested" in str(where[2])}
    for line in sorted(told):
        terminalreporter.write_line(line.removeprefix("Skipped: "), yellow=True, bold=True)
