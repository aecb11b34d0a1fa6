"""SIGTERM and Ctrl-C as a request to stop after the step, not as the end of the process."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from aliasfree.errors import RunError

_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class RunStopped(RunError):  # noqa: N818  # stopping on request is no error
    """A run was asked to stop, saved a checkpoint and did; `exit_code` is 128 plus the signal's number.

    >>> import signal
    >>> from aliasfree.training import RunStopped
    >>> RunStopped("Stopped by SIGTERM after step 7 of 100, and saved.", signal.SIGTERM).exit_code
    143
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequest:
    """Within a `with`, remembers the first SIGTERM or SIGINT; the handlers are put back after it.

    A second Ctrl-C raises `KeyboardInterrupt` when `alone`; under torchrun it is ignored, because there the terminal
    and the launcher both pass on the same key press. Outside of the main thread signals are left as they are.
    """

    def __init__(self, alone: bool = True) -> None:
        self.signal_number = 0  # 0 = not asked to stop
        self._alone = alone
        self._before: dict[int, Any] = {}

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
        if self.signal_number and self._alone and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or number


def signal_name(number: int) -> str:
    """What a user calls the signal."""
    return _NAMES.get(signal.Signals(number), signal.Signals(number).name)
