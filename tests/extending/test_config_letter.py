"""A config letter is one registration: the page's example, in names, networks, conversion and settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from aliasfree import AliasFreeUNet2DModel, convert
from aliasfree.config import LETTERS, Config, Traits, known_names, register_letter
from aliasfree.errors import ArgumentError, ConfigError
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.nn.attention import CrossCovarianceAttention
from aliasfree.tuning.settings import TuneSettings

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def _as_it_was():
    before = dict(LETTERS)
    yield
    LETTERS.clear()
    LETTERS.update(before)


def test_the_letter_of_the_page_is_a_name_and_makes_a_network_by_its_traits():
    assert "S" not in known_names()
    section = PAGE.read_text().partition("## Add a config letter")[2]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})
    assert "S" in known_names()
    assert str(Config.parse("S")) == "S"
    model = AliasFreeUNet2DModel("S", sample_size=16, base_channels=4)
    options = {k: model.config[k] for k in ("padding_mode", "preconditioning", "frame_features")}
    assert options == {"padding_mode": "zeros", "preconditioning": "none", "frame_features": 0}
    assert any(isinstance(m, CrossCovarianceAttention) for m in model.modules())
    assert model(torch.zeros(1, 3, 16, 16), 5).sample.shape == (1, 3, 16, 16)


def test_a_letter_with_layers_of_its_own_is_refused_by_conversion_and_tuning():
    register_letter("S", replace(LETTERS["T"], convertible=False))
    stock = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.SiLU())
    with pytest.raises(ArgumentError, match="config S has layers that stock networks do not have"):
        convert(stock, "S")
    with pytest.raises(ArgumentError, match="`config` S is a network of its own"):
        TuneSettings(model="vae", data="digits", config="S", out="tuned")


def test_a_letter_with_a_filter_behind_its_dash_converts_by_its_traits():
    register_letter("P", replace(LETTERS["D"], description="D on a torus", periodic=True))
    model = convert(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU()), "P-hq")
    assert model[0].padding_mode == "circular"
    assert "P-hq" in known_names()


@pytest.mark.parametrize(
    ("letter", "traits", "says"),
    [
        ("Sx", Traits(description="", resampling=True), "one capital"),
        ("D", Traits(description="", resampling=True), "D is taken"),
        ("E", Traits(description="", resampling=True), "E is taken"),
        ("S", Traits(description=""), "filters nothing"),
        ("S", Traits(description="", resampling=True, radial=True), "needs a periodic plane"),
        ("S", Traits(description="", activations=True, motions=frozenset({"zooms"})), "motions are shifts and turns"),
        ("S", Traits(description="", activations=True, oversample=1, filter=BELOW_NYQUIST), "rates below 2"),
        ("S", Traits(description="", resampling=True, attention=True), "give activations too"),
        ("S", Traits(description="", resampling=True, oversample=4), "no filter of its own"),
    ],
)
def test_traits_that_no_network_can_have_are_refused_at_registration(letter, traits, says):
    with pytest.raises(ConfigError, match=says):
        register_letter(letter, traits)
    assert LETTERS.get(letter) is not traits


def test_the_old_property_says_what_to_ask_instead():
    with pytest.warns(DeprecationWarning, match=r"Config\.traits"):
        assert Config.parse("T").is_equivariant
