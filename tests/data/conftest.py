from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("ALIASFREE_DATA", raising=False)


@pytest.fixture
def pixels() -> np.ndarray:
    """Seven grey images of 6x5, uint8, all different."""
    return np.random.default_rng(0).integers(0, 256, (7, 6, 5), dtype=np.uint8)


@pytest.fixture
def write_idx() -> Callable[..., Path]:
    """Writes images and labels as IDX into a folder under MNIST's names; returns the images file."""

    def write(
        folder: Path, images: np.ndarray, labels: list[int], split: str = "train", dot: str = "-", zipped: bool = False
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        header = b"".join(int(n).to_bytes(4, "big") for n in (2051, *images.shape))
        content = {
            f"{split}-images{dot}idx3-ubyte": header + images.tobytes(),
            f"{split}-labels{dot}idx1-ubyte": (2049).to_bytes(4, "big")
            + len(labels).to_bytes(4, "big")
            + bytes(labels),
        }
        for name, raw in content.items():
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(raw) if zipped else raw)
        return folder / (f"{split}-images{dot}idx3-ubyte" + ".gz" * zipped)

    return write


@pytest.fixture
def write_png() -> Callable[..., Path]:
    """Writes one PNG of a single value (grey) or triple (colour), making folders as needed; returns its path."""

    def write(path: Path, value: int | tuple[int, int, int] = 0, size: tuple[int, int] = (8, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if isinstance(value, int) else "RGB", (size[1], size[0]), value).save(path)
        return path

    return write
