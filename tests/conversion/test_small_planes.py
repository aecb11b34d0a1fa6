"""Networks that go down to planes of a pixel or two, as score models with FIR filters do."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel

from aliasfree import convert, revert
from aliasfree.config import Config
from aliasfree.conversion.plane_filters import PlaneFilters


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


def test_a_plane_is_extended_before_and_after_and_may_be_smaller_than_what_is_added():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    modes = {"zeros": "constant", "circular": "circular", "reflect": "reflect"}
    for padding, mode in modes.items():
        how = PlaneFilters(Config.parse("D-hq"), padding)
        assert torch.equal(how.extend(x, 2, 1), torch.nn.functional.pad(x, (1, 2, 1, 2), mode=mode))
    around = PlaneFilters(Config.parse("D-hq"), "circular").extend(x, 5, 4)
    assert torch.equal(around, x.repeat(1, 1, 5, 4)[:, :, 6 - 4 : 9 + 5, 4 - 4 : 8 + 5])
