"""A converted block is one registration: the page's example, converted, reported, reverted and refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aliasfree import conversion_report, convert, revert
from aliasfree.conversion import Converted, register_block
from aliasfree.conversion.activations import FilteredActivation
from aliasfree.conversion.converted_module import CONVERTED
from aliasfree.errors import ArgumentError

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _as_it_was():
    before = dict(CONVERTED)
    yield
    CONVERTED.clear()
    CONVERTED.update(before)


class Half(nn.Module):
    def forward(self, x: Tensor, *, first: int = 0) -> Tensor:
        return x[..., first::2, first::2]


class Strided(nn.Conv2d):
    """A kind that has a rule of its own, registered by itself."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)[..., ::2, ::2]


def network(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), block)


@pytest.mark.filterwarnings("ignore:convert changed nothing")
def test_the_block_of_the_page_is_converted_reported_and_reverted_bit_for_bit():
    section = PAGE.read_text().partition("## Convert another block of diffusers")[2]
    names: dict[str, type] = {}
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], names)
    model, x = network(names["ConvUpsample"](4)), torch.randn(1, 3, 8, 8)
    before = model(x)
    after = convert(model, "B-hq")(x)
    assert after.shape == before.shape
    assert not torch.allclose(after, before, atol=1e-3)
    touched = {entry.name: entry.text for entry in conversion_report(model).touched}
    assert touched == {"1": "band-limited interpolation, then its convolution"}
    assert torch.equal(revert(model)(x), before)
    left = {e.name: e.text for e in conversion_report(convert(model, "C-hq", inputs=[x]), inputs=[x]).left}
    assert left["1"] == "config C"


def test_every_rule_that_a_block_may_have_converts_and_reports_it():
    @register_block
    class AliasFreeStrided(Converted, Strided):
        change = "at full rate, low-pass, decimation by 2"

        def forward(self, input: Tensor) -> Tensor:
            return self._filters.decimate(nn.Conv2d.forward(self, input), 2)

    class Cube(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x**3

    @register_block
    class AliasFreeCube(FilteredActivation, Cube): ...

    model = convert(network(nn.Sequential(Strided(4, 4, 3, padding=1), Cube())), "D-hq")
    report = conversion_report(model)
    assert [(e.kind, e.text) for e in report.touched] == [
        ("Strided", AliasFreeStrided.change),
        ("Cube", "filtered on planes"),
    ]


def test_a_block_that_could_not_work_is_refused_at_registration():
    def refused(says: str, **members: object) -> None:
        bases = members.pop("bases", (Converted, Half))
        with pytest.raises(ArgumentError, match=says):
            register_block(type("AliasFreeMine", bases, {"change": "low-pass", **members}))
        assert Half not in CONVERTED

    def forward(self: Converted, x: Tensor, *, first: int = 0) -> Tensor:
        return self._filters.decimate(x, 2)

    refused("names no stock class", bases=(Converted,))
    refused("SiLU becomes AliasFreeSiLU already", bases=(Converted, nn.SiLU), forward=forward)
    refused("does not say what it does", change="", forward=forward)
    refused("the forward of Half", forward=Half.forward)
    refused("does not take what Half.forward takes", forward=lambda self, x: x)
    refused("an __init__", forward=forward, __init__=lambda self: None)
    refused("made of resampling and activations", forward=forward, acts_in=("frame",))
