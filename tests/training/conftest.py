"""A tiny run on real digits, 8x8, a network of width 8, one thread: bit for bit repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from aliasfree.data import ImageData, open_images
from aliasfree.training import RunFolder, RunSettings

STEPS = 12


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_images("digits", image_size=8, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., RunSettings]:
    """make_settings(out, ...) -> settings of a run of a second or so."""

    def make(out: Path, **changes: Any) -> RunSettings:
        tiny: dict[str, Any] = {
            "data": "digits",
            "config": "D-2N",
            "image_size": 8,
            "base_channels": 8,
            "batch_size": 2,
            "steps": STEPS,
            "checkpoint_every": 3,
            "sample_every": None,
            "augment": "rotate",
            "device": "cpu",
        }
        return RunSettings(out=out, **{**tiny, **changes})

    return make


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="session")
def final_numbers() -> Callable[[RunFolder], dict[str, Any]]:
    """Everything that must be equal bit for bit: losses, weights, averaged weights, optimizer state."""

    def collect(run: RunFolder) -> dict[str, Any]:
        checkpoint = run.load_checkpoint()
        numbers: dict[str, Any] = {"steps": run.losses()[0], "losses": run.losses()[1]}
        for group, tensors in checkpoint.tensors.items():
            numbers |= {f"{group}.{name}": tensor.numpy() for name, tensor in tensors.items()}
        numbers |= {f"pretrained.{name}": t.numpy() for name, t in run.load_model().state_dict().items()}
        return numbers

    return collect


@pytest.fixture(scope="session")
def assert_same_bits() -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def check(a: dict[str, Any], b: dict[str, Any]) -> None:
        assert a.keys() == b.keys()
        different = [name for name in a if not np.array_equal(a[name], b[name])]
        assert not different, different

    return check


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, digits: ImageData, make_settings: Any, final_numbers: Any
) -> dict[str, Any]:
    """What a run that is never stopped ends with."""
    from aliasfree.training import train

    torch.set_num_threads(1)
    settings = make_settings(tmp_path_factory.mktemp("runs") / "uninterrupted")
    return final_numbers(train(settings, digits, console=Console(quiet=True)))
