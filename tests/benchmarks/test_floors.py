from __future__ import annotations

import numpy as np
import pytest
import torch

from aliasfree.filters import FilterSpec, separable_terms
from benchmarks.floors import Work, arithmetic_floor, probes, step_multiply_adds, work
from benchmarks.timing import Samples

CPU = torch.device("cpu")
SHAPE = (2, 3, 8, 8)
PIXELS = 2 * 3 * 8 * 8


def multiply_adds_by_counting(spec: FilterSpec, factor: int, up: bool) -> int:
    """Per pixel of the lower rate, from the taps that each output really meets in the interior."""
    n = 8
    if up:  # output i of a row of n factor meets every factor-th tap
        direct = sum(len(range(i % factor, spec.taps, factor)) for i in range(factor)) ** 2
        rows = sum(len(range(i % factor, spec.taps, factor)) for i in range(factor))
        separable = len(separable_terms(spec, factor, up=True)) * (rows + factor * rows)
        return min(direct, separable)
    direct = spec.taps**2
    one_axis_then_the_other = n * (n * factor) * spec.taps + n * n * spec.taps
    return min(direct, len(separable_terms(spec, factor, up=False)) * one_axis_then_the_other // n**2)


@pytest.mark.parametrize("name", ["2N", "hq", "radial"])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("up", [True, False])
def test_the_multiply_adds_are_those_of_the_polyphase_algorithm(name, factor, up):
    spec = FilterSpec.named(name).at_rate(factor)
    assert step_multiply_adds(spec, factor, up=up) == multiply_adds_by_counting(spec, factor, up)


def test_the_work_of_the_named_filters():
    forward = {name: work("filtered GELU", FilterSpec.named(name), SHAPE, backward=False) for name in ("2N", "hq")}
    assert forward["2N"] == Work(2, 18 * PIXELS, 4 * PIXELS)
    assert forward["hq"] == Work(2, 72 * PIXELS, 4 * PIXELS)
    both = work("filtered GELU", FilterSpec.named("hq"), SHAPE, backward=True)
    assert both == Work(5, 180 * PIXELS, 4 * PIXELS, 4 * PIXELS)


def test_up_and_downsampling_between_the_same_planes_cost_the_same():
    spec = FilterSpec.named("hq")
    for backward in (False, True):
        up = work("upsampling", spec, (2, 3, 8, 8), backward=backward)
        down = work("downsampling", spec, (2, 3, 16, 16), backward=backward)
        assert up.multiply_adds == down.multiply_adds
        assert up.planes == 4 * down.planes


def test_the_arithmetic_floor_adds_products_and_evaluations():
    samples = Samples(product=np.full(3, 512.0**3), evaluation=np.full(3, 2.0**18), derivative=np.full(3, 2.0**19))
    floor = arithmetic_floor(samples, Work(2, multiply_adds=10, evaluations=4, derivatives=4), CPU)
    np.testing.assert_allclose(floor, 10 + 4 + 8)


def test_the_probes_run_and_the_copy_moves_the_planes():
    functions = probes(Work(5, 1), 1000, torch.bfloat16, CPU)
    assert set(functions) == {"memory floor", "product", "evaluation", "derivative"}
    for function in functions.values():
        function()
    copied = functions["memory floor"]()
    assert copied.numel() == 2500  # read and written: 5000 numbers, five planes
    assert copied.dtype == torch.bfloat16
