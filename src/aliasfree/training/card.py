"""README.md of a run: a model card as the Hugging Face hub has it, YAML in front and text behind.

The last line holds the digest of all before it. A card whose digest is right is the library's and is kept up to date;
one that somebody has changed is theirs and is left alone.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.config import PAPER_CONFIGS, Config
from aliasfree.files import write_file

if TYPE_CHECKING:
    from aliasfree.estimate import Estimate
    from aliasfree.training.run_folder import RunFolder

__all__ = ["CardFigure", "write_card"]

_LAST_LINE = "<!-- aliasfree keeps this card up to date until you change it: step {}, {} -->"
_ON_THE_HUB = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10"}
_TERMS = {
    "cifar10": "CIFAR-10 (Krizhevsky 2009) is given for research, without an explicit licence.",
    "mnist": "MNIST (LeCun, Cortes, Burges) is commonly given as CC BY-SA 3.0.",
    "mnist-m": "MNIST-M is made of MNIST, commonly given as CC BY-SA 3.0, and of photographs of BSDS500 (Arbelaez "
    "et al. 2011), which are for non-commercial research.",
}
"""Of the data sets that have a name here."""
_ASIDE = {
    "data", "config", "out", "model", "device", "steps", "skip_bad", "compile", "checkpoint_every", "keep_checkpoints",
    "sample_every", "sample_num", "sample_steps", "save_training_images",
}  # fmt: skip
"""Settings that decide nothing of the weights, name places, or are told otherwise."""
_LOG = logging.getLogger("aliasfree")
_SAID: set[Path] = set()


@dataclass(frozen=True)
class CardFigure:
    """A figure of the finished network, such as its FID."""

    name: str  # "FID"
    features: str  # by which images were compared; "" = none
    value: Estimate
    floor: Estimate | None  # the figure of real images
    digits: int


def write_card(folder: RunFolder, step: int, figures: Sequence[CardFigure] = (), about: str = "") -> bool:
    """Write the card of a run, unless somebody has changed the one that is there; gives whether it is up to date.

    step     training steps that the weights have behind them
    figures  what was measured of these weights; () = nothing, or nothing new: those of the same step stay
    about    on what, in words: "10,000 images, 50 steps of ddpm"

    Raises OSError, and RunError as `RunFolder.config`.
    """
    path = folder.path / "README.md"
    there = _step(path)
    if there is None:
        if path not in _SAID:
            _SAID.add(path)
            _LOG.warning("%s was changed by hand, so it is left as it is; delete it to get a new one.", path)
        return False
    if figures or there != step:
        text = _compose(folder, step, figures, about)
        write_file(path, text + _LAST_LINE.format(step, _digest(text)) + "\n")
    return True


def _step(path: Path) -> int | None:
    """The step that a card of the library's tells of; -1 = there is no card, None = it is somebody's own."""
    try:
        text, _, last = path.read_bytes().decode(errors="replace").rstrip("\n").rpartition("\n")
    except FileNotFoundError:
        return -1
    found = re.search(r"step (\d+), ", last)
    return int(found[1]) if found and last == _LAST_LINE.format(found[1], _digest(f"{text}\n")) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _compose(folder: RunFolder, step: int, figures: Sequence[CardFigure], about: str) -> str:
    name, config, published = folder.path.resolve().name, folder.config, folder.is_published
    settings, data, network = config["settings"], config.get("data", {}), config["model"]
    source = _source(settings["data"])
    height, width = data.get("image_size", (None, None))
    kind = "grey" if data.get("channels") == 1 else "colour"
    text = [
        f"---\n{_front_matter(name, settings, source, figures)}\n---\n",
        f"# {name}\n",
        f"A diffusion model of {kind} images of {height}x{width} pixels, {_config(settings['config'])}, "
        f"trained with aliasfree {config.get('versions', {}).get('aliasfree', '')}.\n",
        *(["![Samples of the network](samples.png)\n"] if published else []),
        f"## Use\n\n```python\n{_usage(name if published else f'{name}/model', settings, network)}```\n",
        f"## Data\n\n{_data(source, data)}\n",
        f"## Training\n\n{_training(settings, config, step)}\n",
        f"## Figures\n\n{_figures(figures, about)}\n",
        "## Licence\n\nThe library is under Apache-2.0. Whoever publishes these weights chooses their licence and "
        "names it as `license` in the first lines of this file. Mind the terms of the training data.\n",
        f"## Publish\n\n```python\n{_publishing(name)}```\n\n",
    ]
    return "\n".join(text)


def _config(name: str) -> str:
    """The config in words: the paper's letters and steps are told from those of this library."""
    paper, about = "[arXiv 2411.09174](https://arxiv.org/abs/2411.09174)", Config.parse(name).description
    if name in PAPER_CONFIGS:
        return f"Config {name} of {paper} ({about})"
    return f"Config {name} of aliasfree ({about}), after {paper}"


def _front_matter(name: str, settings: dict[str, Any], source: str, figures: Sequence[CardFigure]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    hub = source.removeprefix("hub:") if source.startswith("hub:") else _ON_THE_HUB.get(source)
    results = [
        EvalResult(
            task_type="unconditional-image-generation",
            dataset_type=hub or re.sub(r"[^\w.-]+", "-", source),
            dataset_name=source,
            metric_type=re.sub(r"\W+", "_", figure.name.lower()).strip("_"),
            metric_name=f"{figure.name} ({figure.features})" if figure.features else figure.name,
            metric_value=str(figure.value.value) if abs(figure.value.value) == float("inf") else figure.value.value,
        )
        for figure in figures
    ]
    about = ModelCardData(
        license="unknown",
        library_name="diffusers",
        pipeline_tag="unconditional-image-generation",
        tags=["aliasfree", "diffusion", "image-generation", f"config-{settings['config']}", "arxiv:2411.09174"],
        datasets=[hub] if hub else None,
        model_name=name,
        eval_results=results or None,
    )
    return about.to_yaml().strip()


def _usage(place: str, settings: dict[str, Any], network: dict[str, Any]) -> str:
    model = network.get("_class_name", "AliasFreeUNet2DModel")
    labels = ", class_labels=[0, 1, 2, 3]" if settings.get("class_conditional") else ""
    steps = settings.get("num_train_timesteps", 1000)
    schedule = "" if steps == 1000 else f"num_train_timesteps={steps}"
    return (
        f"from aliasfree import AliasFreePipeline, {model}, PaperDDPMScheduler\n\n"
        f'model = {model}.from_pretrained("{place}")  # or the name of a repository on the hub\n'
        f"pipeline = AliasFreePipeline(model, PaperDDPMScheduler({schedule}))\n"
        f"images = pipeline(batch_size=4, num_inference_steps={min(50, steps - 1)}{labels}).images\n"
        'images[0].save("sample.png")\n'
    )


def _data(source: str, data: dict[str, Any]) -> str:
    names = data.get("class_names")
    classes = f" Classes: {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}." if names else ""
    images = f"{data['images']:,} images" if "images" in data else "Images"
    terms = f" {_TERMS[source]}" if source in _TERMS else ""
    return (
        f"{images} of `{source}`, split {data.get('split')}.{classes} Fingerprint: `{data.get('fingerprint')}`.{terms}"
    )


def _training(settings: dict[str, Any], config: dict[str, Any], step: int) -> str:
    rows = {"steps": f"{step:,}"} | {k: v for k, v in settings.items() if k not in _ASIDE and v is not None}
    if settings.get("model") is not None:
        rows["begun from"] = Path(settings["model"]).name
    rows |= {"parameters": f"{config['parameters']:,}"} if "parameters" in config else {}
    rows |= {f"version of {k}": v for k, v in config.get("versions", {}).items()}
    lines = [f"| {key.replace('_', ' ')} | {value} |" for key, value in rows.items()]
    return "\n".join(["| setting | value |", "| --- | --- |", *lines])


def _figures(figures: Sequence[CardFigure], about: str) -> str:
    if not figures:
        return "Not measured at this step. `aliasfree evaluate` measures the network and puts the figures here."
    lines = ["| figure | of the model | of real images | features |", "| --- | --- | --- | --- |"]
    for f in figures:
        floor = "" if f.floor is None else f.floor.text(f.digits)
        lines.append(f"| {f.name} | {f.value.text(f.digits)} | {floor} | {f.features} |")
    return f"Measured by `aliasfree evaluate` on {about}. In brackets: 95 % intervals.\n\n" + "\n".join(lines)


def _publishing(name: str) -> str:
    return (
        "from aliasfree.training import RunFolder\n"
        "from huggingface_hub import ModelCard\n\n"
        f'RunFolder("{name}").load_model().push_to_hub("YOUR-NAME/{name}")\n'
        f'ModelCard.load("{name}/README.md").push_to_hub("YOUR-NAME/{name}")\n'
    )


def _source(data: str) -> str:
    """The data as they may be named to others: a path without the folders above."""
    return Path(data).name if "/" in data and not data.startswith("hub:") else data
