"""The gradient where an image meets itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.evaluation.seams import seam


def test_a_seam_is_measured_where_it_is():
    g = torch.Generator().manual_seed(0)
    whole = F.avg_pool2d(F.pad(torch.randn(64, 3, 32, 32, generator=g), (1, 1, 1, 1), mode="circular"), 3, 1)
    assert seam(whole, "x") == pytest.approx(1, abs=0.05)
    cut = whole[..., :24]
    assert seam(cut, "x") > 1.3
    assert seam(cut, "y") == pytest.approx(1, abs=0.05)
    with pytest.raises(ArgumentError, match="not 'z'"):
        seam(cut, "z")
    with pytest.raises(ShapeError, match="sides of at least 3"):
        seam(cut[0], "x")
