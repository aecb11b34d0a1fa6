"""The frame: coordinates that move with the picture."""

from __future__ import annotations

import pytest
import torch

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.nn import Frame
from aliasfree.ops import translate2d


def features(frame: Frame, n: int = 1, size: tuple[int, int] = (16, 16), count: int = 2) -> torch.Tensor:
    return frame.features(n, size, count, torch.float64)


def test_features_are_band_limited_and_of_unit_mean_square():
    planes = features(Frame(), size=(16, 24))
    assert planes.shape == (1, 8, 16, 24)
    torch.testing.assert_close(planes.square().mean((2, 3)), torch.ones(1, 8, dtype=torch.float64))
    spectrum = torch.fft.fft2(planes).abs()
    assert spectrum[..., 3:-2, :].abs().max() < 1e-9
    assert spectrum[..., 3:-2].abs().max() < 1e-9


def test_a_shifted_frame_has_shifted_features():
    shifted = features(Frame(translate=(1.3, -0.6)))
    torch.testing.assert_close(shifted, translate2d(features(Frame()), 1.3, -0.6))
    assert (shifted - features(Frame())).abs().max() > 0.1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_frame_turned_by_quarters_has_turned_features(k):
    torch.testing.assert_close(features(Frame(rotate=90.0 * k)), torch.rot90(features(Frame()), k, (2, 3)))


def test_a_zoomed_frame_reads_nearer_the_centre():
    wide, zoomed = features(Frame(), size=(32, 32)), features(Frame(zoom=2.0), size=(16, 16))
    # pixel i of the zoomed frame lies at (i - 7.5) / 2 of 16, which is (i - 7.5) of 32
    torch.testing.assert_close(zoomed, wide[..., 8:24, 8:24])


def test_each_image_may_have_a_frame_of_its_own():
    frame = Frame(rotate=torch.tensor([0.0, 90.0]), translate=([0.0, 2.0], 0.0))
    both = features(frame, 2)
    torch.testing.assert_close(both[:1], features(Frame()))
    torch.testing.assert_close(both[1:], features(Frame(rotate=90.0, translate=(2.0, 0.0))))
    torch.testing.assert_close(features(frame.repeat(2), 4), both.repeat(2, 1, 1, 1))
    parts = frame.split([1, 1])
    torch.testing.assert_close(torch.cat([features(part) for part in parts]), both)


def test_wrong_numbers_of_amounts_are_refused():
    with pytest.raises(ShapeError, match="one for each of 3 images, not 2"):
        features(Frame(rotate=[0.0, 1.0]), 3)
    with pytest.raises(ArgumentError, match="two numbers of pixels"):
        Frame(translate=(1.0,))  # type: ignore[arg-type]
