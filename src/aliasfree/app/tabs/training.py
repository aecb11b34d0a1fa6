"""The tab Training: curves and samples of a run while it is trained; small runs are started and stopped here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from aliasfree.app import render
from aliasfree.app.panel import Panel, Studio, Tab
from aliasfree.app.trainings import DATA, Trainings
from aliasfree.app.visitors import Visitor
from aliasfree.config import known_names
from aliasfree.errors import AliasfreeError

__all__ = ["build"]

EVERY = 2.0
"""Seconds between two looks into the folder."""
GRIDS = 3
EMPTY = "Choose a run, or start one below."


def build(studio: Studio, trainings: Trainings) -> Tab:
    """Lay the tab out; to be called within it."""
    with gr.Row():
        run = gr.Dropdown([], label="Run", elem_id="training-run", scale=3, min_width=200)
        steps_more = gr.Number(600, label="Steps in all", precision=0, min_width=110, elem_id="training-total")
        go_on = gr.Button("Resume", min_width=110, elem_id="resume")
        stop = gr.Button("Stop and save", min_width=110, elem_id="stop")
    said = gr.HTML("", elem_id="training-said")
    panel = Panel(studio, "training", quick=True, empty=EMPTY)
    gr.Markdown("### A new run")
    with gr.Row():
        name = gr.Textbox("digits-1", label="Name", max_lines=1, min_width=120, elem_id="new-name")
        config = gr.Dropdown(list(known_names()), value="T", label="Config", min_width=110)
        data = gr.Dropdown(list(DATA), value="digits", label="Data", min_width=110)
        steps = gr.Number(400, label="Steps", precision=0, min_width=90, elem_id="new-steps")
        size = gr.Dropdown([8, 16, 24, 32, 64], value=16, label="Image size", min_width=90, elem_id="new-size")
        width = gr.Dropdown([4, 8, 16, 32, 64], value=16, label="Width", min_width=90, elem_id="new-width")
        seed = gr.Number(42, label="Seed", precision=0, min_width=90)
    start = gr.Button("Start training", variant="primary", elem_id="start-training")
    timer = gr.Timer(EVERY)
    fields = [name, config, data, steps, size, width, seed]

    async def look(request: gr.Request, chosen: Any) -> AsyncIterator[Any]:
        visitor = studio.visitor(request)
        now = (chosen, _mark(studio, trainings, chosen))
        if visitor.kept.get("training") == now:
            yield [gr.skip()] * len(panel.outputs)
            return
        visitor.kept["training"] = now
        async for shown in panel.start(request, "reading the run", lambda _, __: _view(studio, trainings, chosen)):
            yield shown

    def begin(request: gr.Request, *values: Any) -> tuple[Any, Any]:
        visitor = studio.visitor(request)
        visitor.settings["training"] = values
        names = ("name", "config", "data", "steps", "image_size", "base_channels", "seed")
        try:
            folder = trainings.start(visitor.token, **dict(zip(names, values, strict=True)))
        except AliasfreeError as error:
            return render.error(str(error)), gr.skip()
        words = render.note(f"{folder} is being trained; its first figures come in some seconds.")
        return words, gr.update(choices=_names(studio, str(folder)), value=str(folder))

    def end(request: gr.Request, chosen: Any) -> str:
        try:
            trainings.stop(studio.visitor(request).token, studio.networks.find(chosen))
        except AliasfreeError as error:
            return render.error(str(error))
        return render.note(f"{chosen} finishes its step, saves and stops.")

    def again(request: gr.Request, chosen: Any, total: Any) -> str:
        try:
            trainings.resume(studio.visitor(request).token, studio.networks.find(chosen), total)
        except AliasfreeError as error:
            return render.error(str(error))
        return render.note(f"{chosen} goes on to {total:g} steps.")

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    run.change(look, run, panel.outputs, trigger_mode="multiple", **quiet)
    timer.tick(look, run, panel.outputs, **quiet)
    start.click(begin, fields, [said, run], **quiet)
    stop.click(end, run, said, **quiet)
    go_on.click(again, [run, steps_more], said, **quiet)

    def fresh(visitor: Visitor) -> list[Any]:
        visitor.kept.pop("training", None)
        names = _names(studio)
        return [gr.update(choices=names), *visitor.settings.get("training", (gr.skip(),) * len(fields))]

    return Tab("Training", [run, *fields], [panel], fresh)


def _names(studio: Studio, new: str | None = None) -> list[str]:
    names = studio.networks.runs(trained=False)
    return [*names, *([new] if new and new not in names else [])]


def _mark(studio: Studio, trainings: Trainings, chosen: Any) -> Any:
    """What changes when there is something new to show."""
    path = Path(str(chosen))
    try:
        studio.networks.find(chosen)
        samples = path / "samples"
        grids = len(list(samples.iterdir())) if samples.is_dir() else 0
        losses = path / "losses.csv"
        rows = losses.stat().st_size if losses.is_file() else 0
    except (AliasfreeError, OSError):
        return None
    return rows, grids, trainings.is_fresh(path), trainings.failure(path)


def _view(studio: Studio, trainings: Trainings, chosen: Any) -> render.Html:
    from aliasfree.reporting.charts import learning_curves

    if not chosen:
        return render.note(EMPTY)
    folder = Path(str(chosen))
    if trainings.failure(folder):
        return render.error(trainings.failure(folder))
    if trainings.running(folder) and not (folder / "config.json").is_file():
        return render.note(f"{chosen} is being set up.")
    run = studio.networks.run(chosen)
    settings = run.settings
    steps, losses = run.losses()
    total = f" of {settings.steps}" if settings.steps else ""
    state = "being trained" if trainings.is_fresh(folder) else "not being trained"
    words = f"{chosen}: config {settings.config} on {settings.data}, step {len(steps)}{total}, {state}."
    parts = [render.note(words)]
    if len(steps):
        window = max(1, min(101, len(steps) // 8))
        parts.append(
            render.tile(learning_curves([(settings.config, steps, losses)], window), "loss by step", wide=True)
        )
    grids = sorted(run.samples.glob("*.png"))[-GRIDS:]
    shown = [render.tile(path.read_bytes(), f"samples, {path.stem}", path.stem) for path in grids]
    if shown:
        parts.append(render.tiles("Samples", shown, "the newest on the right"))
    return render.Html("".join(parts))
