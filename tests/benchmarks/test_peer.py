"""A checkout's network, here one that a test writes: what is checked is how it is found, filled and compared."""

from __future__ import annotations

import sys

import pytest
import torch

from aliasfree.errors import ArgumentError
from benchmarks import network
from benchmarks.builds import make_network
from benchmarks.peer import published_unet
from benchmarks.results import Settings

SHAPE = (1, 3, 8, 8)
CPU = torch.device("cpu")
UNET = """
from modules.siblings import CONFIGS
from torch import nn
from aliasfree.models import AliasFreeUNet2DModel

class UNet(nn.Module):
    def __init__(self, c_in, c_out, image_size, device, f_settings, variant):
        super().__init__()
        print("chatter")
        unet = AliasFreeUNet2DModel(CONFIGS[variant], image_size, c_in, c_out)
        for name, child in unet.named_children():
            self.add_module(name, child)
        object.__setattr__(self, "whole", unet)

    def forward(self, x, t):
        return self.whole(x, t).sample
"""


@pytest.fixture
def checkout(tmp_path):
    """checkout(configs) -> the path of one whose variant i is configs[i]."""

    def write(*configs: str, unet: str = UNET) -> str:
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "ddpm_models.py").write_text(unet)
        (tmp_path / "modules" / "siblings.py").write_text(f"CONFIGS = {configs}\n")
        return str(tmp_path)

    return write


def test_a_checkouts_network_gets_our_weights_and_gives_our_output(checkout, capsys):
    path, before = checkout("A", "B-2N", "C-2N", "D-2N"), list(sys.path)
    for config in ("A", "D-2N"):
        ours = make_network(config, SHAPE, CPU)
        published = published_unet(path, ours)
        x, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 900])
        torch.testing.assert_close(published(x, t).sample, ours(x, t).sample)
    assert sys.path == before
    assert not any(name.split(".")[0] == "modules" for name in sys.modules)
    assert capsys.readouterr().out == ""


def test_a_checkout_is_timed_with_the_rest(checkout):
    settings = Settings(extent="quick", peer=checkout("A", "B-2N", "C-2N", "D-2N"))
    rows = network.measure_mode("forward", "float32", SHAPE, settings)
    assert ["published / ours" in row.ratios for row in rows] == [True, True, False]


def test_a_checkout_that_computes_something_else_is_refused(checkout):
    path = checkout("B-2N", "B-2N", "C-2N", "A")
    with pytest.raises(ArgumentError, match="computes another network"):
        published_unet(path, make_network("A", SHAPE, CPU))


def test_what_is_missing_is_named(checkout, tmp_path):
    model = make_network("A", SHAPE, CPU)
    with pytest.raises(ArgumentError, match=r"no modules/ddpm_models\.py"):
        published_unet(str(tmp_path), model)
    path = checkout(unet="import a_package_nobody_has\n")
    with pytest.raises(ArgumentError, match="needs the package 'a_package_nobody_has'"):
        published_unet(path, model)
    with pytest.raises(ArgumentError, match="has no config D-hq"):
        published_unet(path, make_network("D-hq", SHAPE, CPU))
