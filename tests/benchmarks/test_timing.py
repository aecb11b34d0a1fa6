from __future__ import annotations

import gc
import time

import numpy as np
import pytest
import torch

from benchmarks.growth import slopes
from benchmarks.timing import Quartiles, Samples, alternate

CPU = torch.device("cpu")


def test_two_sleeps_of_known_ratio_are_found_to_have_it():
    samples = alternate({"long": lambda: time.sleep(0.02), "short": lambda: time.sleep(0.005)}, 0.3, CPU)
    ratio = samples.ratio("long", "short")
    assert 2 < ratio.lower <= ratio.median <= ratio.upper < 6
    assert 0.02 <= samples.seconds("long").median < 0.06


def test_functions_run_in_turn_after_the_warm_up():
    calls = []
    functions = {name: lambda name=name: (calls.append(name), time.sleep(0.002)) for name in "abc"}
    samples = alternate(functions, 0.0, CPU, least=4)
    assert samples.rounds == 4
    assert calls[-12:] == list("abc") * 4
    assert len(calls) == 12 + 2 * 3


def test_without_a_warm_up_each_reading_is_one_call():
    calls = []
    alternate({"short": lambda: calls.append(1)}, 0.0, CPU, least=3, warm_up=0)
    assert len(calls) == 3


def test_each_reading_follows_untimed_calls_of_its_own():
    order = []
    functions = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    alternate(functions, 0.0, CPU, least=2, warm_up=0, settle=2)
    assert order == ["a", "a", "a", "b", "b", "b"] * 2


def test_the_budget_sets_the_rounds_within_their_bounds():
    functions = {"a": lambda: time.sleep(0.002)}
    assert alternate(functions, 0.0, CPU, least=3).rounds == 3
    assert alternate(functions, 60.0, CPU, most=6).rounds == 6
    assert 6 < alternate(functions, 0.1, CPU, least=3, most=10**6).rounds < 60


def test_a_short_function_is_read_over_many_calls():
    count = 0

    def short() -> None:
        nonlocal count
        count += 1

    seconds = alternate({"short": short}, 0.0, CPU, least=3)["short"]
    assert count > 300
    assert (seconds < 1e-4).all()


def test_the_garbage_collector_rests_only_while_reading():
    seen = []

    def watch() -> None:
        seen.append(gc.isenabled())
        time.sleep(0.002)

    alternate({"watch": watch}, 0.0, CPU, least=3)
    assert seen == [True] * 2 + [False] * 3
    assert gc.isenabled()


def test_the_collector_is_back_after_an_error():
    calls = 0

    def fails_late() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.002)
        if calls > 4:
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        alternate({"fails": fails_late}, 1.0, CPU)
    assert gc.isenabled()


def test_ratios_are_those_of_each_round():
    samples = Samples(a=np.array([2.0, 4.0, 60.0]), b=np.array([1.0, 2.0, 10.0]))
    assert samples.ratio("a", "b") == Quartiles(2.0, 2.0, 4.0)


def test_slopes_are_the_exponents_of_the_growth():
    sizes = (1, 2, 4, 8)
    rounds = np.array([1.0, 3.0, 0.5])
    samples = Samples({f"square {n}": rounds * n**2.0 for n in sizes} | {f"flat {n}": rounds for n in sizes})
    np.testing.assert_allclose(slopes(samples, [f"square {n}" for n in sizes], sizes), 2, atol=1e-12)
    np.testing.assert_allclose(slopes(samples, [f"flat {n}" for n in sizes], sizes), 0, atol=1e-12)
