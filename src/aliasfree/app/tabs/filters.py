"""The tab Filters: two configs side by side, and what they make of a picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.panel import Panel, Studio, Tab
from aliasfree.app.visitors import Visitor
from aliasfree.config import Config, known_names

__all__ = ["build"]

PLATE, PHOTOGRAPH = "zone plate", "photograph"


def build(studio: Studio) -> Tab:
    """Lay the tab out; to be called within it."""
    names = list(known_names())
    with gr.Row():
        left = gr.Dropdown(names, value="D-2N", label="One config", min_width=140, elem_id="left-config")
        right = gr.Dropdown(names, value="D-hq", label="Another config", min_width=140, elem_id="right-config")
        pattern = gr.Radio([PLATE, PHOTOGRAPH], value=PLATE, label="Test pattern", min_width=200)
    photo = gr.File(label="Your photograph; it stays on this machine", type="filepath", elem_id="photo", height=110)
    compare = gr.Button("Compare", variant="primary", elem_id="compare")
    panel = Panel(studio, "filters", quick=True)
    inputs = [left, right, pattern]

    async def show(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        studio.visitor(request).settings["filters"] = values[:3]
        async for shown in panel.start(request, "comparing", lambda job, _: _compared(job, *values)):
            yield shown

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    for field in (left, right, pattern):
        field.input(show, [*inputs, photo], panel.outputs, trigger_mode="multiple", **quiet)
    compare.click(show, [*inputs, photo], panel.outputs, trigger_mode="multiple", **quiet)
    photo.upload(lambda: PHOTOGRAPH, None, pattern, **quiet).then(
        show, [*inputs, photo], panel.outputs, trigger_mode="multiple", **quiet
    )

    def fresh(visitor: Visitor) -> list[Any]:
        return list(visitor.settings.get("filters", (gr.skip(),) * 3))

    return Tab("Filters", inputs, [panel], fresh)


def _compared(job: Job, left: Any, right: Any, pattern: Any, photo: Any) -> render.Html:
    from aliasfree.errors import ArgumentError
    from aliasfree.measuring.zone_plate import down_and_up, zone_plate
    from aliasfree.pictures import grid, to_uint8
    from aliasfree.reporting.filters import filter_picture

    names = list(dict.fromkeys((str(left), str(right))))
    configs = [Config.parse(name) for name in names]
    if pattern == PHOTOGRAPH and photo is None:
        raise ArgumentError("Choose a photograph first, or the zone plate.")
    image = limits.photograph(limits.uploaded(photo)) if pattern == PHOTOGRAPH else zone_plate(limits.PHOTOGRAPH)
    parts = []
    shown = [render.tile(grid(to_uint8(image)), "the test pattern", "before")]
    for k, name in enumerate(names):
        job.report(k, len(names) + 1)
        after = grid(to_uint8(down_and_up(name, image)))
        shown.append(render.tile(after, f"the test pattern after {name}", f"{name}: half as large, and back"))
    parts.append(render.tiles("Down and up again", shown))
    filtered = [name for name, config in zip(names, configs, strict=True) if config.up is not None]
    job.report(len(names), len(names) + 1)
    if filtered:
        drawn = filter_picture(filtered)
        words = f"kernel, response and phase gains of {' and '.join(filtered)}"
        parts.append(render.Html(f'<div class="af-scroll">{render.tile(drawn, words, wide=True)}</div>'))
    left_out = [name for name in names if name not in filtered]
    if left_out:
        parts.append(render.note("Config A has no filter: it takes the largest of 2x2 pixels, and interpolates."))
    return render.Html("".join(parts))
