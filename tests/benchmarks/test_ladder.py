"""The ladder of damaged real images."""

from __future__ import annotations

import torch

from aliasfree.measuring.real_images import RealImages, open_real
from benchmarks.ladder import CLASSES, ladders


def test_every_step_has_as_many_images_and_none_of_those_that_it_is_compared_with():
    real: RealImages = open_real("digits")
    num = 100
    assert real.test_labels is not None
    assert int((real.test_labels < 1).sum()) < num  # one class has too few test images
    steps = dict(ladders(real, num))
    assert all(images.shape == (num, 1, 16, 16) for ladder in steps.values() for _, images in ladder)
    assert [name for name, _ in steps["fewer classes"]] == [f"{k} of them" for k in CLASSES]
    compared = {image.numpy().tobytes() for image in real.train[:num]}
    others = {image.numpy().tobytes() for image in torch.cat([real.test, real.train[num:]])}
    for _, images in steps["fewer classes"]:
        drawn = {image.numpy().tobytes() for image in images}
        assert drawn <= others
        assert not drawn & compared
