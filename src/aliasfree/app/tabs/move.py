"""The tab Move: one seed of up to four runs, turned, shifted and zoomed while it is sampled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.moving import START, WINDOWS, Controls, Mover
from aliasfree.app.panel import QUIET, Fields, Panel, Studio, Tab
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
SLIDERS = ("guidance", "rotate", "right", "down", "zoom", "start", "end")
ENDS = ("rotate", "right", "down", "zoom")
"""Where the film ends."""


def build(studio: Studio) -> Tab:
    """Lay the tab out; to be called within it."""
    mover = Mover(studio.networks)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            fields = _controls()
        with gr.Column(scale=3, min_width=300):
            panel = Panel(studio, "move", quick=True, empty=CHOOSE)
            with gr.Accordion("A film from here to there", open=True):
                gr.HTML('<p class="af-note">It begins with the sliders as they are, and ends with these:</p>')
                with gr.Row():
                    ends = _ends()
                make = gr.Button("Make the film", variant="primary", elem_id="make-film")
                film = Panel(studio, "film")

    def full(job: Job, _: Visitor, values: Mapping[str, Any]) -> render.Html:
        return mover.view(job, Controls.read(values), False)

    def draft(job: Job, _: Visitor, values: Mapping[str, Any]) -> render.Html:
        return mover.view(job, Controls.read(values), True)

    def filmed(job: Job, _: Visitor, values: Mapping[str, Any]) -> render.Html:
        end = {**values, **{name: values[f"there {name}"] for name in ENDS}}
        frames = limits.whole(values["there frames"], "frames", 2, limits.FRAMES)
        return mover.film(job, Controls.read(values), Controls.read(end).motion, frames)

    async def settle(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        """A slider that was moved by keys or by its number has no release: in full once it rests."""
        named = fields.named(values)
        await asyncio.sleep(SETTLED)
        visitor = studio.visitor(request)
        if visitor.kept.get("move") != (named, False):
            yield {panel.status: gr.skip()}
            return
        visitor.kept["move"] = (named, True)
        async for shown in panel.start(visitor, "sampling", lambda job: full(job, visitor, named)):
            yield shown

    many: dict[str, Any] = {"trigger_mode": "multiple"}
    for name in SLIDERS:
        last: dict[str, Any] = {"trigger_mode": "always_last"}
        for moved in panel.on([fields[name].input], fields, "sampling a draft", draft, when=_asks_draft, **last):
            moved.then(settle, fields.components, panel.outputs, **QUIET, **many)
        panel.on([fields[name].release], fields, "sampling", full, when=_released, **many)
    chosen = [component.input for name, component in fields.items() if name not in SLIDERS]
    panel.on(chosen, fields, "sampling", full, when=_asks_full, **many)
    film.on([make.click], Fields("move", **fields, **ends), "making the film", filmed, **many)
    fields["runs"].change(lambda names: _classes(studio, names or []), fields["runs"], fields["class"], **QUIET)

    def fresh(visitor: Visitor) -> dict[Any, Any]:
        names = studio.networks.movable()
        panel.empty = render.note(CHOOSE if names else EMPTY)
        shown = fields.remembered(visitor)
        if not shown:
            first = _first(names)
            return {
                fields["runs"]: gr.update(choices=names, value=first),
                fields["seed"]: 0,
                fields["class"]: _classes(studio, first, new=True),
            }
        runs = [name for name in shown[fields["runs"]] or [] if name in names]
        shown[fields["runs"]] = gr.update(choices=names, value=runs)
        shown[fields["class"]] = gr.update(choices=_choices(studio, runs), value=shown[fields["class"]])
        return shown

    def loaded(event: Any) -> None:
        panel.on([event], fields, "sampling", full, when=_shows_nothing)

    return Tab(fields, [panel, film], fresh, loaded)


def _controls() -> Fields:
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
    return Fields(
        "move", runs=runs, seed=seed, **{"class": class_}, steps=steps, scheduler=scheduler, guidance=guidance,
        rotate=rotate, right=right, down=down, zoom=zoom, method=method, noise=noise, when=when, start=start, end=end,
    )  # fmt: skip


def _ends() -> dict[str, Any]:
    """Where the film ends, and in how many frames."""
    first = {"rotate": ("Rotation", 0), "right": ("Right", 2), "down": ("Down", 0), "zoom": ("Zoom", 1)}
    fields = {
        f"there {name}": gr.Number(value, label=label, min_width=80, elem_id=f"there-{name}")
        for name, (label, value) in first.items()
    }
    frames = gr.Number(FRAMES, label="Frames", precision=0, min_width=80, elem_id="there-frames")
    return {**fields, "there frames": frames}


def _asks_full(visitor: Visitor, values: Mapping[str, Any]) -> bool:
    visitor.kept["move"] = (values, True)
    return True


def _asks_draft(visitor: Visitor, values: Mapping[str, Any]) -> bool:
    """Not of what is being made, or was made, in full."""
    if visitor.kept.get("move") == (values, True):
        return False
    visitor.kept["move"] = (values, False)
    return True


def _released(visitor: Visitor, values: Mapping[str, Any]) -> bool:
    """A slider whose number merely loses the focus says so too, with fields as they were before."""
    before, in_full = visitor.kept.get("move", ({}, False))
    same = in_full and all(before[name] == values[name] for name in SLIDERS)
    return not same and _asks_full(visitor, values)


def _shows_nothing(visitor: Visitor, values: Mapping[str, Any]) -> bool:
    return bool(values["runs"]) and "move" not in visitor.results and _asks_full(visitor, values)


def _first(names: list[str]) -> list[str]:
    """What a new visitor sees: the first two runs, those of the demo if they are there."""
    demo = [name for name in names if "/demo/" in f"/{name}"]
    return (demo or names)[:2]


def _choices(studio: Studio, names: list[str]) -> list[str]:
    return ["none", *map(str, range(min(100, studio.networks.classes(names))))]


def _classes(studio: Studio, names: list[str], *, new: bool = False) -> Any:
    choices = _choices(studio, names)
    if new:
        return gr.update(choices=choices, value="3" if "3" in choices else choices[0])
    return gr.update(choices=choices)
