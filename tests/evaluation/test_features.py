"""Feature extractors: what they give, and what they say when they cannot."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ShapeError
from aliasfree.evaluation.classifier import Classifier, Shape
from aliasfree.evaluation.features import ClassifierFeatures, PixelFeatures, extract


def pixels(n: int, channels: int = 1, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


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


@pytest.mark.parametrize("images", [pixels(1)[0], pixels(1).float(), pixels(1)[:0], pixels(1, 2)])
def test_only_uint8_images_are_taken(images):
    with pytest.raises(ShapeError, match="expected uint8 images"):
        extract(PixelFeatures(), images)
