"""The tab Training: curves and samples of a run while it is trained; small runs are started and stopped here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from aliasfree.app import render
from aliasfree.app.jobs import Job
from aliasfree.app.panel import QUIET, Fields, Panel, Studio, Tab
from aliasfree.app.visitors import Visitor
from aliasfree.config import known_names
from aliasfree.data import source_names
from aliasfree.errors import AliasfreeError

__all__ = ["build"]

EVERY = 2.0
"""Seconds between two looks into the folder."""
GRIDS = 3
EMPTY = "Choose a run, or start one below."


def build(studio: Studio) -> Tab:
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
        data = gr.Dropdown(list(source_names()), value="digits", label="Data", min_width=110)
        steps = gr.Number(400, label="Steps", precision=0, min_width=90, elem_id="new-steps")
        size = gr.Dropdown([8, 16, 24, 32, 64], value=16, label="Image size", min_width=90, elem_id="new-size")
        width = gr.Dropdown([4, 8, 16, 32, 64], value=16, label="Width", min_width=90, elem_id="new-width")
        seed = gr.Number(42, label="Seed", precision=0, min_width=90)
    start = gr.Button("Start training", variant="primary", elem_id="start-training")
    timer = gr.Timer(EVERY)
    new = Fields(
        "training", name=name, config=config, data=data, steps=steps, image_size=size, base_channels=width, seed=seed
    )
    new.remembers(studio)
    trainings = studio.trainings

    async def has_changed(visitor: Visitor, values: Mapping[str, Any]) -> bool:
        now = (values["run"], await asyncio.to_thread(_mark, studio, values["run"]))
        before, visitor.kept["training"] = visitor.kept.get("training"), now
        return before != now

    def view(_: Job, __: Visitor, values: Mapping[str, Any]) -> render.Html:
        return _view(studio, values["run"])

    def begin(request: gr.Request, *values: Any) -> tuple[Any, Any]:
        try:
            folder = trainings.start(studio.visitor(request).token, new.named(values))
        except AliasfreeError as error:
            return render.error(str(error)), gr.skip()
        words = render.note(f"{folder} is being trained; its first figures come in some seconds.")
        names = studio.networks.runs(trained=False)
        return words, gr.update(choices=list(dict.fromkeys([*names, str(folder)])), value=str(folder))

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

    shown = Fields("training run", run=run)
    panel.on([run.change], shown, "reading the run", view, when=has_changed, trigger_mode="multiple")
    panel.on([timer.tick], shown, "reading the run", view, when=has_changed)
    start.click(begin, new.components, [said, run], **QUIET)
    stop.click(end, run, said, **QUIET)
    go_on.click(again, [run, steps_more], said, **QUIET)

    def fresh(visitor: Visitor) -> dict[Any, Any]:
        visitor.kept.pop("training", None)
        return {run: gr.update(choices=studio.networks.runs(trained=False)), **new.remembered(visitor)}

    return Tab(new, [panel], fresh, more=[run])


def _mark(studio: Studio, chosen: Any) -> Any:
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
    return rows, grids, studio.trainings.is_fresh(path), studio.trainings.failure(path)


def _view(studio: Studio, chosen: Any) -> render.Html:
    from aliasfree.reporting.charts import learning_curves

    if not chosen:
        return render.note(EMPTY)
    folder, trainings = Path(str(chosen)), studio.trainings
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
