"""Work in a bounded queue: one job computes at a time, and any can be cancelled between two of its steps.

Jobs are quick (what a slider asks for) or long (a film). A long one lets a quick one through at each step, in a thread
of its own, so that what a job has switched in its thread (torch's modes) does not reach the other. Gradio's own queue
knows events of loaded pages; a job outlives its page, which finds it again when it is loaded anew.
"""

from __future__ import annotations

import threading
import time
import traceback
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
        self.done, self.total, self.cancelled = 0, 0, False
        self._work: Work | None = work
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
        if self.cancelled:
            raise Cancelled
        self._let_through()

    def run(self, let_through: Callable[[], None]) -> None:
        """Do the work; nothing is raised. What the work held is let go."""
        work, self._work = self._work, None
        if self.cancelled or work is None:
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
        self._most, self._closed = waiting, False
        self._jobs: list[Job] = []  # not over, first come first
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # held by whoever computes
        for quick in (True, False):
            threading.Thread(target=self._serve, args=(quick,), name=f"studio-{quick}", daemon=True).start()

    def submit(self, visitor: str, kind: str, title: str, work: Work, *, quick: bool = False) -> Job:
        """Queue work, called with its Job. Raises ArgumentError when the queue is full, and for a second long job of
        a visitor."""
        job = Job(visitor, kind, title, work, quick=quick)
        with self._changed:
            mine = [j for j in self._jobs if j.quick == quick and j.visitor == visitor and not j.over]
            if quick:
                for older in (j for j in mine if j.kind == kind):
                    self.cancel(older)
            elif mine:
                raise ArgumentError(f"Your job “{mine[0].title}” is not over yet; wait for it or cancel it.")
            if sum(j.state == "waiting" for j in self._jobs) >= self._most:
                raise ArgumentError(f"The studio is busy: {self._most} jobs are waiting; try again in a moment.")
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs of its lane come before a waiting one, with the one that runs."""
        with self._changed:
            lane = [j for j in self._jobs if j.quick == job.quick]
            return lane.index(job) if job in lane else 0

    def long_job(self, visitor: str) -> Job | None:
        """The visitor's long job that waits or runs."""
        with self._changed:
            return next((j for j in self._jobs if not (j.quick or j.over) and j.visitor == visitor), None)

    def busy(self, visitor: str) -> bool:
        """Whether anything of a visitor's waits or runs."""
        with self._changed:
            return any(j.visitor == visitor for j in self._jobs)

    def cancel(self, job: Job) -> None:
        """Stop a job at its next step; a waiting one at once."""
        with self._changed:
            job.cancelled = True
            if job.state == "waiting" and job in self._jobs:
                job.state = "cancelled"
                self._jobs.remove(job)
                self._changed.notify_all()

    def wait(self, job: Job, seconds: float | None = None) -> bool:
        """Wait until a job is over, so many seconds at most; whether it is. Not for the event loop."""
        with self._changed:
            self._changed.wait_for(lambda: job.over or self._closed, seconds)
            return job.over

    def close(self) -> None:
        """Cancel all and let the threads end."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs):
                self.cancel(job)
            self._changed.notify_all()

    def _next(self, quick: bool) -> Job | None:
        return next((j for j in self._jobs if j.quick == quick), None)

    def _serve(self, quick: bool) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next(quick) is not None)
                job = self._next(quick)
                if self._closed or job is None:
                    return
                job.state = "running"  # before its turn comes: `cancel` no longer takes it out
            with self._turn:
                job.run((lambda: None) if quick else self._let_quick_through)
            with self._changed:
                self._jobs.remove(job)
                self._changed.notify_all()

    def _let_quick_through(self) -> None:
        """Called by the long job between two steps: a quick job that waits comes first, but no more than one."""
        with self._changed:
            quick = self._next(True)
        if quick is not None:
            self._turn.release()
            try:
                self.wait(quick)
            finally:
                self._turn.acquire()
