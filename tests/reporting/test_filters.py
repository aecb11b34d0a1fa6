from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from aliasfree.errors import ArgumentError, ConfigError
from aliasfree.filters import FilterSpec
from aliasfree.reporting.filters import _response_2d, draw_filters, filter_table


def test_the_table_shows_the_papers_checkerboard_and_its_absence_in_ours() -> None:
    paper, ours, ideal = filter_table(["D-2N", "D-hq", "C-ideal"])
    assert paper.phase_gains == pytest.approx((0.377, 0.239, 0.239, 0.145), abs=1e-3)
    assert paper.stopband_attenuation_db < 12
    assert paper.kind == "jinc 3x3, Kaiser beta 2, sum 1"
    assert ours.phase_gains == pytest.approx((1, 1, 1, 1), abs=1e-9)
    assert ours.stopband_attenuation_db > 45
    assert ours.nyquist_gain == pytest.approx(0, abs=1e-9)
    assert math.isinf(ideal.stopband_attenuation_db)


@pytest.mark.parametrize("name", ["2", "hq", "radial", "ideal"])
def test_the_response_in_the_plane_agrees_with_the_one_along_the_axis(name: str) -> None:
    spec = FilterSpec.named(name)
    n = 101
    plane = _response_2d(spec, 2 * n - 1)
    frequency, magnitude = spec.response(n)
    along = np.abs(frequency - spec.cutoff) > 1e-9  # a brick wall is 0.5 on its edge
    np.testing.assert_allclose(plane[n - 1, n - 1 :][along], magnitude[along], atol=1e-12)
    np.testing.assert_allclose(plane, plane.T, atol=1e-12)


@pytest.mark.parametrize("names", [["D-2N"], ["B-0", "D-hq"], ["D-radial", "C-ideal"]])
def test_a_picture_is_drawn_with_one_row_a_config_and_nothing_is_left_beside_it(names: list[str], tmp_path) -> None:
    path = tmp_path / "new" / "filters.png"
    draw_filters(names, path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] == 1700
    assert pixels.shape[0] == pytest.approx(370 * len(names) + 20, abs=1)
    rows = np.array_split(pixels, len(names))
    assert all(len(np.unique(r.reshape(-1, 3), axis=0)) > 20 for r in rows)
    assert [p.name for p in path.parent.iterdir()] == ["filters.png"]


def test_a_config_without_a_filter_or_an_unknown_one_is_refused_before_anything_is_written(tmp_path) -> None:
    for names, error in ((["A"], ConfigError), (["D-2N", "D-22"], ConfigError), ([], ArgumentError)):
        with pytest.raises(error):
            draw_filters(names, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="filters nothing"):
        filter_table(["A"])
    assert not list(tmp_path.iterdir())
