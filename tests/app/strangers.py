"""Work for a process of its own, which imports it by this name."""

from __future__ import annotations

import os
import signal
import threading


def hoard(progress) -> None:
    held = []
    while True:
        held.append(b"x" * 20_000_000)
        progress(len(held), 10**6)


def hang(progress) -> None:
    progress(1, 2)
    threading.Event().wait()


def die(progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_wrong(progress) -> None:
    raise KeyError("of the model")


def work(progress) -> int:
    progress(1, 1)
    return os.getpid()
