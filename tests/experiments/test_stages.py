from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from aliasfree.errors import ArgumentError
from aliasfree.experiments.stages import Stages


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def quiet() -> Console:
    return Console(quiet=True)


def test_the_time_left_follows_the_pace_and_not_the_guess() -> None:
    clock = Clock()
    with Stages({"a": 10, "b": 30}, quiet(), clock) as stages:
        with stages.stage("a") as report:
            assert stages.progress() == (0.0, None)
            clock.now = 10.0  # twice as slow as guessed
            report(1, 2)
            share, left = stages.progress()
            assert share == pytest.approx(5 / 40)
            assert left == pytest.approx(10 + 60)
            clock.now = 20.0
            report(2, 2)
        with stages.stage("b") as report:
            assert stages.progress()[1] == pytest.approx(60)
            clock.now = 30.0  # this one runs faster than the first
            report(1, 2)
            assert stages.progress()[1] == pytest.approx(10)
    assert stages.seconds == {"a": 20.0, "b": 10.0}


def test_all_stages_done_is_all_done() -> None:
    clock = Clock()
    stages = Stages({"a": 1, "b": 2}, quiet(), clock)
    for name in ("a", "b"):
        with stages.stage(name) as report:
            clock.now += 5
            report(1, 1)
    assert stages.progress() == (1.0, pytest.approx(0))


def test_without_a_terminal_there_are_plain_lines_with_the_time_left_now_and_then() -> None:
    clock, out = Clock(), io.StringIO()
    with Stages({"training A": 100}, Console(file=out), clock) as stages, stages.stage("training A") as report:
        for step in range(1, 101):
            clock.now += 1
            report(step, 100, f"step {step}/100 [x]")
    lines = out.getvalue().splitlines()
    assert lines[0] == "[  0%] training A"
    assert 4 <= len(lines) <= 7
    assert lines[1] == "[ 20%] training A, step 20/100 [x], 0:01:20 left"
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_there_is_one_bar_with_the_time_left() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with Stages({"training A": 100}, console, clock) as stages, stages.stage("training A") as report:
        clock.now = 25.0
        report(25, 100, "step 25/100")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "25%" in text
    assert "0:01:15 left" in text


def test_costs_must_be_positive() -> None:
    with pytest.raises(ArgumentError):
        Stages({}, quiet())
    with pytest.raises(ArgumentError):
        Stages({"a": 0}, quiet())
