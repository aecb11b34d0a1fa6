"""What visitors send: a folder for it that outlives no server, and how much of it there may be."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from aliasfree.errors import ArgumentError

__all__ = ["AGE", "Quota", "uploads_folder"]

AGE = 3600.0
"""Seconds after which what was sent is removed."""
VISITOR_BYTES, ALL_BYTES = 4_000_000_000, 16_000_000_000
"""Of what one visitor, and of what all together may send within that time."""
LEAST = 2**16
"""What an upload counts at least: files take room beside their bytes."""
PREFIX, LOCK = "aliasfree-studio-", ".lock"


@contextlib.contextmanager
def uploads_folder() -> Iterator[Path]:
    """A new folder, removed at the end; those that killed servers of this user have left are removed first."""
    from filelock import FileLock

    _clear()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / LOCK)
        lock.acquire()
        if folder.is_dir():  # another server, starting now, may have taken it for one that was left
            break
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _clear() -> None:
    from filelock import FileLock, Timeout

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):  # of another user, or in use
            ours = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if ours and not folder.is_symlink() and (folder / LOCK).is_file():
                with FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)


class Quota:
    """How much visitors have sent within `AGE`, after which it is gone.

    >>> from aliasfree.app.uploads import Quota
    >>> quota = Quota()
    >>> quota.take("a visitor", 3_000_000_000)
    >>> quota.take("a visitor", 3_000_000_000)
    Traceback (most recent call last):
        ...
    aliasfree.errors.ArgumentError: You have sent 3.0 of 4 GB within the hour; send less, or wait.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[float, str, int]] = deque()
        self._lock = threading.Lock()

    def take(self, visitor: str, size: int) -> None:
        """Count an upload of so many bytes. Raises ArgumentError for one too many, which does not count."""
        with self._lock:
            now = time.monotonic()
            while self._sent and now - self._sent[0][0] > 2 * AGE:  # Gradio looks for what is old now and then only
                self._sent.popleft()
            mine = sum(n for _, who, n in self._sent if who == visitor)
            everyone = sum(n for _, _, n in self._sent)
            size = max(size, LEAST)
            if mine + size > VISITOR_BYTES:
                most = VISITOR_BYTES // 10**9
                raise ArgumentError(f"You have sent {mine / 1e9:.1f} of {most} GB within the hour; send less, or wait.")
            if everyone + size > ALL_BYTES:
                raise ArgumentError("The studio's visitors have sent too much within the hour; wait.")
            self._sent.append((now, visitor, size))
