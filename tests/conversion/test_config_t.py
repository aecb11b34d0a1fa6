"""Config T of models that were not built for it, and attention at a higher rate."""

from __future__ import annotations

import pytest
import torch

import aliasfree
from aliasfree import conversion_report, convert, revert
from aliasfree.errors import ArgumentError
from aliasfree.evaluation.equivariance import eq_t
from aliasfree.filters import BELOW_NYQUIST
from aliasfree.ops import filtered_activation2d


@pytest.mark.parametrize("name", ["UNet2DConditionModel", "AutoencoderKL"])
def test_t_is_circular_below_nyquist_and_comes_back_from_disk(make, run, name, tmp_path):
    model = make(name, torch.float32)
    stock, keys = run(model), list(model.state_dict())
    convert(model, "T")
    report = conversion_report(model)
    assert (report.config, report.padding_mode) == ("T", "circular")
    assert not any("acts on tokens; filtered" in e.text for e in report.left)  # the GEGLU too is filtered
    out = run(model)
    assert list(model.state_dict()) == keys
    model.save_pretrained(tmp_path)
    loaded = getattr(aliasfree, type(model).__name__).from_pretrained(tmp_path)
    assert loaded._conversion == model._conversion
    torch.testing.assert_close(run(loaded.eval()), out, atol=1e-5, rtol=1e-5)
    assert torch.equal(run(revert(model)), stock)


def test_its_nonlinearities_run_at_twice_the_rate_in_training_and_four_times_outside(make):
    model = convert(make("UNet2DModel"), "T")
    x = torch.randn(1, 8, 16, 16, dtype=torch.float64)
    for training, rate in ((True, 2), (False, 4)):
        spec = BELOW_NYQUIST.at_rate(rate)
        wanted = filtered_activation2d(x, "silu", spec, spec, rate, "circular")
        torch.testing.assert_close(model.train(training).conv_act(x), wanted)


def test_it_commutes_with_fractional_shifts_better_than_d_and_with_attention_at_twice_the_rate_better_still(make):
    model = make("UNet2DModel")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def measure(config: str, **options: int) -> float:
        convert(model, config, padding_mode="circular", **options)
        decibels = eq_t(lambda v: model(v, 7).sample, x, fractional=True, periodic=True, repeats=2)
        revert(model)
        return float(decibels)

    d, t, higher = measure("D-hq"), measure("T"), measure("T", attention_rate=2)
    assert t > d + 3
    assert higher > t + 1


@pytest.mark.parametrize("name", ["UNet2DModel", "UNet2DConditionModel"])
def test_attention_at_a_higher_rate_is_a_setting_of_its_own(make, run, name):
    model = make(name)
    plain = run(convert(model, "B-hq", "circular"))
    revert(model)
    convert(model, "B-hq", "circular", attention_rate=2)
    out = run(model)
    assert out.shape == plain.shape
    assert 1e-6 < (out - plain).norm() / plain.norm() < 0.5
    touched = {e.kind for e in conversion_report(model).touched}
    assert "Attention" in touched
    assert model.config["alias_free_attention_rate"] == 2
    assert conversion_report(model).flops_after > 1.05 * conversion_report(model).flops_before
    revert(model)
    assert "alias_free_attention_rate" not in model.config


def test_rates_that_are_not_there_are_refused(make):
    with pytest.raises(ArgumentError, match="1, 2 or 4, not 3"):
        convert(make("UNet2DModel"), "T", attention_rate=3)
    with pytest.raises(ArgumentError, match="config A has no filters"):
        convert(make("UNet2DModel"), "A", attention_rate=2)
