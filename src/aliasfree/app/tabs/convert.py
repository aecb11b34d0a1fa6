"""The tab Convert: a diffusers model made alias-free, measured before and after, and saved as a copy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from aliasfree.app import limits, render
from aliasfree.app.apart import run_apart
from aliasfree.app.conversions import Conversion, convert_folder
from aliasfree.app.jobs import Job
from aliasfree.app.panel import Fields, Panel, Studio, Tab, choice
from aliasfree.app.visitors import Recent, Visitor
from aliasfree.app.weights import check_weights
from aliasfree.config import Config, known_names
from aliasfree.errors import ArgumentError

if TYPE_CHECKING:
    from aliasfree.measuring.conversion import Equivariance

__all__ = ["build"]

KEEP, PADDINGS = "as it is", ("as it is", "circular", "zeros", "reflect")
CONVERTED = "converted"
"""The folder, below `runs/`, of saved copies."""
KEPT = 4
"""Visitors whose converted models are kept until they are saved."""
EDGE = (
    "Over the whole image, EQ also sees the padding: a network that pads with zeros knows where the edge is, and a "
    "conversion that keeps the padding does not change that; its longer filters may even carry it further. “Inside” "
    "leaves out {margin} pixels more at every edge, where the padding is seen least."
)


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
    copies = Recent(KEPT)
    fields = Fields("convert", model=model, part=part, config=config, padding=padding)
    fields.remembers(studio)
    asked = Fields("convert", **fields, dropped=dropped)
    panel.on([go.click], asked, "converting", partial(_converted, studio, copies))
    saved.on([save.click], Fields("convert"), "saving", partial(_saved, studio, copies))

    def fresh(visitor: Visitor) -> dict[Any, Any]:
        shown = fields.remembered(visitor)
        return {**shown, model: choice(studio.networks.models(), shown.get(model))}

    return Tab(fields, [panel, saved], fresh)


class _Copy:
    """A converted model on the disk, gone when nobody has it any more."""

    def __init__(self, name: str) -> None:
        # beside what was sent, where it is cleared up after a kill as well
        sent = os.environ.get("GRADIO_TEMP_DIR")
        self.name = name
        self._folder = tempfile.TemporaryDirectory(dir=Path(sent).parent if sent else None)
        self.path = Path(self._folder.name)


def _converted(studio: Studio, copies: Recent, job: Job, visitor: Visitor, values: Mapping[str, Any]) -> render.Html:
    config, padding = str(values["config"]), values["padding"]
    name = "the dropped model" if values["dropped"] else str(values["model"])
    copy = _Copy(f"{'model' if values['dropped'] else Path(name).name}-{config}")
    if values["dropped"]:
        path = _gathered(values["dropped"], copy.path / "sent")
    else:
        path = studio.networks.model(values["model"], str(values["part"]))
    mode = None if padding == KEEP else str(padding)
    done: Conversion = run_apart(job, convert_folder, str(path), str(values["part"]), config, mode, copy.path / "copy")
    copies.put(visitor.token, (done, copy))
    about = render.note(f"{done.kind} of {name}, on {done.about}.")
    details = render.Html(
        f"<details open><summary>What was converted</summary><pre>{render.escape(done.report)}</pre></details>"
    )
    return render.Html(about + _table(config, done.before, done.after) + details)


def _table(config: str, before: Equivariance, after: Equivariance) -> render.Html:
    from aliasfree.reporting import html
    from aliasfree.reporting.aliasing import db

    rows = [
        (words, *("–" if v is None else db(v) for v in (a.eq_t, a.eq_t_frac, *(a.inside or (None, None)), a.eq_r)))
        for words, a in (("before", before), (f"after, {config}", after))
    ]
    heads = [
        "", "EQ-T, whole pixels", "EQ-T_frac, fractions", "EQ-T inside", "EQ-T_frac inside", "EQ-R, turns",
    ]  # fmt: skip
    margin = max(before.margin, after.margin)
    return render.Html(html.table(heads, rows) + (render.note(EDGE.format(margin=margin)) if margin else ""))


def _saved(studio: Studio, copies: Recent, job: Job, visitor: Visitor, _: Mapping[str, Any]) -> render.Html:
    from aliasfree.files import new_folder
    from aliasfree.outputs import free_name

    done, copy = copies.get(visitor.token) or (None, None)
    if done is None or copy is None:
        raise ArgumentError("Convert a model first; the studio keeps the models of the last four visitors who did.")
    out = free_name(studio.networks.home / CONVERTED, copy.name, lambda path: [path])
    job.report(0, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out) as aside:
        shutil.copytree(done.folder, aside)
    return render.note(f"Saved in {out}; `aliasfree.{done.kind}.from_pretrained` loads it.")


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
    check_weights(folder)
    return folder
