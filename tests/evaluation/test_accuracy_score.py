"""The classification accuracy score falls with everything that makes generated images a worse teacher."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ShapeError
from aliasfree.evaluation import classification_accuracy_score as score
from aliasfree.measuring.real_images import open_real


@pytest.fixture(scope="module")
def digits():
    from aliasfree.data import unit_range

    real = open_real("digits", (8, 8), 1)
    return unit_range(real.train), real.train_labels, unit_range(real.test), real.test_labels


def test_worse_images_teach_less(digits):
    images, labels, test, test_labels = digits
    mixed = torch.where(torch.rand(len(labels)) < 0.8, torch.randint(0, 10, labels.shape), labels)
    sets = {
        "real": (images, labels),
        "noisy": ((images + 1.2 * torch.randn(images.shape)).clamp(-1, 1), labels),
        "confused": (images, mixed),
        "no class 7 to 9": (images[labels < 7], labels[labels < 7]),
    }
    found = {name: score(*x, test, test_labels, epochs=6) for name, x in sets.items()}
    values = {name: e.value for name, e in found.items()}
    assert values["real"] > 0.93, values
    assert max(values["noisy"], values["confused"], values["no class 7 to 9"]) < values["real"] - 0.03, values
    assert values["no class 7 to 9"] < (test_labels < 7).double().mean() + 0.02
    assert found["real"].low < values["real"] <= found["real"].high


def test_labels_go_with_images(digits):
    images, labels, test, test_labels = digits
    with pytest.raises(ShapeError):
        score(images, labels, test, test_labels[1:])
