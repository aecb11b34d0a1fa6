"""Nothing that is read from disk may run code: crafted pickles, arrays of objects, YAML tags, headers of tensors.

Compiled kernels are the exception: Numba's cache is machine code, kept beside the package or in NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load

from aliasfree import AliasFreeUNet2DModel
from aliasfree.data import open_images
from aliasfree.errors import AliasfreeError
from aliasfree.measuring.sample_store import SampleStore
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.training import RunFolder, RunSettings, train


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "it-ran"
    assert not (tmp_path / "it-ran").exists(), "what was read has run code"


def npy_of_objects(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil(marker)], object), allow_pickle=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = RunSettings(data="digits", config="A", out=out, image_size=8, base_channels=4, steps=1, batch_size=2,
                           device="cpu", sample_every=None)  # fmt: skip
    train(settings, console=Console(quiet=True))
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("key", ["images", "labels"])
def test_an_npz_of_objects_is_refused(tmp_path, marker, key):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("images", "labels"):
            plain = io.BytesIO()
            np.save(plain, np.zeros((1, 8, 8), np.uint8) if name == "images" else np.zeros(1, int))
            archive.writestr(f"{name}.npy", npy_of_objects(marker) if name == key else plain.getvalue())
    with pytest.raises(AliasfreeError):
        open_images(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
def test_a_data_cache_of_pickles_is_made_again(tmp_path, marker, name):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4))
    folder = open_images(tmp_path / "a.npz").folder
    (folder / name).write_bytes(npy_of_objects(marker) if name != "meta.json" else pickle.dumps(Evil(marker)))
    with pytest.warns(UserWarning, match="damaged"):
        assert len(open_images(tmp_path / "a.npz")) == 4


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json", "optimizer.safetensors"])
def test_a_checkpoint_of_pickles_is_refused(run, marker, name):
    (RunFolder(run).latest_checkpoint() / name).write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(AliasfreeError, match="damaged"):
        RunFolder(run).load_model(ema=False)
    with pytest.raises(AliasfreeError, match="damaged"):
        train(RunFolder(run).settings.replace(steps=2), resume=True, console=Console(quiet=True))


def test_weights_and_settings_of_pickles_are_refused(run, marker):
    weights = run / "model" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(AliasfreeError, match="damaged"):
        RunFolder(run).load_model()
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))  # the name of a pickle is no way in either
    with pytest.raises(AliasfreeError, match="no weights"):
        RunFolder(run).load_model()
    (run / "config.json").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(AliasfreeError, match="not valid JSON"):
        _ = RunFolder(run).settings


def test_yaml_in_place_of_json_is_refused(run, marker):
    (run / "config.json").write_text(f'!!python/object/apply:os.mkdir ["{marker}"]')
    with pytest.raises(AliasfreeError, match="not valid JSON"):
        _ = RunFolder(run).settings


def test_kept_samples_of_pickles_are_sampled_again(run, marker):
    store = SampleStore(RunFolder(run), SampleSettings(steps=1), run / "evaluation", "cpu")
    first = store.images(2)
    (part,) = (run / "evaluation").rglob("part-*.npy")
    part.write_bytes(npy_of_objects(marker))
    assert store.images(2).equal(first)


def test_a_published_checkpoint_of_pickled_code_is_refused(tmp_path, marker):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"conv.weight": Evil(marker)}))
    with pytest.raises(Exception, match=r".+"):
        AliasFreeUNet2DModel.from_reference(tmp_path / "a.pt", alias_free="A", sample_size=8)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}},
        {"a": {"dtype": "__import__('os')", "shape": [1], "data_offsets": [0, 4]}},
        {"__metadata__": {"format": "pickle"}, "a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    ],
)
def test_headers_of_tensors_that_claim_too_much_are_refused(run, header):
    text = json.dumps(header).encode()
    raw = struct.pack("<Q", len(text)) + text + bytes(4)
    with pytest.raises(SafetensorError):
        load(raw)
    for claim in (raw, struct.pack("<Q", 2**62) + text):
        (run / "model" / "diffusion_pytorch_model.safetensors").write_bytes(claim)
        with pytest.raises(AliasfreeError, match="damaged"):
            RunFolder(run).load_model()
