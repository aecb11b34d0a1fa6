"""Networks that go down to planes of a pixel or two, as score models with FIR filters do."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel

from aliasfree import convert, revert


@pytest.mark.parametrize("padding", [None, "circular", "zeros"])
@pytest.mark.parametrize(("side", "levels"), [(8, 4), (8, 3)])
def test_a_fir_network_runs_down_to_one_pixel(side, levels, padding):
    model = UNet2DModel(
        sample_size=side, block_out_channels=(8,) * levels, norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        down_block_types=("SkipDownBlock2D",) * levels, up_block_types=("SkipUpBlock2D",) * levels,
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, side, side)
    with torch.no_grad():
        stock = model(x, 3).sample
        for config in ("B-hq", "D-hq"):
            convert(model, config, padding_mode=padding)
            found = model(x, 3).sample
            assert found.shape == x.shape
            assert found.isfinite().all()
            revert(model)
        assert torch.equal(model(x, 3).sample, stock)
