"""Shared by all tests: golden numbers, seeds, and no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

if not torch.cuda.is_available():  # Triton reads it when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

GOLDEN = Path(__file__).parent / "golden"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = "no Chromium is found: the studio is NOT tested in a browser (apt-get install chromium)"


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


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium of the system, without a window."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: " + NO_BROWSER)
    with api.sync_playwright() as playwright:
        # a container's user may be root, for whom Chromium's sandbox does not work
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """What could not be tested here is said aloud, not only counted."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    told = {str(where[2]) for where in skipped if isinstance(where, tuple) and "NOT tested" in str(where[2])}
    for line in sorted(told):
        terminalreporter.write_line(line.removeprefix("Skipped: "), yellow=True, bold=True)
