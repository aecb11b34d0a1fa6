"""The page: its tabs, its look, and what a visitor who loads it again finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from aliasfree.app import render
from aliasfree.app.panel import QUIET, Studio, Tab
from aliasfree.app.tabs import convert, filters, inside, move, training
from aliasfree.errors import ArgumentError

__all__ = ["STYLE", "TABS", "add_tab", "build_page", "theme"]

STYLE = Path(__file__).with_name("style.css")
TITLE = "aliasfree studio"
HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

TABS: dict[str, Callable[[Studio], Tab]] = {
    "Move": move.build,
    "Inside": inside.build,
    "Filters": filters.build,
    "Training": training.build,
    "Convert": convert.build,
}
"""The tabs from left to right; each is laid out by its function."""


def add_tab(name: str, build: Callable[[Studio], Tab]) -> None:
    """Put a tab behind the others, on every page that is built from now on.

    build  lays it out, within the tab, and says what is to be kept

    Raises ArgumentError for a name that is taken.
    """
    if name in TABS:
        raise ArgumentError(f"The studio has a tab {name} already; choose another name.")
    TABS[name] = build


def theme() -> gr.themes.Base:
    """Fonts of the machine itself; blue of Okabe and Ito, told apart in all common kinds of colour blindness."""
    blue = gr.themes.Color(
        name="okabe", c50="#eef6fb", c100="#d6eaf5", c200="#a9d3ea", c300="#72b7dc", c400="#2f93cb", c500="#0072b2",
        c600="#0066a0", c700="#00558a", c800="#004570", c900="#003556", c950="#00253d",
    )  # fmt: skip
    return gr.themes.Base(primary_hue=blue, secondary_hue=blue, neutral_hue="slate", font=SANS, font_mono=MONO)


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page, not yet served. Raises ArgumentError for two panels of one kind."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        gr.HTML(f'<header class="af-head"><h1>{TITLE}</h1><p>Move, look into, train and convert networks.</p></header>')
        skipped = gr.HTML("", elem_classes=["af-status"], elem_id="skipped")
        tabs = []
        with gr.Tabs():
            for name, build in TABS.items():
                with gr.Tab(name, id=name.lower(), render_children=True):
                    tabs.append(build(studio))
        panels = {panel.kind: panel for tab in tabs for panel in tab.panels}
        if len(panels) < sum(len(tab.panels) for tab in tabs):
            raise ArgumentError("Two panels of the studio are of one kind; give each a name of its own.")

        async def load(request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
            visitor = studio.visitor(request)

            def found() -> dict[Any, Any]:
                values: dict[Any, Any] = {skipped: render.skipped(studio.networks.skipped())}
                for tab in tabs:
                    values |= tab.restore(visitor)
                return values

            yield await asyncio.to_thread(found)
            job = studio.jobs.long_job(visitor.token)
            if job is not None and job.kind in panels:
                async for shown in panels[job.kind].follow(job):
                    yield shown

        filled = page.load(load, None, [skipped, *(part for tab in tabs for part in tab.outputs)], **QUIET)
        for tab in tabs:
            if tab.loaded is not None:
                tab.loaded(filled.then)
    return page
