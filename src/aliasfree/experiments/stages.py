"""One progress bar over several stages of different cost, with the time left for all of them together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from aliasfree.errors import ArgumentError
from aliasfree.progress import Live

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Stages"]

Report = Callable[..., None]
"""report(done, total, note=""): how much of the stage is done."""

SECONDS_BETWEEN_LINES = 20.0


class Stages:
    """Progress through named stages, to be used in a `with`: a bar on a terminal, a line now and then elsewhere.

    costs    expected seconds of each stage, > 0, in the order in which they come; only their ratios matter, since
             the time left follows the speed at which stages are really passed
    console  where to show it; a quiet console shows nothing
    clock    seconds, for tests
    """

    def __init__(
        self, costs: Mapping[str, float], console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not costs or min(costs.values()) <= 0:
            raise ArgumentError("stages need an expected cost above 0 each")
        self._costs, self._console, self._clock = dict(costs), console, clock
        self._done: dict[str, float] = {}  # seconds that finished stages took
        self._now: tuple[str, float, float] | None = None  # stage, when it began, share done
        self._live: Live | None = None  # within the `with`

    def __enter__(self) -> Self:
        columns = ("{task.description}", "bar", "percent", "{task.fields[left]}", "{task.fields[note]}")
        fields = {"left": "", "note": ""}
        self._live = Live(self._console, columns, fields, total=1.0, every=SECONDS_BETWEEN_LINES, clock=self._clock)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.close()

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A stage, by its name in `costs`; gives report(done, total, note="")."""
        self._now = (name, self._clock(), 0.0)
        self._show("", line=True)

        def report(done: float, total: float, note: str = "") -> None:
            assert self._now is not None
            self._now = (*self._now[:2], min(1.0, done / total) if total else 0.0)
            self._show(note)

        began = self._clock()
        try:
            yield report
        finally:  # one that failed is over as well
            self._done[name] = self._clock() - began
            self._now = None

    @property
    def seconds(self) -> dict[str, float]:
        """What each finished stage took."""
        return dict(self._done)

    def progress(self) -> tuple[float, float | None]:
        """(share of all that is done, seconds left; None = not known yet)."""
        total = sum(self._costs.values())
        passed = sum(self._costs[name] for name in self._done)
        spent = sum(self._done.values())
        here, share = 0.0, 0.0
        if self._now is not None:
            name, began, share = self._now
            here, spent = self._costs[name], spent + self._clock() - began
        worked = passed + here * share
        if worked <= 0.01 * total:
            return worked / total, None
        # the rest of this stage at its own pace once that is known, all later ones at the pace so far
        pace = spent / worked
        rest = here * (1 - share) * pace
        if self._now is not None and share > 0.1:
            rest = (self._clock() - self._now[1]) * (1 - share) / share
        return worked / total, rest + (total - passed - here) * pace

    def _show(self, note: str, line: bool = False) -> None:
        assert self._now is not None
        share, left = self.progress()
        left_words = "" if left is None else f"{timedelta(seconds=round(left))} left"
        name = self._now[0]

        def words() -> str:
            return f"[{share:4.0%}] {', '.join(part for part in (name, note, left_words) if part)}"

        if self._live is not None:
            self._live.show(share, words, now=line, description=name, left=left_words, note=note)
