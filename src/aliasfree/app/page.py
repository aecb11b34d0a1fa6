"""The page: its tabs, its look, and what a visitor who loads it again finds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from aliasfree.app.panel import Studio, Tab
from aliasfree.app.tabs import convert, filters, inside, move, training
from aliasfree.app.trainings import Trainings

__all__ = ["STYLE", "build_page", "theme"]

STYLE = Path(__file__).with_name("style.css")
TITLE = "aliasfree studio"
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Fonts of the machine itself; blue of Okabe and Ito, told apart in all common kinds of colour blindness."""
    blue = gr.themes.Color(
        name="okabe", c50="#eef6fb", c100="#d6eaf5", c200="#a9d3ea", c300="#72b7dc", c400="#2f93cb", c500="#0072b2",
        c600="#0066a0", c700="#00558a", c800="#004570", c900="#003556", c950="#00253d",
    )  # fmt: skip
    return gr.themes.Base(primary_hue=blue, secondary_hue=blue, neutral_hue="slate", font=SANS, font_mono=MONO)


def build_page(studio: Studio, trainings: Trainings) -> gr.Blocks:
    """The whole page, not yet served."""
    builders: dict[str, Callable[[], Tab]] = {
        "Move": lambda: move.build(studio),
        "Inside": lambda: inside.build(studio),
        "Filters": lambda: filters.build(studio),
        "Training": lambda: training.build(studio, trainings),
        "Convert": lambda: convert.build(studio),
    }
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        gr.HTML(f'<header class="af-head"><h1>{TITLE}</h1><p>Move, look into, train and convert networks.</p></header>')
        tabs = []
        with gr.Tabs():
            for name, build in builders.items():
                with gr.Tab(name, id=name.lower(), render_children=True):
                    tabs.append(build())
        outputs = [part for tab in tabs for part in (*tab.inputs, *(o for p in tab.panels for o in p.outputs))]

        async def load(request: gr.Request) -> AsyncIterator[list[Any]]:
            visitor = studio.visitor(request)
            values: list[Any] = []
            for tab in tabs:
                values += tab.fresh(visitor)
                values += [value for panel in tab.panels for value in panel.restore(visitor)]
            yield values
            job = studio.jobs.long_job(visitor.token)
            panel = next((p for tab in tabs for p in tab.panels if job and p.kind == job.kind), None)
            if job is None or panel is None:
                return
            at = next(k for k, part in enumerate(outputs) if part is panel.status)
            async for shown in panel.follow(job):
                rest = len(outputs) - at - len(shown)
                yield [*[gr.skip()] * at, *shown, *[gr.skip()] * rest]

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
        filled = page.load(load, None, outputs, **quiet)
        for tab in tabs:
            if tab.loaded is not None:
                filled.then(tab.loaded, list(tab.inputs), tab.panels[0].outputs, **quiet)
    return page
