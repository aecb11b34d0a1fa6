from __future__ import annotations

import numpy as np
import pytest

from aliasfree.errors import ConfigError
from aliasfree.filters import (
    FILTER_NAMES,
    FilterSpec,
    downsampling_kernel,
    separable_terms,
    upsampling_kernel,
)

OURS = ("hq", "radial")


@pytest.mark.parametrize("taps", [3, 5, 6])
@pytest.mark.parametrize("beta", [None, 0, 1, 2])
@pytest.mark.parametrize("cutoff", [0.5, 0.25])
def test_jinc_kernels_are_the_published_ones(golden, taps, beta, cutoff):
    g = golden("kernels")
    key = f"N{taps}.wc_pi_{round(1 / cutoff)}.beta_{'none' if beta is None else beta}"
    raw = FilterSpec("jinc", taps, cutoff, beta, normalize=False, gain="none").kernel()
    unit = FilterSpec("jinc", taps, cutoff, beta, normalize=True, gain="none").kernel()
    np.testing.assert_allclose(raw, g[f"{key}.unnorm64"].numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(raw.sum(), g[f"{key}.sum64"].item(), rtol=1e-13)
    np.testing.assert_allclose(unit, g[f"{key}.ref"].numpy(), rtol=2e-7, atol=1e-12)  # a unit in the last place


def test_the_papers_kernel_leaves_a_checkerboard_and_ours_do_not():
    assert FilterSpec.named("2N").phase_gains() == pytest.approx(np.array([[0.377, 0.239], [0.239, 0.145]]), abs=5e-4)
    for name in (*OURS, "ideal"):
        assert FilterSpec.named(name).phase_gains() == pytest.approx(np.ones((2, 2)), abs=1e-12)


def test_odd_kernels_with_unity_gain_have_equal_phase_gains():
    spec = FilterSpec("sinc", taps=7, kaiser_beta=3.0)
    assert spec.phase_gains() == pytest.approx(np.ones((2, 2)), abs=1e-12)
    assert np.ptp(FilterSpec("sinc", taps=7, kaiser_beta=3.0, gain="none").phase_gains()) > 1e-3


def test_hq_meets_its_specification():
    frequency, magnitude = FilterSpec.named("hq").response(4097)
    db = 20 * np.log10(np.maximum(magnitude, 1e-12))
    assert db[frequency >= 0.75].max() < -46
    assert db[frequency == 0.25][0] == pytest.approx(-0.021, abs=2e-3)
    assert db[frequency == 0.5][0] == pytest.approx(-6.03, abs=0.02)
    assert FilterSpec.named("hq").stopband_attenuation_db == pytest.approx(db[frequency >= 0.75].max(), abs=0.1)


def test_radial_filters_alike_in_all_directions():
    def gain(spec: FilterSpec, radius: float, angle: float) -> float:
        k, x = spec.kernel(), np.arange(spec.taps) - (spec.taps - 1) / 2
        return float(np.cos(np.pi * radius * np.sin(angle) * x) @ k @ np.cos(np.pi * radius * np.cos(angle) * x))

    angles = np.linspace(0, np.pi / 4, 7)
    spread = {n: max(np.ptp([gain(FilterSpec.named(n), r, a) for a in angles]) for r in (0.3, 0.5, 0.7)) for n in OURS}
    assert spread["radial"] < 0.02
    assert spread["hq"] > 0.2


@pytest.mark.parametrize("name", [n for n in FILTER_NAMES if n != "ideal"])
def test_kernels_are_symmetric_and_their_separable_terms_add_up(name):
    spec = FilterSpec.named(name)
    k = spec.kernel()
    for other in (k.T, k[::-1], k[:, ::-1]):
        np.testing.assert_allclose(k, other, atol=1e-16)
    for up in (True, False):
        terms = separable_terms(spec, 2, up=up)
        total = sum(np.outer(column, row) for column, row in terms)
        np.testing.assert_allclose(total, upsampling_kernel(spec, 2) if up else downsampling_kernel(spec, 2), atol=1e-9)
    assert len(separable_terms(FilterSpec.named("hq"), 2, up=True)) == 1
    assert len(separable_terms(FilterSpec.named("2N"), 2, up=True)) == 2


def test_normalised_kernels_sum_to_one_and_the_others_do_not():
    for name in ("0N", "1N", "2N", "hq", "radial", "ideal"):
        assert FilterSpec.named(name).dc_gain == pytest.approx(1, abs=1e-12)
    assert FilterSpec.named("0").dc_gain == pytest.approx(1.154, abs=1e-3)
    assert FilterSpec.named("2").dc_gain == pytest.approx(0.520, abs=1e-3)


def test_a_filter_at_another_rate_is_the_same_analogue_filter():
    base, four = FilterSpec.named("hq"), FilterSpec.named("hq").at_rate(4)
    assert (four.taps, four.cutoff) == (24, 0.25)
    f2, m2 = base.response(257)
    f4, m4 = four.response(513)
    np.testing.assert_allclose(m4[:257], m2, atol=0.02)
    assert np.allclose(f4[:257] * 2, f2)


def test_the_kernel_handed_out_is_the_callers_own():
    spec = FilterSpec.named("hq")
    spec.kernel()[:] = 0
    assert spec.kernel().sum() == pytest.approx(1)


def test_a_spec_survives_plain_values():
    for spec in FILTER_NAMES.values():
        assert FilterSpec(**spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "sink"}, "did you mean 'sinc'"),
        ({"gain": "two"}, "'unity' or 'none'"),
        ({"window": "kaser"}, "did you mean 'kaiser'"),
        ({"taps": 0}, "at least 1 tap"),
        ({"cutoff": 1.5}, "pi/2 is 0.5"),
        ({"kaiser_beta": -1.0}, ">= 0"),
    ],
)
def test_impossible_filters_are_refused_with_the_cure(arguments, message):
    with pytest.raises(ConfigError, match=message):
        FilterSpec(**arguments)


def test_unknown_filter_names_list_the_valid_ones():
    with pytest.raises(ConfigError, match=r"did you mean 'hq'\? Valid: 0, 1, 2, 0N"):
        FilterSpec.named("HQ")


def test_a_filter_too_short_to_reach_every_phase_is_refused():
    with pytest.raises(ConfigError, match="too short to upsample by 4"):
        upsampling_kernel(FilterSpec(taps=2), 4)
