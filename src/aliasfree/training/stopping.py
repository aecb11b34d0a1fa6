"""SIGTERM, Ctrl-C and the end of a given time as a request to stop after the step, not as the end of the process."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

from aliasfree.errors import RunError

_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
TIME_UP = 1000
"""In place of a signal's number: the time given is over."""
TRY_AGAIN = 75
"""Exit code of a run that stopped because its time was over (EX_TEMPFAIL): start it again."""


class RunStopped(RunError):  # noqa: N818  # stopping on request is no error
    """A run was asked to stop, saved a checkpoint and did; `exit_code` is 128 plus the signal's number, 75 for time up.

    >>> import signal
    >>> from aliasfree.training import RunStopped
    >>> RunStopped("Stopped by SIGTERM after step 7 of 100, and saved.", signal.SIGTERM).exit_code
    143
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = TRY_AGAIN if signal_number == TIME_UP else 128 + signal_number


class StopRequest:
    """Within a `with`, remembers the first SIGTERM or SIGINT; the handlers are put back after it.

    A second Ctrl-C raises `KeyboardInterrupt` when `alone`; under torchrun it is ignored, because there the terminal
    and the launcher both pass on the same key press. Outside of the main thread signals are left as they are.

    until  `time.time()` at which to stop; None = never
    """

    def __init__(self, alone: bool = True, until: float | None = None) -> None:
        self._number = 0  # of the signal, 0 = none
        self._alone, self._until = alone, until
        self._before: dict[int, Any] = {}

    @property
    def signal_number(self) -> int:
        """The signal to stop for, `TIME_UP`, or 0 = go on."""
        over = self._until is not None and time.time() >= self._until
        return self._number or (TIME_UP if over else 0)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NAMES:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._number and self._alone and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = self._number or number


def signal_name(number: int) -> str:
    """What a user calls the signal."""
    if number == TIME_UP:
        return "the time limit"
    return _NAMES.get(signal.Signals(number), signal.Signals(number).name)
