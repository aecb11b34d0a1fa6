"""The tab Convert: a diffusers model made alias-free, measured before and after, and saved as a copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.networks import model_folder
from aliasfree.app.panel import Panel, Studio, Tab, choice
from aliasfree.app.visitors import Shelf, Visitor
from aliasfree.config import Config, known_names
from aliasfree.errors import ArgumentError

__all__ = ["build"]

KEEP, PADDINGS = "as it is", ("as it is", "circular", "zeros", "reflect")
CONVERTED = "converted"
"""The folder, below `runs/`, of saved copies."""


def build(studio: Studio) -> Tab:
    """Lay the tab out; to be called within it."""
    parsed = {name: Config.parse(name).traits for name in known_names()}
    configs = [name for name, traits in parsed.items() if traits.convertible and traits.is_filtered]
    with gr.Row():
        model = gr.Dropdown([], label="Model or pipeline", elem_id="convert-model", scale=2, min_width=200)
        part = gr.Radio(["unet", "vae"], value="unet", label="Part of a pipeline", min_width=140)
        config = gr.Dropdown(configs, value="D-hq", label="Config", min_width=110, elem_id="convert-config")
        padding = gr.Dropdown(list(PADDINGS), value=KEEP, label="Padding", min_width=110)
    dropped = gr.File(
        label="Or drop the folder of one model (config.json and .safetensors)", file_count="directory",
        type="filepath", elem_id="dropped", height=110,
    )  # fmt: skip
    go = gr.Button("Convert and measure", variant="primary", elem_id="convert")
    panel = Panel(studio, "convert")
    save = gr.Button("Save the converted copy", elem_id="save-converted")
    saved = Panel(studio, "saved")
    shelf = Shelf()
    inputs = [model, part, config, padding]

    async def convert(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        studio.visitor(request).settings["convert"] = values[:4]
        work = partial(_converted, studio, shelf, *values)
        async for shown in panel.start(request, "converting", lambda job, who: work(job=job, visitor=who)):
            yield shown

    async def keep(request: gr.Request) -> AsyncIterator[Any]:
        async for shown in saved.start(request, "saving", lambda job, who: _saved(studio, shelf, job, who)):
            yield shown

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    go.click(convert, [*inputs, dropped], panel.outputs, **quiet)
    save.click(keep, None, saved.outputs, **quiet)

    def fresh(visitor: Visitor) -> list[Any]:
        names = studio.networks.models()
        before = visitor.settings.get("convert", (None, "unet", "D-hq", KEEP))
        return [choice(names, before[0]), *before[1:]]

    return Tab("Convert", inputs, [panel, saved], fresh)


def _converted(
    studio: Studio,
    shelf: Shelf,
    name: Any,
    part: Any,
    config: Any,
    padding: Any,
    dropped: Any,
    *,
    job: Job,
    visitor: Visitor,
) -> render.Html:
    from aliasfree.measuring.conversion import convert_and_measure
    from aliasfree.measuring.targets import SubjectSettings, open_subject
    from aliasfree.reporting import html
    from aliasfree.reporting.aliasing import db

    with tempfile.TemporaryDirectory() as folder:
        if dropped:
            path, name = _gathered(dropped, Path(folder) / "model"), "the dropped model"
        else:
            path = studio.networks.find(name)
            if str(name) not in studio.networks.models():
                raise ArgumentError(f"{name} is a run, whose config is chosen when it is trained; choose a model.")
            limits.check_weights(model_folder(path, str(part)))
        subject = open_subject(str(path), SubjectSettings(part=str(part)))
    mode = None if padding == KEEP else str(padding)
    done = convert_and_measure(subject, str(config), mode, progress=job.report)
    shelf.put(visitor.token, (done.model, "model" if dropped else Path(str(name)).name, str(config)))
    rows = [
        (words, db(a.eq_t), db(a.eq_t_frac), "–" if a.eq_r is None else db(a.eq_r))
        for words, a in (("before", done.before), (f"after, {config}", done.after))
    ]
    table = html.table(["", "EQ-T, whole pixels", "EQ-T_frac, fractions", "EQ-R, turns"], rows)
    about = render.note(f"{type(done.model).__name__} of {name}, on {subject.about}.")
    report = f"<details open><summary>What was converted</summary><pre>{html.escape(str(done.report))}</pre></details>"
    return render.Html(about + table + report)


def _saved(studio: Studio, shelf: Shelf, job: Job, visitor: Visitor) -> render.Html:
    from aliasfree.files import new_folder
    from aliasfree.outputs import free_name

    converted = shelf.get(visitor.token)
    if converted is None:
        raise ArgumentError("Convert a model first; the studio keeps the models of the last four visitors who did.")
    model, name, config = converted
    out = free_name(studio.networks.home / CONVERTED, f"{name}-{config}", lambda path: [path])
    job.report(0, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out) as aside:
        model.save_pretrained(aside)
    return render.note(f"Saved in {out}; `aliasfree.{type(model).__name__}.from_pretrained` loads it.")


def _gathered(files: Sequence[str], folder: Path) -> Path:
    """The dropped files that a model is made of, in a folder. Raises ArgumentError for what is not one model."""
    paths = [limits.uploaded(file) for file in files]
    configs = [p for p in paths if p.name == "config.json"]
    if len(configs) != 1:
        found = "no config.json" if not configs else "several models"
        raise ArgumentError(
            f"The dropped folder holds {found}; drop the folder of one model, such as a pipeline's unet."
        )
    folder.mkdir()
    for path in paths:
        if path.name == "config.json" or path.suffix == ".safetensors" or path.name.endswith(".safetensors.index.json"):
            shutil.copy(path, folder / path.name)
    limits.check_weights(folder)
    return folder
