"""Small stock models on real digits, one thread: bit for bit repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, UNet2DModel
from rich.console import Console

from aliasfree.tuning import TuneSettings


@pytest.fixture(autouse=True)
def _one_thread_and_own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_autoencoder(**changes: Any) -> AutoencoderKL:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 16, "in_channels": 1, "out_channels": 1,
        "latent_channels": 3, "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    return AutoencoderKL(**{**small, **changes})


def small_unet(**changes: Any) -> UNet2DModel:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16, "in_channels": 1,
        "out_channels": 1, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(**{**small, **changes})


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a stock autoencoder, and of a pipeline with a UNet."""
    folder = tmp_path_factory.mktemp("stock")
    small_autoencoder().save_pretrained(folder / "vae")
    DDPMPipeline(small_unet(), DDPMScheduler(prediction_type="v_prediction")).save_pretrained(folder / "pipeline")
    return {"autoencoder": folder / "vae", "unet": folder / "pipeline"}


@pytest.fixture(scope="session")
def make_settings(stock: dict[str, Path]) -> Callable[..., TuneSettings]:
    """make_settings(out, kind, ...) -> settings of a run of a second or so."""

    def make(out: Path, kind: str = "autoencoder", **changes: Any) -> TuneSettings:
        tiny: dict[str, Any] = {
            "model": stock[kind], "config": "D-hq", "data": "digits", "num_images": 32, "steps": 6, "batch_size": 2,
            "lr_warmup": 2, "measure_every": 2, "measure_images": 4, "checkpoint_every": 2, "patience": 0,
            "device": "cpu",
        }  # fmt: skip
        return TuneSettings(out=out, **{**tiny, **changes})

    return make


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)
