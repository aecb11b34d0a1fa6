"""What sampling will take is told before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from aliasfree import AliasFreeUNet2DModel
from aliasfree.errors import ArgumentError
from aliasfree.sampling.cost import check_cost
from aliasfree.sampling.denoisers import DenoiserFolder
from aliasfree.sampling.sampler import Sampler, SampleSettings


@pytest.fixture
def folder(tmp_path) -> Path:
    AliasFreeUNet2DModel("A", 16, 1, 1, 8).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def test_more_than_there_is_room_for_is_refused_with_what_it_takes_unless_it_is_wanted(folder, tmp_path):
    usual = Sampler(DenoiserFolder(folder), SampleSettings(), "cpu")
    check_cost(usual, 64, tmp_path / "x", kept=64, files=64, yes=False)
    with pytest.raises(ArgumentError, match=r"1e\+10 images will take about 40,960 GB of disk, .* free; .*`yes=True`"):
        check_cost(usual, 10**10, tmp_path / "x", kept=464, files=10**10, yes=False)
    with pytest.raises(ArgumentError, match="GB of memory"):
        check_cost(usual, 10**10, tmp_path / "x", kept=10**10, files=0, yes=False)
    large = Sampler(DenoiserFolder(folder), SampleSettings(batch_size=10**9), "cpu")
    with pytest.raises(ArgumentError, match=r"1e\+09 images will take about 245,760 GB of memory"):
        check_cost(large, 10**9, tmp_path / "x", kept=464, files=0, yes=False)
    check_cost(large, 2, tmp_path / "x", kept=2, files=2, yes=False)
    check_cost(large, 10**9, tmp_path / "x", kept=464, files=10**9, yes=True)
