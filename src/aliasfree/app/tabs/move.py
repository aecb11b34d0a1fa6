"""The tab Move: one seed of up to four runs, turned, shifted and zoomed while it is sampled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import astuple, replace
from typing import Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.moving import START, WINDOWS, Controls, Mover
from aliasfree.app.panel import Panel, Studio, Tab
from aliasfree.app.visitors import Visitor
from aliasfree.diffusion.names import METHODS, NOISE, NOISES
from aliasfree.diffusion.registry import SCHEDULERS

__all__ = ["build"]

SETTLED = 0.5
"""Seconds without a change after which a draft is made in full."""
FRAMES = 24
CHOOSE = "Choose networks; then drag a slider."
EMPTY = (
    "There is no trained run below runs/ yet, and nothing is trained by itself: run `aliasfree demo` (minutes) or "
    "train one in the tab Training, then load this page again."
)


def build(studio: Studio) -> Tab:
    """Lay the tab out; to be called within it."""
    mover = Mover(studio.networks)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            runs = gr.Dropdown([], multiselect=True, max_choices=limits.RUNS, label="Networks, up to four")
            with gr.Row():
                seed = gr.Number(0, label="Seed", precision=0, min_width=90)
                class_ = gr.Dropdown(["none"], value="none", label="Class", min_width=90)
                steps = gr.Number(30, label="Steps", precision=0, min_width=90)
            rotate = gr.Slider(-180, 180, 0, step=0.5, label="Rotation, degrees", elem_id="rotate")
            right = gr.Slider(-8, 8, 0, step=0.0625, label="Shift to the right, pixels", elem_id="right")
            down = gr.Slider(-8, 8, 0, step=0.0625, label="Shift down, pixels", elem_id="down")
            zoom = gr.Slider(0.5, 2, 1, step=0.01, label="Zoom, factor", elem_id="zoom")
            when = gr.Dropdown(list(WINDOWS), value=START, label="When it moves")
            with gr.Accordion("Sampler and window", open=False):
                scheduler = gr.Dropdown(list(SCHEDULERS), value="ddpm-clipped", label="Scheduler")
                guidance = gr.Slider(1, 6, 3, step=0.1, label="Guidance, of a class")
                method = gr.Radio(list(METHODS), value=METHODS[0], label="Method")
                noise = gr.Radio(list(NOISES), value=NOISE, label="Injected noise")
                start = gr.Slider(0, 1, 0, step=0.01, label="Window from, share of the steps")
                end = gr.Slider(0, 1, 1, step=0.01, label="Window to")
        with gr.Column(scale=3, min_width=300):
            panel = Panel(studio, "move", quick=True, empty=CHOOSE)
            with gr.Accordion("A film from here to there", open=True):
                gr.HTML('<p class="af-note">It begins with the sliders as they are, and ends with these:</p>')
                with gr.Row():
                    there = [
                        gr.Number(0, label="Rotation", min_width=80, elem_id="there-rotate"),
                        gr.Number(2, label="Right", min_width=80, elem_id="there-right"),
                        gr.Number(0, label="Down", min_width=80, elem_id="there-down"),
                        gr.Number(1, label="Zoom", min_width=80, elem_id="there-zoom"),
                        gr.Number(FRAMES, label="Frames", precision=0, min_width=80, elem_id="there-frames"),
                    ]
                make = gr.Button("Make the film", variant="primary", elem_id="make-film")
                film = Panel(studio, "film")
    controls = [
        runs, seed, class_, steps, scheduler, guidance, rotate, right, down, zoom, method, noise, when, start, end
    ]  # fmt: skip

    async def draft(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        asked = Controls(*values)
        if _remember(studio.visitor(request), asked, full=False):
            async for shown in panel.start(request, "sampling a draft", lambda job, _: mover.view(job, asked, True)):
                yield shown
        else:
            yield [gr.skip()] * len(panel.outputs)

    async def full(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        asked = Controls(*values)
        _remember(studio.visitor(request), asked, full=True)
        async for shown in panel.start(request, "sampling", lambda job, _: mover.view(job, asked, False)):
            yield shown

    async def released(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        """Let go. A slider whose number merely loses the focus says so too, with fields as they were before."""
        before, in_full = studio.visitor(request).kept.get("move", ((), False))
        if in_full and _sliders(before) == _sliders(values):
            yield [gr.skip()] * len(panel.outputs)
            return
        async for shown in full(request, *values):
            yield shown

    async def settle(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        """A slider that was moved by keys or by its number has no release: in full once it rests."""
        asked = Controls(*values)
        await asyncio.sleep(SETTLED)
        if studio.visitor(request).kept.get("move") == (astuple(asked), False):
            async for shown in full(request, *values):
                yield shown
        else:
            yield [gr.skip()] * len(panel.outputs)

    async def loaded(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        if values[0] and "move" not in studio.visitor(request).results:
            async for shown in full(request, *values):
                yield shown
        else:
            yield [gr.skip()] * len(panel.outputs)

    async def make_film(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        asked, (turn, to_right, to_down, factor, frames) = Controls(*values[:-5]), values[-5:]

        def work(job: Job, _: Visitor) -> Any:
            end = replace(asked, rotate=turn, right=to_right, down=to_down, zoom=factor).motion()
            return mover.film(job, asked, end, limits.whole(frames, "frames", 2, limits.FRAMES))

        async for shown in film.start(request, "making the film", work):
            yield shown

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    for slider in (rotate, right, down, zoom, guidance, start, end):
        moved = slider.input(draft, controls, panel.outputs, trigger_mode="always_last", **quiet)
        moved.then(settle, controls, panel.outputs, trigger_mode="multiple", **quiet)
        slider.release(released, controls, panel.outputs, trigger_mode="multiple", **quiet)
    for field in (runs, seed, class_, steps, scheduler, method, noise, when):
        field.input(full, controls, panel.outputs, trigger_mode="multiple", **quiet)
    runs.change(lambda names: _classes(studio, names), runs, class_, **quiet)
    make.click(make_film, [*controls, *there], film.outputs, trigger_mode="multiple", **quiet)

    def fresh(visitor: Visitor) -> list[Any]:
        names = studio.networks.movable()
        panel.empty = render.note(CHOOSE if names else EMPTY)
        before = visitor.kept.get("move")
        if before is None:
            first = _first(names)
            return [gr.update(choices=names, value=first), 0, _classes(studio, first, new=True), *[gr.skip()] * 12]
        values = list(before[0])
        values[0] = gr.update(choices=names, value=[n for n in values[0] or [] if n in names])
        values[2] = gr.update(choices=_choices(studio, before[0][0] or []), value=values[2])
        return values

    return Tab("Move", controls, [panel, film], fresh, loaded)


def _sliders(values: Any) -> tuple[Any, ...]:
    """Guidance, rotation, shifts, zoom and window among the values of the controls."""
    return (*values[5:10], *values[13:15])


def _remember(visitor: Visitor, asked: Controls, *, full: bool) -> bool:
    """Note what was asked for last. False for a draft of what is being made, or was made, in full."""
    if not full and visitor.kept.get("move") == (astuple(asked), True):
        return False
    visitor.kept["move"] = (astuple(asked), full)
    return True


def _first(names: list[str]) -> list[str]:
    """What a new visitor sees: the first two runs, those of the demo if they are there."""
    demo = [name for name in names if "/demo/" in f"/{name}"]
    return (demo or names)[:2]


def _choices(studio: Studio, names: list[str]) -> list[str]:
    return ["none", *map(str, range(min(100, studio.networks.classes(names))))]


def _classes(studio: Studio, names: list[str], *, new: bool = False) -> Any:
    choices = _choices(studio, names or [])
    if new:
        return gr.update(choices=choices, value="3" if "3" in choices else choices[0])
    return gr.update(choices=choices)
