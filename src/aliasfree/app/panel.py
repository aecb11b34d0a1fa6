"""A place on the page where the results of one kind of job appear, with its progress and a button to cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from aliasfree.app import render
from aliasfree.app.jobs import Job, Jobs
from aliasfree.app.networks import Networks
from aliasfree.app.visitors import Visitor, Visitors, is_token
from aliasfree.errors import AliasfreeError, ArgumentError

__all__ = ["Panel", "Studio", "Tab", "choice"]

QUICK_LOOK, LONG_LOOK = 0.01, 0.2
"""Seconds between looks at a quick and at a long job."""
SILENT = 0.4
"""Seconds for which a quick job shows nothing."""


@dataclass
class Studio:
    """What all tabs share."""

    networks: Networks
    jobs: Jobs
    visitors: Visitors
    cookie: str

    def visitor(self, request: gr.Request) -> Visitor:
        """Who asks. Raises ArgumentError where the cookie is missing."""
        token = request.cookies.get(self.cookie)
        if not is_token(token):
            raise ArgumentError("The studio keeps visitors apart by a cookie; allow cookies and load the page again.")
        return self.visitors.find(str(token))


class Panel:
    """Status, cancel button and result of one kind of job; `more` are further components that a result sets.

    A job's result is the HTML to show, or a tuple of it and an update for each of `more`. It stays with the visitor,
    so that a page that is loaded again shows it.
    """

    def __init__(self, studio: Studio, kind: str, *, quick: bool = False, empty: str = "") -> None:
        self.studio, self.kind, self.quick = studio, kind, quick
        self.empty = render.note(empty) if empty else render.Html("")
        self.status = gr.HTML("", elem_classes=["af-status"], elem_id=f"{kind}-status")
        self.cancel = gr.Button("Cancel", visible=False, size="sm", elem_id=f"{kind}-cancel")
        self.view = gr.HTML(self.empty, elem_classes=["af-view"], elem_id=f"{kind}-view")
        self.more: list[Any] = []
        self.cancel.click(self._cancel, outputs=[], api_visibility="private", show_progress="hidden")

    @property
    def outputs(self) -> list[Any]:
        """The components of what `follow` yields."""
        return [self.status, self.cancel, self.view, *self.more]

    async def start(self, request: gr.Request, title: str, work: Callable[[Job, Visitor], Any]) -> AsyncIterator[Any]:
        """Queue work for whoever asks, and follow it."""
        try:
            visitor = self.studio.visitor(request)

            def run(job: Job) -> Any:
                result = work(job, visitor)
                visitor.results[self.kind] = result
                return result

            job = self.studio.jobs.submit(visitor.token, self.kind, title, run, quick=self.quick)
            visitor.newest[self.kind] = job
        except AliasfreeError as error:
            yield self._say(render.error(str(error)))
            return
        async for shown in self.follow(job):
            if visitor.newest[self.kind] is not job:  # a newer one tells; what is late must not stand over it
                yield self._skipped(3)
                return
            yield shown

    async def follow(self, job: Job) -> AsyncIterator[list[Any]]:
        """Values for `outputs` until a job is over."""
        began, before = time.monotonic(), ""
        while not job.over:
            if not self.quick or time.monotonic() - began > SILENT:
                state = render.job_state(job, self.studio.jobs.ahead(job))
                if state != before:
                    before = state
                    yield [state, gr.update(visible=not self.quick), *self._skipped(1)]
            await asyncio.sleep(QUICK_LOOK if self.quick else LONG_LOOK)
        if job.state == "done":
            yield ["", gr.update(visible=False), *self._filled(job.result)]
        elif self.quick and job.state == "cancelled":
            yield self._skipped(3)
        else:
            yield self._say(render.job_state(job))

    def restore(self, visitor: Visitor) -> list[Any]:
        """Values for `outputs` when the page is loaded."""
        if self.kind not in visitor.results:
            return ["", gr.update(visible=False), self.empty, *self._skipped(0)]
        return ["", gr.update(visible=False), *self._filled(visitor.results[self.kind])]

    def _say(self, words: render.Html) -> list[Any]:
        return [words, gr.update(visible=False), *self._skipped(1)]

    def _filled(self, result: Any) -> list[Any]:
        return list(result) if isinstance(result, tuple) else [result, *self._skipped(0)]

    def _skipped(self, count: int) -> list[Any]:
        return [gr.skip()] * (count + len(self.more))

    def _cancel(self, request: gr.Request) -> None:
        job = self.studio.jobs.long_job(self.studio.visitor(request).token)
        if job is not None and job.kind == self.kind:
            self.studio.jobs.cancel(job)


def choice(names: Sequence[str], before: Any) -> Any:
    """An update of a dropdown: what was chosen before if it is still there, else the first."""
    return gr.update(choices=list(names), value=before if before in names else next(iter(names), None))


@dataclass
class Tab:
    """A tab, as the page has to know it to bring it back after a reload.

    fresh   values of `inputs` for a visitor who has set nothing, asked for at each load
    loaded  handler of `inputs`, for the outputs of the first panel, called when the page has been filled; None = none
    """

    name: str
    inputs: Sequence[Any] = ()
    panels: Sequence[Panel] = ()
    fresh: Callable[[Visitor], list[Any]] = field(default=lambda _: [])
    loaded: Callable[..., AsyncIterator[Any]] | None = None
