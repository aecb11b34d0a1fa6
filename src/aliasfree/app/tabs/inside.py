"""The tab Inside: how a sample comes about, and which layers of a network alias."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gradio as gr
import numpy as np

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.panel import Fields, Panel, Studio, Tab, choice
from aliasfree.app.visitors import Recent, Visitor
from aliasfree.app.weights import check_weights
from aliasfree.errors import ArgumentError

__all__ = ["build"]

FEATURE_MAP = "left the layer, right its counterpart, while its input moves by a pixel; what changes sticks to the grid"
KEPT = 4
"""Visitors whose measured layers are kept."""
SHOWN = 12
"""Steps of denoising in a row."""


def build(studio: Studio) -> Tab:
    """Lay the tab out; to be called within it."""
    network = gr.Dropdown([], label="Network", elem_id="inside-network")
    gr.Markdown("### Denoising, step by step")
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, min_width=100)
        steps = gr.Number(30, label="Steps", precision=0, min_width=100)
        denoise = gr.Button("Denoise", variant="primary", min_width=140, elem_id="denoise")
    sampled = Panel(studio, "steps")
    gr.Markdown("### Which layers alias")
    find = gr.Button("Find the guilty layers", variant="primary", elem_id="find-layers")
    measured = Recent(KEPT)
    layers = Panel(studio, "layers", empty="This takes seconds for a small network and minutes for a large one.")
    layer = gr.Dropdown([], label="Layer", elem_id="layer")
    layers.more.append(layer)
    chosen = Panel(studio, "layer", quick=True)
    fields = Fields("inside", network=network, seed=seed, steps=steps)
    fields.remembers(studio)
    sampled.on([denoise.click], fields, "denoising", partial(_denoised, studio))
    layers.on([find.click], Fields("inside", network=network), "measuring", partial(_measured, studio, measured))
    chosen.on([layer.change], Fields("layer", layer=layer), "moving the layer's input", partial(_one_layer, measured))

    def fresh(visitor: Visitor) -> dict[Any, Any]:
        shown = fields.remembered(visitor)
        names = [*studio.networks.runs(), *studio.networks.models()]
        return {**shown, network: choice(names, shown.get(network))}

    return Tab(fields, [sampled, layers, chosen], fresh)


def _denoised(studio: Studio, job: Job, _: Visitor, values: Mapping[str, Any]) -> render.Html:
    """States of one sample: the noise, then after some of the steps, the last one included."""
    from aliasfree.diffusion import sample_generators
    from aliasfree.pictures import gif_bytes, grid
    from aliasfree.sampling.sampler import SampleSettings

    settings = SampleSettings(
        steps=limits.whole(values["steps"], "steps", 1, limits.STEPS),
        seed=limits.whole(values["seed"], "seed", 0, 2**31 - 1),
        scheduler="ddpm-clipped",
    )
    name = str(values["network"] or "")
    sampler = studio.networks.sampler(name, settings)
    if max(sampler.image_size) > limits.SIDE:
        raise ArgumentError(f"{name} makes images above {limits.SIDE} pixels, too large to show here.")
    classes = sampler.num_classes
    output = sampler.pipeline(
        batch_size=1, num_inference_steps=settings.steps, return_frames=True, progress=job.report,
        class_labels=None if classes is None else [settings.seed % classes],
        generator=sample_generators(settings.seed, [0]),
    )  # fmt: skip
    images = [np.asarray(frame[0]) for frame in output.frames]
    pixels = np.stack([i[..., None] if i.ndim == 2 else i for i in images])
    picks = sorted({round(k * (len(pixels) - 1) / (SHOWN - 1)) for k in range(SHOWN)})
    shown = [render.tile(grid(pixels[k : k + 1]), f"after step {k + 1}", f"step {k + 1}") for k in picks]
    scale = max(1, 160 // pixels.shape[2])
    film = gif_bytes([grid(p[None], scale=scale) for p in [*pixels, *[pixels[-1]] * 12]], fps=12)
    moving = render.tile(film, "the same as a film", "all steps", mime="image/gif")
    return render.tiles(name, [*shown, moving], f"{settings.steps} steps")


def _measured(
    studio: Studio, measured: Recent, job: Job, visitor: Visitor, values: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The guilt table, by `measuring.aliasing`; the layers stay with the visitor for a closer look."""
    from aliasfree.measuring.aliasing import measure
    from aliasfree.measuring.targets import SubjectSettings, open_subject
    from aliasfree.reporting.aliasing import equivariance, layer_table

    offer = studio.networks.offer(values["network"])
    path = studio.networks.model(values["network"]) if offer.kind == "model" else offer.path
    if offer.kind == "run":
        check_weights(path / "model")
    subject = open_subject(str(path), SubjectSettings())
    found, by_name = measure(subject, progress=job.report)
    measured.put(visitor.token, (found, by_name))
    words = render.note(f"{subject.name}: {equivariance(found)}. Measured on {subject.about}.")
    names = [layer.name for layer in found.layers]
    return render.Html(words + layer_table(found)), gr.update(choices=names, value=names[0])


def _one_layer(measured: Recent, _: Job, visitor: Visitor, values: Mapping[str, Any]) -> render.Html:
    from aliasfree.measuring.aliasing import film
    from aliasfree.reporting.aliasing import advice
    from aliasfree.reporting.charts import aliasing_spectra

    name = values["layer"]
    if name is None:
        return render.Html("")
    found, by_name = measured.get(visitor.token) or (None, {})
    layer = next((one for one in found.layers if one.name == name), None) if found else None
    if layer is None:
        raise ArgumentError(
            "These layers were measured too long ago and are not kept any more; find the guilty layers again."
        )
    spectra = aliasing_spectra(layer.frequency, layer.signal, layer.alias, layer.name)
    pictures = [
        render.tile(film(by_name[name]), f"feature map of {name}", FEATURE_MAP, mime="image/gif", wide=True),
        render.tile(spectra, f"spectra of {name}", wide=True),
    ]  # fmt: skip
    return render.Html(render.tiles(name, pictures, layer.type) + render.note(f"What would help: {advice(layer)}."))
