from __future__ import annotations

import pytest

from aliasfree.config import PAPER_CONFIGS, Config, known_names
from aliasfree.errors import ConfigError
from aliasfree.filters import FilterSpec


def test_the_papers_thirteen_rows_are_there_in_order():
    assert PAPER_CONFIGS == (
        "A", "B-0", "C-0", "D-0", "B-1", "C-1", "D-1", "B-1N", "C-1N", "D-1N", "B-2N", "C-2N", "D-2N",
    )  # fmt: skip


@pytest.mark.parametrize("name", known_names())
def test_every_name_parses_and_prints_back(name):
    config = Config.parse(name)
    assert str(config) == name
    assert Config.parse(config.to_config()) == config
    assert config.filters_resampling == (name[0] in "BDTR")
    assert config.filters_activations == (name[0] in "CDTR")


@pytest.mark.parametrize("letter", "BCD")
@pytest.mark.parametrize("filter_name", ["hq", "radial", "ideal"])
def test_our_filters_are_known_for_every_letter(letter, filter_name):
    assert f"{letter}-{filter_name}" in known_names()


def test_paper_names_mean_what_the_paper_evaluates():
    for name, beta, normalize in (("D-0", 0, False), ("D-1", 1, False), ("D-1N", 1, True), ("D-2N", 2, True)):
        spec = Config.parse(name).up
        assert spec == FilterSpec("jinc", 3, 0.5, beta, normalize=normalize, gain="none")


def test_a_config_without_a_name_survives_plain_values():
    config = Config("D", FilterSpec(taps=8, kaiser_beta=3.0), FilterSpec.named("hq"), oversample=4)
    assert Config.parse(config.to_config()) == config
    assert "taps=8" in str(config)
    assert isinstance(Config("D", FilterSpec.named("hq"), FilterSpec.named("hq"), oversample=4).to_config(), dict)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("D2N", "D-2N"), ("d-hq", "D-hq"), ("E-hq", "D-hq"), ("D-3N", "D-2N"), ("A-hq", "B-hq")],
)
def test_unknown_names_list_the_valid_ones_and_the_nearest(name, nearest):
    with pytest.raises(ConfigError) as error:
        Config.parse(name)
    assert "did you mean" in str(error.value)
    assert nearest in str(error.value)
    assert "Valid: A, B-0, C-0" in str(error.value)


@pytest.mark.parametrize(
    "arguments", [("A", FilterSpec()), ("B",), ("D", FilterSpec()), ("E", FilterSpec(), FilterSpec())]
)
def test_contradictory_configs_are_refused(arguments):
    with pytest.raises(ConfigError):
        Config(*arguments)


def test_config_e_of_the_paper_is_told_to_be_a_way_of_sampling():
    with pytest.raises(ConfigError, match=r"no network of its own: train one of A to D, .*`rotate`"):
        Config.parse("E")
