"""Extractors with networks of others: EfficientNet from its package, torch-fidelity's by name."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from aliasfree.errors import ArgumentError, CheckpointError, DataError
from aliasfree.evaluation import kernel_distance
from aliasfree.evaluation.features import extract
from aliasfree.evaluation.pretrained import FIDELITY, EfficientNetFeatures, FidelityFeatures

clip = importlib.import_module("torch_fidelity.feature_extractor_clip")


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """(2, 3, 427, 640): a temple and a flower."""
    return torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).contiguous()


def test_efficientnet_knows_a_flower_from_a_temple(photographs):
    square = photographs[..., 106:533]
    temple, flower = EfficientNetFeatures(side=224)(square).probabilities.argmax(1).tolist()
    assert temple in (442, 698, 832)  # ImageNet's bell cote, palace and stupa
    assert flower == 985  # daisy
    assert EfficientNetFeatures().key != EfficientNetFeatures(side=96).key


@pytest.mark.slow
def test_efficientnet_orders_known_ladders(photographs):
    """Parts of photographs against other parts of them, and those blurred or noised more and more."""
    parts = photographs.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
    parts = parts[torch.randperm(len(parts), generator=torch.Generator().manual_seed(0))]
    one, other = parts[::2], parts[1::2]
    extractor = EfficientNetFeatures(side=64)
    reference = extract(extractor, other).values

    def distance(images: torch.Tensor) -> float:
        return kernel_distance(extract(extractor, images).values, reference, subsets=20)[0]

    def blurred(by: int) -> torch.Tensor:
        small = torch.nn.functional.interpolate(one.float(), scale_factor=1 / by, mode="area")
        large = torch.nn.functional.interpolate(small, size=32, mode="bilinear")
        return large.round().to(torch.uint8)

    def noised(by: float) -> torch.Tensor:
        noise = by * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
        return (one + noise).clamp(0, 255).round().to(torch.uint8)

    for worse in (blurred, noised):
        ladder = [distance(one), *(distance(worse(by)) for by in ((2, 4, 8) if worse is blurred else (8, 24, 72)))]
        assert ladder == sorted(ladder), (worse.__name__, ladder)
        assert ladder[-1] > 5 * abs(ladder[0])


def test_the_names_are_those_of_torch_fidelity():
    importlib.import_module("torch_fidelity")
    registry = importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY
    assert {"inception-v3-compat", *FIDELITY} <= set(registry)
    assert {name for name in registry if name.startswith(("clip", "dinov2", "vgg"))} == set(FIDELITY)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A file in the form of CLIP's, a TorchScript archive, with a small network that was never trained, and that."""
    torch.manual_seed(0)
    net = clip.CLIPVisual(16, 32, 2, 64, 16).half().float().eval()  # CLIP keeps its weights in half precision
    net.text_projection = torch.nn.Parameter(torch.zeros(8, 16))
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    net.forward = net.visual.forward
    torch.jit.trace(net, torch.zeros(1, 3, 32, 32)).save(str(path))
    return path, net


def test_features_of_torch_fidelity_come_from_a_file_of_weights(tiny_clip):
    path, net = tiny_clip
    images = torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    extractor = FidelityFeatures("clip-vit-b-32", path)
    features = extract(extractor, images, batch_size=2)
    assert features.values.shape == (5, 16)
    assert features.probabilities is None
    scale, shift = (torch.tensor(v)[:, None, None] for v in (
        (0.26862954, 0.26130258, 0.27577711), (0.48145466, 0.4578275, 0.40821073)
    ))  # fmt: skip
    with torch.no_grad():
        expected = net.visual((images.expand(-1, 3, -1, -1) / 255 - shift) / scale)
    torch.testing.assert_close(features.values, expected, rtol=1e-3, atol=1e-4)
    assert extractor.key == FidelityFeatures("clip-vit-b-32", path).key
    assert extractor.key.startswith("clip-vit-b-32-")


def test_what_is_not_to_be_had_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in FIDELITY:
        with pytest.raises(DataError, match=f"weights of {name} cannot be downloaded .* copy that folder"):
            FidelityFeatures(name)
    with pytest.raises(DataError, match="no weights of vgg16 at"):
        FidelityFeatures("vgg16", tmp_path / "none.pth")
    with pytest.raises(ArgumentError, match="did you mean 'vgg16'"):
        FidelityFeatures("vgg")
    with pytest.raises(ArgumentError, match="leave out `weights`"):
        FidelityFeatures("dinov2-vit-s-14", tmp_path / "none.pth")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        FidelityFeatures("vgg16", tmp_path / "junk.pt")
    with pytest.raises(CheckpointError, match="holds other weights"):
        FidelityFeatures("clip-vit-b-32", tmp_path / "junk.pt")
