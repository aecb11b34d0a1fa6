"""The tab Filters: two configs side by side, and what they make of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.panel import QUIET, Fields, Panel, Studio, Tab
from aliasfree.app.visitors import Visitor
from aliasfree.config import Config, known_names
from aliasfree.errors import ArgumentError

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
    fields = Fields("filters", left=left, right=right, pattern=pattern)
    asked = Fields("filters", **fields, photo=photo)
    many: dict[str, Any] = {"trigger_mode": "multiple"}
    panel.on([left.input, right.input, pattern.input, compare.click], asked, "comparing", _compared, **many)
    chosen = photo.upload(lambda: PHOTOGRAPH, None, pattern, **QUIET)
    panel.on([chosen.then], asked, "comparing", _compared, **many)
    return Tab(fields, [panel])


def _compared(job: Job, _: Visitor, values: Mapping[str, Any]) -> render.Html:
    from aliasfree.measuring.zone_plate import down_and_up, zone_plate
    from aliasfree.pictures import grid, to_uint8
    from aliasfree.reporting.filters import filter_picture

    names = list(dict.fromkeys((str(values["left"]), str(values["right"]))))
    configs = [Config.parse(name) for name in names]
    if values["pattern"] != PHOTOGRAPH:
        image = zone_plate(limits.PHOTOGRAPH)
    elif values["photo"] is None:
        raise ArgumentError("Choose a photograph first, or the zone plate.")
    else:
        image = limits.photograph(limits.uploaded(values["photo"]))
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
