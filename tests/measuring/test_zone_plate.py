"""A picture made half as large and large again by a config's own layers."""

from __future__ import annotations

import pytest
import torch

from aliasfree.measuring.zone_plate import down_and_up, zone_plate


def ring(side: int, low: float, high: float) -> torch.Tensor:
    line = torch.arange(side) - (side - 1) / 2
    radius = (line[:, None] ** 2 + line**2).sqrt()
    return (radius > low * side / 2) & (radius < high * side / 2)


@pytest.mark.parametrize("name", ["B-hq", "D-hq", "T", "D-ideal"])
def test_a_good_filter_keeps_what_half_the_pixels_hold_and_makes_nothing_of_the_rest(name):
    plate = zone_plate(128)
    after = down_and_up(name, plate)
    kept, gone = ring(128, 0.0, 0.3), ring(128, 0.75, 0.95)
    assert (after - plate)[0, 0][kept].square().mean() < 0.02
    assert after[0, 0][gone].square().mean() < 0.05


def test_the_baseline_makes_false_rings_of_what_cannot_be_held():
    gone = ring(128, 0.75, 0.95)
    assert down_and_up("A", zone_plate(128))[0, 0][gone].square().mean() > 0.3


def test_the_zone_plate_is_finest_at_the_middle_of_its_edges():
    plate = zone_plate(64)[0, 0]
    assert (plate[32, -4:-1] - plate[32, -3:]).abs().mean() > 0.9 * (plate[32, 32:35] - plate[32, 33:36]).abs().mean()
    assert plate.min() >= -1
    assert plate.max() <= 1
