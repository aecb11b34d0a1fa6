"""A place on the page where the results of one kind of job appear, with its progress and a button to cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from aliasfree.app import render
from aliasfree.app.jobs import Job, Jobs
from aliasfree.app.networks import Networks
from aliasfree.app.trainings import Trainings
from aliasfree.app.visitors import Visitor, Visitors, is_token
from aliasfree.errors import AliasfreeError, ArgumentError

__all__ = ["QUIET", "Fields", "Panel", "Studio", "Tab", "choice"]

QUICK_LOOK, LONG_LOOK = 0.01, 0.2
"""Seconds between looks at a quick and at a long job."""
SILENT = 0.4
"""Seconds for which a quick job shows nothing."""
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
"""How every event of the page is listened to: the studio's own queue shows and bounds."""

Values = Mapping[str, Any]
"""What is in fields, by their names, as the page has sent it: to be checked."""
Updates = dict[Any, Any]
"""New values of components; all others stay."""


@dataclass
class Studio:
    """What all tabs share."""

    networks: Networks
    jobs: Jobs
    trainings: Trainings
    visitors: Visitors
    cookie: str

    def visitor(self, request: gr.Request) -> Visitor:
        """Who asks. Raises ArgumentError where the cookie is missing."""
        token = request.cookies.get(self.cookie)
        if not is_token(token):
            raise ArgumentError("The studio keeps visitors apart by a cookie; allow cookies and load the page again.")
        return self.visitors.find(str(token))


class Fields(dict[str, Any]):
    """Components of a tab by name. What a visitor has set is remembered under the tab's name."""

    def __init__(self, tab: str, **components: Any) -> None:
        super().__init__(components)
        self.tab = tab

    @property
    def components(self) -> list[Any]:
        """In the order of the names."""
        return list(self.values())

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """What Gradio hands over, by name."""
        return dict(zip(self, values, strict=True))

    def remember(self, visitor: Visitor, values: Values) -> None:
        """Keep what a visitor has set, for a page that is loaded again."""
        visitor.settings.setdefault(self.tab, {}).update(values)

    def remembered(self, visitor: Visitor) -> Updates:
        """What `remember` kept, as updates; none for a new visitor."""
        return {self[name]: value for name, value in visitor.settings.get(self.tab, {}).items() if name in self}

    def remembers(self, studio: Studio) -> None:
        """Keep what is set from now on."""

        def keep(request: gr.Request, *values: Any) -> None:
            self.remember(studio.visitor(request), self.named(values))

        for component in self.components:
            component.input(keep, self.components, [], **QUIET)


class Panel:
    """Status, cancel button and result of one kind of job; `more` are further components that a result sets.

    A job's result is the HTML to show, or a tuple of it and updates of `more`. It stays with the visitor, so that a
    page that is loaded again shows it.
    """

    def __init__(self, studio: Studio, kind: str, *, quick: bool = False, empty: str = "") -> None:
        self.studio, self.kind, self.quick = studio, kind, quick
        self.more: list[Any] = []
        self.empty = render.note(empty) if empty else render.Html("")
        self.status = gr.HTML("", elem_classes=["af-status"], elem_id=f"{kind}-status")
        self.cancel = gr.Button("Cancel", visible=False, size="sm", elem_id=f"{kind}-cancel")
        self.view = gr.HTML(self.empty, elem_classes=["af-view"], elem_id=f"{kind}-view")
        self.cancel.click(self._cancel, outputs=[], api_visibility="private", show_progress="hidden")

    @property
    def outputs(self) -> list[Any]:
        """The components of what `follow` yields."""
        return [self.status, self.cancel, self.view, *self.more]

    def on(
        self,
        events: Sequence[Any],
        fields: Fields,
        title: str,
        work: Callable[[Job, Visitor, Values], Any],
        *,
        when: Callable[[Visitor, Values], bool | Awaitable[bool]] = lambda _, __: True,
        **listening: Any,
    ) -> list[Any]:
        """Start a job at any of some events; what Gradio makes of each, for what comes after.

        work  called with the job, the visitor and the values of the fields, in the queue
        when  asked at once, in the order of the events, whether to start at all; it may note what was asked for
        """

        async def start(request: gr.Request, *values: Any) -> AsyncIterator[Updates]:
            named = fields.named(values)
            try:
                visitor = self.studio.visitor(request)
                started = when(visitor, named)
                if not isinstance(started, bool):
                    started = await started
            except AliasfreeError as error:
                yield self._say(render.error(str(error)))
                return
            if not started:
                yield {self.status: gr.skip()}
                return
            fields.remember(visitor, named)
            async for shown in self.start(visitor, title, lambda job: work(job, visitor, named)):
                yield shown

        return [event(start, fields.components, self.outputs, **QUIET, **listening) for event in events]

    async def start(self, visitor: Visitor, title: str, work: Callable[[Job], Any]) -> AsyncIterator[Updates]:
        """Queue work for a visitor, and follow it."""

        def run(job: Job) -> Any:
            visitor.results[self.kind] = result = work(job)
            return result

        try:
            job = self.studio.jobs.submit(visitor.token, self.kind, title, run, quick=self.quick)
        except AliasfreeError as error:
            yield self._say(render.error(str(error)))
            return
        visitor.newest[self.kind] = job
        async for shown in self.follow(job):
            if visitor.newest[self.kind] is not job:  # a newer one tells; what is late must not stand over it
                yield {self.status: gr.skip()}
                return
            yield shown

    async def follow(self, job: Job) -> AsyncIterator[Updates]:
        """Values for `outputs` until a job is over."""
        began, before = time.monotonic(), ""
        while not job.over:
            if not self.quick or time.monotonic() - began > SILENT:
                state = render.job_state(job, self.studio.jobs.ahead(job))
                if state != before:
                    before = state
                    yield {self.status: state, self.cancel: gr.update(visible=not self.quick)}
            await asyncio.sleep(QUICK_LOOK if self.quick else LONG_LOOK)
        if job.state == "done":
            yield self._filled(job.result)
        elif self.quick and job.state == "cancelled":
            yield {self.status: gr.skip()}
        else:
            yield self._say(render.job_state(job))

    def restore(self, visitor: Visitor) -> Updates:
        """Values for `outputs` when the page is loaded."""
        return self._filled(visitor.results.get(self.kind, self.empty))

    def _say(self, words: render.Html) -> Updates:
        return {self.status: words, self.cancel: gr.update(visible=False)}

    def _filled(self, result: Any) -> Updates:
        shown = result if isinstance(result, tuple) else (result,)
        return {**self._say(render.Html("")), **dict(zip([self.view, *self.more], shown, strict=False))}

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

    fresh   updates of `fields`, asked for at each load; None = what the visitor has set. It may read the disk
    loaded  called with the event of a page that has been filled; None = nothing happens then
    """

    fields: Fields
    panels: Sequence[Panel] = ()
    fresh: Callable[[Visitor], Updates] | None = None
    loaded: Callable[[Any], None] | None = None
    more: Sequence[Any] = field(default_factory=list)

    @property
    def outputs(self) -> list[Any]:
        """All that a load sets."""
        return [*self.fields.components, *self.more, *(part for panel in self.panels for part in panel.outputs)]

    def restore(self, visitor: Visitor) -> Updates:
        """Updates for a page that is loaded."""
        found = (self.fresh or self.fields.remembered)(visitor)
        for panel in self.panels:
            found |= panel.restore(visitor)
        return found
