"""Work that is stopped before one of its system calls on files, by a kill or by an error, call after call."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from unittest import mock

from aliasfree.errors import AliasfreeError

CALLS = ("open", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate")


def stopped_before_each_call(prepare: Callable[[], None], work: Callable[[], None], *, kill: bool) -> Iterator[int]:
    """Prepare, and do the work in a fork that is stopped before its k-th call, for k = 1, 2, ... until it is not.

    kill  the process ends there, as by `kill -9`; False = the call fails, as on a device that is broken for a moment
    """
    with mock.patch("os.fsync"):  # slow, and it changes nothing that a kill or an error shows
        for k in itertools.count(1):
            prepare()
            pid = os.fork()
            if pid == 0:
                _run(work, k, kill)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code == 0:
                return
            assert code == 9, f"stopped before call {k}, the work ended with {code}"
            yield k


def _run(work: Callable[[], None], k: int, kill: bool) -> None:
    count = 0

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal count
        count += event in CALLS
        if count == k and event in CALLS:
            if kill:
                os._exit(9)
            raise OSError(errno.EIO, "the device is broken for a moment")

    try:
        sys.addaudithook(hook)
        work()
        stopped = count >= k and not kill
        os._exit(9 if stopped else 0)  # 9: an error that the work got over
    except (OSError, AliasfreeError):
        os._exit(9)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
