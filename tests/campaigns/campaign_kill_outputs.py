"""Campaign: what commands write over, killed at random moments. Not part of `make test`; see campaign_kill.py.

    CAMPAIGN_KILLS=1000 python -m pytest -s tests/campaigns/campaign_kill_outputs.py     (`make campaign` does it)

After every kill each output must be the old or the new one, whole, as the next call finds it; in the end the new one.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from aliasfree.data import make_mnist_m
from aliasfree.errors import DataError
from aliasfree.experiments.export import export
from aliasfree.experiments.film import film_outputs, film_runs
from aliasfree.experiments.tile import tile
from aliasfree.files import put_back
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.training import RunFolder
from aliasfree.tuning import TuneSettings, tune
from tests.campaigns.campaign_kill import (  # noqa: F401  (fixtures among them)
    KILLS,
    QUIET,
    _alone,
    assert_clean,
    cache,
    campaign,
    do,
    killed,
    whole,
)

Content = dict[str, bytes]


def content(path: Path) -> Content:
    """Of a file or of all files of a folder; empty = it is not there."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in files}


def replacing(
    name: str, capsys: Any, outputs: Sequence[Path], old: Callable[[], None], new: Callable[[], None], one_in: int = 1
) -> None:
    """Kill the work `new`, which replaces what `old` wrote."""
    folder = outputs[0].parent

    def make_old() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        do(old)

    make_old()
    before = [content(path) for path in outputs]
    pace = do(new)
    after = [content(path) for path in outputs]
    assert all(before)
    assert before != after

    def trial(chance: random.Random) -> int:
        make_old()
        kills = 0
        while killed([new], pace, chance):
            kills += 1
            put_back(folder)  # what `check_outputs` of the next call does
            for path, *either in zip(outputs, before, after, strict=True):
                assert content(path) in either, f"{path} is neither the old nor the new one"
        assert [content(path) for path in outputs] == after
        left = [p.name for p in folder.iterdir() if p.name.endswith(".old")]
        assert left == []
        return kills

    campaign(name, capsys, max(1, KILLS // one_in), trial)


@pytest.fixture
def stock(tmp_path) -> Path:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 8}
    unet = diffusers.UNet2DModel(in_channels=1, out_channels=1, **sizes, **blocks)
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "stock")
    return tmp_path / "stock"


def test_tile_killed_at_random_moments(stock, tmp_path, capsys):
    out = tmp_path / "out" / "seamless"

    def make(axes: str) -> Callable[[], None]:
        return lambda: tile(stock, out, axes, overwrite=True) and None

    replacing("tile --overwrite", capsys, [out], make("x"), make("xy"))


def test_film_killed_at_random_moments(whole, tmp_path, capsys):  # noqa: F811
    run, out = RunFolder(whole[0]), tmp_path / "out" / "film.png"

    def make(num: int) -> Callable[[], None]:
        how = SampleSettings(steps=2)
        return lambda: film_runs([run], how, num, frames=3, out=out, overwrite=True, device="cpu") and None

    replacing("film --overwrite", capsys, film_outputs(out), make(1), make(2))


def test_export_killed_at_random_moments(stock, tmp_path, capsys):
    out = tmp_path / "out" / "model.onnx"
    new = lambda: export(stock, out, overwrite=True) and None  # noqa: E731
    replacing("export --overwrite", capsys, [out], lambda: out.write_bytes(b"old") and None, new, one_in=4)


def test_mnist_m_killed_at_random_moments(cache, tmp_path, capsys):  # noqa: F811
    out, photographs = tmp_path / "out" / "mnist-m", tmp_path / "photographs"
    photographs.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(photographs / "noise.png")

    def make() -> None:
        make_mnist_m("digits", photographs, out, num=60)

    out.parent.mkdir()
    pace = do(make)
    whole_set = content(out)
    with pytest.raises(DataError, match="is not an empty folder"):
        make()

    def trial(chance: random.Random) -> int:
        shutil.rmtree(out.parent)
        kills = 0
        while killed([make], pace, chance):
            kills += 1
            if content(out) == whole_set:  # killed when it was done
                return kills
            assert not out.exists(), "half a set has the name of a whole one"
        assert content(out) == whole_set
        assert_clean(out.parent)
        return kills

    campaign("data mnist-m", capsys, KILLS, trial)


def test_tuning_killed_at_random_moments(cache, stock, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")

    def tuning(out: Path) -> None:
        how = TuneSettings(
            model=stock, config="D-2N", data="digits", num_images=32, out=out, batch_size=2, steps=8, lr_warmup=2,
            checkpoint_every=2, measure_every=4, measure_images=4, patience=0, device="cpu",
        )  # fmt: skip
        tune(how, resume=RunFolder(out).exists, console=QUIET)

    def weights(out: Path) -> Content:
        return content(out / "model")

    pace = do(lambda: tuning(tmp_path / "whole"))
    wanted = weights(tmp_path / "whole")

    def trial(chance: random.Random) -> int:
        out, kills = tmp_path / "run", 0
        while killed([lambda: tuning(out)], pace, chance):
            kills += 1
        assert weights(out) == wanted
        assert_clean(out)
        shutil.rmtree(out)
        return kills

    campaign("tuning", capsys, max(1, KILLS // 4), trial)
