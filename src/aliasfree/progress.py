"""Progress: bars on a terminal, lines now and then elsewhere, nothing on a quiet console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Live", "Report", "bar", "bars"]

Report = Callable[[int, int], None]
"""Called with (done, total); total 0 = not known."""


@contextmanager
def bar(what: str, unit: str = "", console: Console | None = None) -> Iterator[Report]:
    """A bar with count (or, without a unit, percent) and time left, gone when done; silence where there is no terminal.

    console  None = standard error
    """
    with bars(unit, console) as stage:
        yield stage(what)


@contextmanager
def bars(unit: str = "", console: Console | None = None) -> Iterator[Callable[[str], Report]]:
    """`bar` for work in several stages: stage("comparing") gives the report of that stage, its bar below the others."""
    from rich.console import Console
    from rich.progress import Progress

    console = console or Console(stderr=True)
    columns = ("{task.description}", "bar", *(("count", unit) if unit else ("percent",)), "time left")
    silent = not console.is_terminal or console.quiet
    with Progress(*map(_column, columns), console=console, transient=True, disable=silent) as shown:

        def stage(name: str) -> Report:
            task = shown.add_task(name, total=None, visible=False)

            def report(done: int, total: int) -> None:
                shown.update(task, completed=done, total=total or None, visible=True)

            return report

        yield stage


class Live:
    """One line of progress that stays: a bar on a terminal, elsewhere a line as often as `every` seconds.

    columns  of the bar: "bar", "count", "percent", "time left", or rich's format of a text ("loss {task.fields[loss]}")
    fields   first values of the fields in `columns`
    first    seconds before the first line
    clock    seconds, for tests
    """

    def __init__(
        self,
        console: Console,
        columns: Sequence[str],
        fields: dict[str, Any],
        *,
        total: float,
        done: float = 0.0,
        every: float,
        first: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._clock, self._every = console, clock, every
        self._next_line = clock() + first
        self._bar: Any = None
        if console.is_terminal and not console.quiet:
            from rich.progress import Progress

            self._bar = Progress(*map(_column, columns), console=console, refresh_per_second=4)
            self._task = self._bar.add_task("", total=total, completed=done, **fields)
            self._bar.start()

    def show(self, done: float, line: Callable[[], str], *, now: bool = False, **fields: Any) -> None:
        """Tell how far it is.

        line    gives the words where there is no bar
        now     give them even if the last line was a moment ago
        fields  new values; "description" is the bar's own
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=done, **fields)
        elif now or self._clock() >= self._next_line:
            self._next_line = self._clock() + self._every
            self._console.print(line(), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def _column(name: str) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    known: dict[str, Callable[[], Any]] = {
        "bar": BarColumn,
        "count": MofNCompleteColumn,
        "percent": TaskProgressColumn,
        "time left": TimeRemainingColumn,
    }
    return known[name]() if name in known else TextColumn(name, markup=False)
