"""Work in a bounded queue: one job computes at a time, and any can be cancelled between two of its steps.

Jobs are quick (what a slider asks for) or long (a film). A long one lets a quick one through at each step, in a thread
of its own, so that what a job has switched in its thread (torch's modes) does not reach the other.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from aliasfree.errors import AliasfreeError, ArgumentError

__all__ = ["Cancelled", "Job", "Jobs"]

WAITING = 48
"""Most jobs that wait, of all visitors together."""

Work = Callable[["Job"], Any]


class Cancelled(Exception):  # noqa: N818  # no error
    """Raised within a job that its visitor has given up."""


class Job:
    """A piece of work of one visitor.

    kind   where it belongs; a visitor's newer quick job of a kind takes the place of the older one
    title  what it does, as the page says it
    state  "waiting", "running", "done" (`result`), "failed" (`error`, one sentence) or "cancelled"
    """

    def __init__(self, visitor: str, kind: str, title: str, work: Work, *, quick: bool) -> None:
        self.visitor, self.kind, self.title, self.quick = visitor, kind, title, quick
        self.state, self.result, self.error = "waiting", None, ""
        self.done, self.total = 0, 0
        self._work: Work | None = work
        self._cancel = threading.Event()
        self._started = 0.0
        self._let_through: Callable[[], None] = lambda: None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def seconds_left(self) -> float | None:
        """By its pace so far; None before there is one."""
        if self.state != "running" or not self.done or not self.total:
            return None
        return (time.monotonic() - self._started) * (self.total - self.done) / self.done

    def report(self, done: int, total: int) -> None:
        """To be called by the work after each step. Raises Cancelled."""
        self.done, self.total = done, total
        if self._cancel.is_set():
            raise Cancelled
        self._let_through()

    def cancel(self) -> None:
        """Ask it to stop at its next step, or never to begin."""
        self._cancel.set()

    def run(self, let_through: Callable[[], None]) -> None:
        """Do the work; nothing is raised. What the work held is let go."""
        work, self._work = self._work, None
        if self._cancel.is_set() or work is None:
            self.state = "cancelled"
            return
        self._let_through, self._started, self.state = let_through, time.monotonic(), "running"
        try:
            self.result = work(self)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except AliasfreeError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:  # a bug: the terminal has its traceback, the page one sentence
            traceback.print_exc()
            self.error = f"The studio has a bug here ({type(error).__name__}); the terminal it runs in shows where."
            self.state = "failed"


class Jobs:
    """The queue. Quick jobs go before long ones; within each, first come first served.

    >>> from aliasfree.app.jobs import Jobs
    >>> jobs = Jobs()
    >>> job = jobs.submit("a visitor", "sum", "adding", lambda job: 1 + 1)
    >>> jobs.wait(job, 10.0)
    True
    >>> job.state, job.result
    ('done', 2)
    >>> jobs.close()
    """

    def __init__(self, waiting: int = WAITING) -> None:
        self._most, self._closed, self._served = waiting, False, 0
        self._lanes: dict[bool, deque[Job]] = {True: deque(), False: deque()}
        self._running: dict[bool, Job | None] = {True: None, False: None}
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # held by whoever computes
        self._threads = [
            threading.Thread(target=self._serve, args=(quick,), name=f"studio-{quick}", daemon=True)
            for quick in (True, False)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, visitor: str, kind: str, title: str, work: Work, *, quick: bool = False) -> Job:
        """Queue work, called with its Job. Raises ArgumentError when the queue is full, and for a second long job of
        a visitor."""
        job = Job(visitor, kind, title, work, quick=quick)
        with self._changed:
            mine = [j for j in self._all(quick) if j.visitor == visitor and not j.over]
            if quick:
                for older in (j for j in mine if j.kind == kind):
                    older.cancel()
                    self._drop(older)
            elif mine:
                raise ArgumentError(f"Your job “{mine[0].title}” is not over yet; wait for it or cancel it.")
            if sum(map(len, self._lanes.values())) >= self._most:
                raise ArgumentError(f"The studio is busy: {self._most} jobs are waiting; try again in a moment.")
            self._lanes[quick].append(job)
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs of its lane come before a waiting one, with the one that runs."""
        with self._changed:
            lane = self._lanes[job.quick]
            return lane.index(job) + (self._running[job.quick] is not None) if job in lane else 0

    def long_job(self, visitor: str) -> Job | None:
        """The visitor's long job that waits or runs."""
        with self._changed:
            return next((j for j in self._all(False) if j.visitor == visitor and not j.over), None)

    def busy(self, visitor: str) -> bool:
        """Whether anything of a visitor's waits or runs."""
        with self._changed:
            return any(j.visitor == visitor for lane in (True, False) for j in self._all(lane))

    def cancel(self, job: Job) -> None:
        """Stop a job at its next step; a waiting one at once."""
        with self._changed:
            job.cancel()
            self._drop(job)

    def wait(self, job: Job, seconds: float) -> bool:
        """Wait until a job is over, so many seconds at most; whether it is. Not for the event loop."""
        with self._changed:
            return self._changed.wait_for(lambda: job.over, seconds)

    def close(self) -> None:
        """Cancel all and let the threads end."""
        with self._changed:
            self._closed = True
            for lane in (True, False):
                for job in self._all(lane):
                    job.cancel()
                    self._drop(job)
            self._changed.notify_all()

    def _all(self, quick: bool) -> list[Job]:
        running = self._running[quick]
        return [*([running] if running else []), *self._lanes[quick]]

    def _drop(self, job: Job) -> None:
        if job in self._lanes[job.quick]:
            self._lanes[job.quick].remove(job)
            job.state = "cancelled"
            self._changed.notify_all()

    def _serve(self, quick: bool) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._lanes[quick]))
                if self._closed:
                    return
                job = self._running[quick] = self._lanes[quick].popleft()
            with self._turn:
                job.run((lambda: None) if quick else self._let_quick_through)
            with self._changed:
                self._running[quick] = None
                self._served += quick
                self._changed.notify_all()

    def _let_quick_through(self) -> None:
        """Called by the long job between two steps: a quick job that waits comes first, but no more than one."""
        with self._changed:
            if not self._all(True):
                return
            served = self._served
        self._turn.release()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._served > served or not self._all(True))
        finally:
            self._turn.acquire()
