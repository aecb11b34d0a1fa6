"""`aliasfree tune`: tuning, and then one table of stock, converted and tuned model, and the curve as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError
from aliasfree.estimate import Estimate
from aliasfree.files import together, write_file, write_json
from aliasfree.settings import Settings, at_least, option
from aliasfree.tuning.settings import MEASURED

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from aliasfree.evaluation.features import Extractor
    from aliasfree.tuning import TuneSettings
    from aliasfree.tuning.teachers import Pair

__all__ = ["MODELS", "TableSettings", "TuneTable", "measure", "tune_and_measure"]

MODELS = ("stock", "converted", "tuned")
"""The columns: the teacher, its converted copy before any training, and what tuning made of it."""
CONTROL = "stock, trained on"
"""One more column, of a control: what the same steps with the same optimizer make of the teacher on its own task."""
ALIKE = (
    *("data", "split", "num_images", "image_size", "samples", "vae", "embeddings", "steps", "batch_size"),
    *("lr", "lr_warmup", "lr_schedule", "weight_decay", "grad_clip", "ema_decay", "mixed_precision", "lora", "seed"),
)
"""Settings in which a control must be like the run that it stands beside."""
TABLE, CURVE, SPECTRA = "table.json", "curve.png", "spectra.png"


@dataclass(frozen=True, kw_only=True)
class TableSettings(Settings):
    """What is measured in the end. Raises ArgumentError."""

    images: int = option(128, "Held-out images of the table.", panel=MEASURED, names=("--table-images",))
    distance_images: int = option(
        512, "Reconstructions, or samples, for the Frechet distance; 0 is none.", at_least(0), panel=MEASURED
    )
    features: str = option(
        "pixels", "Of that distance: pixels, classifier, efficientnet, inception ...", panel=MEASURED
    )
    weights: Path | None = option(None, "The file of weights of Inception, CLIP or VGG.", panel=MEASURED)
    control: Path | None = option(
        None, "A finished run of config A, the stock model trained on with the same options: one more column.",
        panel=MEASURED,
    )  # fmt: skip

    def check(self) -> None:
        """One image has no spread."""
        if self.images < 2 or self.distance_images == 1:
            raise ArgumentError("`table_images` is at least 2, `distance_images` 0 or at least 2.")


@dataclass(frozen=True)
class TuneTable:
    """figures[model][figure]; notes say how they were measured."""

    figures: dict[str, dict[str, Estimate]]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Of the figures, in order."""
        return list(self.figures[MODELS[0]])

    @property
    def models(self) -> list[str]:
        """The columns."""
        return list(self.figures)

    def row(self, name: str) -> list[str]:
        """The name and the figure of each model, with its interval."""
        return [name, *(_text(name, self.figures[model][name]) for model in self.models)]

    def markdown(self) -> str:
        """The table and its notes."""
        head = ["", *self.models]
        lines = [head, ["---", *("---:" for _ in self.models)], *(self.row(name) for name in self.names)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n" + "\n".join(self.notes) + "\n"


def tune_and_measure(
    settings: TuneSettings,
    table: TableSettings | None = None,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> tuple[Path, TuneTable | None]:
    """`aliasfree.tuning.tune`, and then `measure`; the folder and the table. Of several processes the first measures,
    and the others have no table. Raises what they do."""
    from aliasfree.tuning import tune

    table = table or TableSettings()
    extractor = _extractor(settings, table) if table.distance_images else None  # refused before hours of training
    if table.control is not None:
        _check_control(table.control, settings)
    run = tune(settings, resume=resume, console=console)
    if int(os.environ.get("RANK", "0")) != 0:
        return run.path, None
    return run.path, measure(run.path, table, extractor=extractor)


def measure(out: Path, table: TableSettings, *, extractor: Extractor | None = None, progress: Any = None) -> TuneTable:
    """Stock, converted and tuned model of a finished run on the same held-out images.

    Writes `table.json`, `table.md`, `curve.png` and, of autoencoders, `spectra.png` into the run's folder.

    progress  gives a `Report` for each stage; None = bars on a terminal
    """
    import torch

    from aliasfree.devices import find_device
    from aliasfree.progress import bars
    from aliasfree.training import RunFolder
    from aliasfree.tuning.samples import own_samples
    from aliasfree.tuning.state import seen_by
    from aliasfree.tuning.teachers import open_pair
    from aliasfree.tuning.trainer import SAMPLES, held_out, open_training_data, read_settings

    settings = read_settings(out)
    run = RunFolder(out)
    device = find_device(settings.device)
    pair = open_pair(settings)
    models: dict[str, Any] = dict(zip(MODELS, (pair.teacher, pair.student, run.load_model()), strict=True))
    if table.control is not None:
        _check_control(table.control, settings)
        models[CONTROL] = RunFolder(table.control).load_model()
    for model in (*models.values(), pair.autoencoder):
        if model is not None:
            model.to(device).eval().requires_grad_(False)
    most = max(table.images, table.distance_images)
    if settings.data is None:
        every = own_samples(pair, run.path / SAMPLES, settings.samples + settings.measure_images, settings.sample_steps,
                            settings.seed)  # fmt: skip
        held, apart = torch.from_numpy(every.images)[settings.samples :], True
    else:
        held, apart = held_out(settings, pair, open_training_data(settings, pair), most)
    x = seen_by(pair, held.to(device), torch.Generator(device=device).manual_seed(1))
    with bars("", None) as stage:
        report = progress or stage
        figures = {name: _figures(pair, model, x[: table.images]) for name, model in models.items()}
        if table.distance_images and extractor is not None:
            _add_distances(pair, models, x[: table.distance_images], figures, extractor, table, settings, report)
    notes = _notes(pair, settings, min(table.images, len(x)), apart, table if extractor is not None else None,
                   settings.steps if table.control is not None else None)  # fmt: skip
    found = TuneTable(figures, notes)
    spectra = _spectra(pair, models, x[: table.images])
    with together():
        write_json(out / TABLE, {"figures": figures, "notes": notes, "latent_spectra": spectra})
        write_file(out / "table.md", found.markdown())
    _draw(run, pair, spectra)
    return found


def _check_control(control: Path, settings: TuneSettings) -> None:
    """Raise ArgumentError unless the run in `control` is finished, and like the settings but for conversion and losses;
    `RunError` where there is none."""
    from aliasfree.training import RunFolder
    from aliasfree.tuning.teachers import fingerprint, open_pair
    from aliasfree.tuning.trainer import curve_of, read_settings, settled

    theirs, ours = read_settings(control), settled(settings)
    if not theirs.is_control:
        raise ArgumentError(f"{control} is a run of config {theirs.config}; a control is tuned with `config` A.")
    for name in ALIKE:
        if getattr(theirs, name) != getattr(ours, name):
            raise ArgumentError(
                f"The control in {control} has `{name}` {getattr(theirs, name)}, this run {getattr(ours, name)}; train "
                f"a control with the same, or leave it out."
            )
    _, points = curve_of(RunFolder(control))
    if not points or points[-1].step < theirs.steps:
        raise ArgumentError(f"The control {control} is not finished; resume it first.")
    if RunFolder(control).config["teacher"] != fingerprint(open_pair(ours).teacher):
        raise ArgumentError(f"The control in {control} was begun with another teacher; train one of {settings.model}.")


def _figures(pair: Pair, model: Any, x: Tensor) -> dict[str, Estimate]:
    from aliasfree.tuning.measure import autoencoder_figures, unet_figures

    return (autoencoder_figures if pair.kind == "autoencoder" else unet_figures)(pair, model, x)


def _extractor(settings: TuneSettings, table: TableSettings) -> Extractor:
    from aliasfree.measuring.extractors import make_extractor
    from aliasfree.measuring.real_images import open_real

    real = None
    if table.features == "classifier" and settings.data is not None:
        size = settings.image_size
        real = open_real(settings.data, (size, size) if isinstance(size, int) else size, split=settings.split)
    return make_extractor(table.features, real, table.weights)


def _add_distances(
    pair: Pair,
    models: dict[str, Any],
    x: Tensor,
    figures: dict[str, dict[str, Estimate]],
    extractor: Extractor,
    table: TableSettings,
    settings: TuneSettings,
    stage: Callable[[str], Any],
) -> None:
    """rFID of reconstructions against the images, or FD of a UNet's samples against the teacher's from other noise."""
    import torch

    from aliasfree.evaluation.features import extract
    from aliasfree.evaluation.fidelity import frechet_estimate
    from aliasfree.tuning.samples import draw

    def features(images: Tensor) -> Tensor:
        return extract(extractor, images).values

    if pair.kind == "autoencoder":
        name, reference = "rFID", features(_uint8(x))
    else:
        name = "FD against the teacher"
        reference = features(_images(pair, draw(pair, pair.teacher, table.distance_images, settings.sample_steps,
                                                settings.seed + 1, stage("teacher's samples"))))  # fmt: skip
    for label, model in models.items():
        if pair.kind == "autoencoder":
            with torch.no_grad():
                parts = [model.decode(model.encode(v).latent_dist.mode()).sample for v in x.split(32)]
            made = _uint8(torch.cat(parts))
        else:
            steps = settings.sample_steps
            made = _images(
                pair, draw(pair, model, table.distance_images, steps, settings.seed, stage(f"{label} samples"))
            )
        found = features(made)
        singular = min(len(found), len(reference)) <= found.shape[1]
        figures[label][name] = frechet_estimate(found, reference, singular=singular)


def _images(pair: Pair, x: Tensor) -> Tensor:
    """Samples of a UNet as images, uint8."""
    import torch

    from aliasfree.tuning.latents import as_decoded

    vae = pair.autoencoder
    if vae is None:
        return _uint8(x)
    with torch.no_grad():
        return _uint8(torch.cat([vae.decode(as_decoded(vae, v.to(vae.device))).sample for v in x.split(32)]))


def _uint8(x: Tensor) -> Tensor:
    import torch

    from aliasfree.pictures import to_uint8

    if x.shape[1] not in (1, 3):
        raise ArgumentError(
            "FD is measured on images; give the autoencoder of these latents as `vae`, or 0 `distance_images`."
        )
    return torch.from_numpy(to_uint8(x)).permute(0, 3, 1, 2).contiguous()


def _notes(
    pair: Pair, settings: TuneSettings, n: int, apart: bool, table: TableSettings | None, control: int | None
) -> list[str]:
    where = settings.data or "samples of the teacher"
    which = f"{n} images of {where}" + ("" if apart else ", which are trained on as well")
    notes = [
        f"On {which}; equivariance in dB, [95 % interval over images].",
        '"plane": shifted periodically, every pixel counts; "inside": less what a shift brought in and an eighth of '
        "the side at each edge.",
    ]
    if control is not None:
        notes.append(f'"{CONTROL}": the teacher after {control} more steps on its own task, with the same optimizer.')
    if table is not None:
        what = "reconstructions" if pair.kind == "autoencoder" else f"samples by DDIM, {settings.sample_steps} steps"
        notes.append(f"Frechet distance of {table.distance_images} {what}, by the features {table.features}.")
    return notes


def _spectra(pair: Pair, models: dict[str, Any], x: Tensor) -> dict[str, Any]:
    from aliasfree.tuning.measure import latent_spectrum

    if pair.kind != "autoencoder":
        return {}
    found = {}
    for name, model in models.items():
        frequency, power = latent_spectrum(model, x)
        found[name] = {"frequency": frequency.tolist(), "power": power.tolist()}
    return found


def _draw(run: Any, pair: Pair, spectra: dict[str, Any]) -> None:
    from aliasfree.pictures import save_png
    from aliasfree.reporting.charts import Curve, Panel, panels, radial_spectra
    from aliasfree.tuning.trainer import curve_of, kept_point, read_settings

    theirs, points = curve_of(run)
    kept = kept_point(read_settings(run.path), points)
    assert kept is not None
    what = "PSNR, dB" if pair.kind == "autoencoder" else "test error"
    x = [p.fidelity for p in points]
    level = [min(p.db for p in points), max(p.db for p in points)]
    curves = [
        Curve("while tuned", x, [p.db for p in points]),
        Curve(f"kept: step {kept.step}", [kept.fidelity], [kept.db]),
        Curve("fidelity of the teacher", [theirs, theirs], level),
    ]
    save_png(
        panels([Panel("Equivariance against fidelity", what, "EQ-T_frac, dB", curves)], columns=1), run.path / CURVE
    )
    if spectra:
        shown = [Curve(name, found["frequency"], found["power"]) for name, found in spectra.items()]
        save_png(radial_spectra(shown), run.path / SPECTRA)


def _text(name: str, estimate: Estimate) -> str:
    digits = 4 if name in ("test error", "latent power above half of Nyquist") or name.startswith(("rFID", "FD")) else 1
    return estimate.text(2 if name.startswith("PSNR") else digits)
