"""Progress on a terminal, elsewhere, and nowhere."""

from __future__ import annotations

import io

from rich.console import Console

from aliasfree.progress import Live, bar, bars


def test_a_bar_is_silent_without_a_terminal_and_on_a_quiet_console():
    for console in (Console(file=io.StringIO()), Console(file=io.StringIO(), quiet=True, force_terminal=True)):
        with bar("reading", "images", console) as report:
            report(1, 2)
            report(2, 0)  # not known how many
        assert console.file.getvalue() == ""


def test_bars_on_a_terminal_name_their_stages_and_count():
    out = io.StringIO()
    with bars("images", Console(file=out, force_terminal=True, width=100)) as stage:
        stage("sampling")(3, 7)
        stage("comparing")(1, 2)
    shown = out.getvalue()
    assert "sampling" in shown
    assert "comparing" in shown
    assert "3/7" in shown


def live(console: Console, now: list[float]) -> Live:
    columns = ("training", "bar", "count", "loss {task.fields[loss]:.2f}")
    return Live(console, columns, {"loss": 0.0}, total=10, every=30, first=5, clock=lambda: now[0])


def test_lines_come_now_and_then_and_when_asked_for():
    out, now = io.StringIO(), [0.0]
    shown = live(Console(file=out), now)
    for second in range(0, 60, 4):
        now[0] = second
        shown.show(second, lambda: f"second {now[0]}", loss=0.5)
    now[0] = 60
    shown.show(10, lambda: "the last", now=True, loss=0.5)
    shown.close()
    assert out.getvalue().splitlines() == ["second 8", "second 40", "the last"]


def test_a_bar_that_stays_shows_its_fields_and_makes_no_words():
    out = io.StringIO()
    shown = live(Console(file=out, force_terminal=True, width=100), [0.0])

    def words() -> str:
        raise AssertionError("a terminal needs no line")

    shown.show(4, words, now=True, loss=0.25)
    shown.close()
    assert "4/10" in out.getvalue()
    assert "loss 0.25" in out.getvalue()
