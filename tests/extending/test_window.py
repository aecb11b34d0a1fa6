"""A window is added by one registration, is used, and is refused where it cannot be one."""

from __future__ import annotations

import numpy as np
import pytest

from aliasfree import filters
from aliasfree.errors import ConfigError
from aliasfree.filters import FILTER_NAMES, FilterSpec, register_window


@pytest.fixture
def hann():
    register_window("hann", np.hanning)
    yield
    del filters._WINDOWS["hann"]
    filters._kernel.cache_clear()


def test_a_registered_window_multiplies_the_kernel(hann):
    bare = FilterSpec(taps=12, normalize=False).kernel()
    w = np.hanning(12)
    np.testing.assert_allclose(FilterSpec(taps=12, window="hann", normalize=False).kernel(), bare * np.outer(w, w))
    assert FilterSpec(**FilterSpec(taps=12, window="hann").to_dict()).window == "hann"


def test_a_parameter_that_it_does_not_have_and_taps_that_it_leaves_nothing_of_are_refused(hann):
    with pytest.raises(ConfigError, match="has no kaiser_beta"):
        FilterSpec(taps=12, window="hann", kaiser_beta=4.0)
    with pytest.raises(ConfigError, match="leaves nothing of 2 taps"):
        FilterSpec(taps=2, window="hann").kernel()


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("kaiser", np.hanning, "already"),
        ("short", lambda taps: np.ones(taps - 1), "5 finite numbers"),
        ("lopsided", np.arange, "not symmetric"),
        ("two", lambda taps, beta: np.ones(taps), "function of the number of taps"),
    ],
)
def test_what_is_no_window_is_refused_when_it_is_registered(name, function, says):
    with pytest.raises(ConfigError, match=says):
        register_window(name, function)
    with pytest.raises(TypeError):
        filters.WINDOWS["direct"] = function


def test_the_windows_of_named_filters_are_kaisers():
    assert all(spec.window.startswith("kaiser") for spec in FILTER_NAMES.values())
