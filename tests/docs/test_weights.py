"""The trained networks in weights/: each loads, draws, and is what its checks.json says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aliasfree import AliasFreePipeline, AliasFreeUNet2DModel, PaperDDPMScheduler
from aliasfree.training import RunFolder

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights"
NETWORKS = sorted(path.parent for path in WEIGHTS.glob("*/training.json"))
LARGEST, ALL = 12_600_000, 70_000_000


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("docs_tools_weights", ROOT / "docs" / "tools" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=NETWORKS, ids=lambda folder: folder.name)
def folder(request) -> Path:
    return request.param


def test_there_are_networks_and_they_are_small():
    sizes = [sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) for folder in NETWORKS]
    assert sizes
    assert max(sizes) < LARGEST
    assert sum(sizes) < ALL


def test_it_loads_as_float32_and_draws_four_images(folder):
    model = AliasFreeUNet2DModel.from_pretrained(folder, local_files_only=True)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    pipeline = AliasFreePipeline(model, PaperDDPMScheduler())
    images = pipeline(4, num_inference_steps=4, output_type="pt", progress=lambda *_: None).images
    assert images.isfinite().all()
    assert (images.flatten(1).std(1) > 0.02).all(), "no image is plain"


def test_it_is_as_equivariant_and_predicts_as_well_as_is_stated(folder):
    stated = json.loads((folder / "checks.json").read_text())
    found = _tool().measure(folder)
    assert found.keys() == stated.keys()
    assert found["eq_t_frac_db"] == pytest.approx(stated["eq_t_frac_db"], abs=1.0)
    assert found["noise_error_250"] == pytest.approx(stated["noise_error_250"], rel=0.02)


def test_its_card_shows_its_samples_names_the_terms_of_its_data_and_no_place_of_a_machine(folder):
    text = (folder / "README.md").read_text() + (folder / "training.json").read_text()
    assert "![Samples of the network](samples.png)" in text
    assert "MNIST" in text or "CIFAR-10 (Krizhevsky 2009)" in text
    assert not any(place in text for place in ("/root", "/home", "/tmp"))
    assert RunFolder(folder).settings.config
