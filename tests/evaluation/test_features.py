"""Feature extractors: what they give, and what they say when they cannot."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from aliasfree.errors import CheckpointError, DataError, ShapeError
from aliasfree.evaluation.classifier import Classifier, Shape
from aliasfree.evaluation.features import ClassifierFeatures, InceptionFeatures, PixelFeatures, extract

inception = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


def pixels(n: int, channels: int = 1, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


class _Blank(inception.FeatureExtractorInceptionV3):
    """Inception with the weights it starts from."""

    def load_state_dict(self, *_, **__):
        return None


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file of torch-fidelity's form with weights that were never trained, as half as large."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    net = _Blank("aliasfree", ["2048"], feature_extractor_weights_path=str(path))
    torch.save({name: v.half() if v.is_floating_point() else v for name, v in net.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_features_are_block_means(channels):
    x = pixels(3, channels)
    features = extract(PixelFeatures(), x)
    assert features.values.shape == (3, 64 * channels)
    assert features.probabilities is None
    assert features.values[0, 0].item() == pytest.approx(float(x[0, 0, :2, :2].float().mean()) / 127.5 - 1, abs=1e-6)


def test_classifier_features_lead_to_its_probabilities_and_know_its_weights():
    torch.manual_seed(0)
    one, other = (Classifier(Shape(1, 4, 8)).eval() for _ in range(2))
    features = extract(ClassifierFeatures(one, 0.5), pixels(7), batch_size=3)
    assert features.values.shape == (7, 32)
    expected = one.probabilities(pixels(7).float() / 127.5 - 1)
    assert torch.allclose(features.probabilities, expected, atol=1e-6)
    keys = {ClassifierFeatures(net, 0.5).key for net in (one, one, other)}
    assert len(keys) == 2


def test_inception_features_are_those_of_torch_fidelity(weights):
    extractor = InceptionFeatures(weights)
    grey = pixels(2)
    features = extract(extractor, grey)
    assert features.values.shape == (2, 2048)
    assert features.probabilities.shape == (2, 1008)
    assert torch.allclose(features.probabilities.sum(1), torch.ones(2), atol=1e-4)
    net = inception.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights))
    with torch.no_grad():
        (expected,) = net(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(features.values, expected, rtol=1e-4, atol=1e-5)
    assert extractor.key == InceptionFeatures(weights).key


def test_weights_that_are_not_to_be_had_get_a_sentence_with_the_way_to_them(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no Inception weights at .*`weights`, or take `features='classifier'`"):
        InceptionFeatures(tmp_path / "none.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"cannot be downloaded .*fetch https://.*\.pth on a machine with access"):
        InceptionFeatures()


def test_weights_in_the_hub_folder_are_found(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / inception.URL_INCEPTION_V3.rsplit("/", 1)[-1]
    place.parent.mkdir(parents=True)
    place.symlink_to(weights)
    assert InceptionFeatures().key == InceptionFeatures(weights).key


def test_other_and_damaged_weights_are_refused_and_no_code_is_run(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="other weights"):
        InceptionFeatures(path)
    torch.save({"a": Path("x")}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        InceptionFeatures(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match="no plain weights"):
        InceptionFeatures(path)


@pytest.mark.parametrize("images", [pixels(1)[0], pixels(1).float(), pixels(1)[:0], pixels(1, 2)])
def test_only_uint8_images_are_taken(images):
    with pytest.raises(ShapeError, match="expected uint8 images"):
        extract(PixelFeatures(), images)
