"""`aliasfree evaluate`: a run or a folder of images against real ones, as metrics.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError
from aliasfree.experiments.drawing import Drawer, Processes
from aliasfree.experiments.extractors import kept_features, make_extractor
from aliasfree.experiments.generate import SampleSettings
from aliasfree.experiments.real import RealImages, open_real
from aliasfree.files import plain, write_json
from aliasfree.pictures import grid, save_png

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from aliasfree.evaluation import Estimate
    from aliasfree.evaluation.features import Extractor, Features
    from aliasfree.training import RunFolder

__all__ = [
    "FIGURES", "PROTOCOLS", "EvaluateSettings", "compare_sets", "evaluate", "first_images", "folder_images",
    "metrics_file", "read_metrics",
]  # fmt: skip

PROTOCOLS = ("default", "paper")
FIGURES = ("is", "fid", "kid", "precision", "recall")
MANIFOLD = 10_000
"""Images of each set that precision and recall see; their cost is the product of both."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is compared, and how."""

    data: str  # real images, as for training
    num: int | None = None  # images to draw; None = 10,000, the paper's 2,000 with its protocol
    features: str | None = None  # None = classifier where the data have labels, else pixels; inception with "paper"
    weights: Path | None = None  # of Inception
    protocol: str = "default"  # "paper": 2,000 images through Inception, the paper's full sampling chain, no interval
    equivariance: bool = True  # of a run's network
    image_size: int | tuple[int, int] | None = None  # of a folder's images; None = as they are, all of one size
    skip_bad: bool = False  # leave out images that cannot be read
    sampling: SampleSettings = field(default_factory=SampleSettings)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ArgumentError(f"--protocol is default or paper, not {self.protocol!r}.")
        if self.num is not None and self.num < 2:
            raise ArgumentError(f"--num must be at least 2, not {self.num}: one image has no spread.")

    @property
    def count(self) -> int:
        """Images to draw."""
        return self.num or (2_000 if self.protocol == "paper" else 10_000)


def evaluate(
    source: Path,
    settings: EvaluateSettings,
    *,
    out: Path | None = None,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, Any] | None:
    """Measure a run, or a folder of images, and write metrics.json; gives what it holds.

    out       the JSON; None = RUN/metrics.json, or FOLDER-metrics.json beside the folder. Figures of other features of
              the same images that are there already are kept. A .png of the same name shows the first images
    progress  progress("drawing") gives what is told (done, total) of that stage

    Under torchrun all processes draw, and all but the first give None. Raises ArgumentError, DataError, RunError.
    """
    from aliasfree.training import RunFolder

    told = progress or (lambda _: lambda _done, _total: None)
    processes = Processes()
    run = RunFolder(source)
    drawer = Drawer(run, settings.sampling, source / "evaluation", device, processes) if run.exists else None
    if not processes.is_main:
        if drawer is not None:
            drawer.images(settings.count)
        return None
    if drawer and settings.image_size is not None:
        raise ArgumentError(f"The images of the run {source} have the network's size; leave out --image-size.")
    images = None if drawer else folder_images(source, settings.image_size, settings.skip_bad)[: settings.num]
    channels, *shape = _model_shape(run) if images is None else images.shape[1:]
    size = (shape[0], shape[1])
    real = open_real(settings.data, size, channels, skip_bad=settings.skip_bad, progress=told("reading"))
    name = settings.features or ("inception" if settings.protocol == "paper" else None)
    extractor = make_extractor(name, real, settings.weights, told("learning"))
    # before hours of drawing, not after
    _check_enough(settings.count if images is None else len(images), extractor, real, settings.protocol)
    facts: dict[str, Any] = {"source": str(source)}
    if drawer is not None:
        images = drawer.images(settings.count, progress=told("drawing"))
        facts |= _about(run, drawer)
    assert images is not None
    facts |= {
        "data": settings.data,
        "fingerprint": real.fingerprint,
        "held_out": real.held_out,
        "image_size": list(shape),
        "num": len(images),
        "protocol": settings.protocol,
    }
    facts["spectra"] = _spectra(images, real)
    path = out or metrics_file(source)
    kept = _kept(path, facts)
    fidelity = _fidelity(images, real, extractor, settings, told("comparing"))
    facts["fidelity"] = kept.get("fidelity", {}) | {extractor.name: fidelity}
    if drawer is not None and settings.equivariance:
        from aliasfree.experiments.equivariance import network_equivariance

        facts["equivariance"] = kept.get("equivariance") or network_equivariance(
            drawer.sampler.pipeline.unet, real.test, run.settings.num_train_timesteps,
            periodic=run.settings.padding_mode == "circular", progress=told("shifting and turning"),
        )  # fmt: skip
    write_json(path, facts)
    save_png(first_images(images), path.with_suffix(".png"))
    return facts


def first_images(images: Tensor) -> Image.Image:
    """The first 100 of uint8 images (N, C, H, W), ten a row: with classes one after the other a column is a class."""
    pixels = images[:100].permute(0, 2, 3, 1).numpy()
    return grid(pixels, columns=10, scale=max(1, 32 // pixels.shape[2]))


def folder_images(folder: Path, size: int | tuple[int, int] | None = None, skip_bad: bool = False) -> Tensor:
    """The images of a folder, uint8 (N, C, H, W). Raises DataError, and ArgumentError for a single one.

    size      pixels, a side or (height, width); None = as they are, and then all must be of one size
    skip_bad  leave out what cannot be read
    """
    import numpy as np
    import torch

    from aliasfree.data import open_images

    data = open_images(folder, image_size=size, skip_bad=skip_bad)
    if len(data) < 2:
        raise ArgumentError(f"{folder} holds one image; a comparison needs at least two, better thousands.")
    return torch.from_numpy(np.array(data.images))


def compare_sets(
    generated: Features, real: Features, *, singular: bool = False, intervals: bool = True
) -> dict[str, Estimate | None]:
    """The figures of generated against real images; "is" is None without classes.

    singular   allow fewer images than features in FID
    intervals  95 %, over images
    """
    from aliasfree.evaluation import fidelity as f
    from aliasfree.evaluation.intervals import Estimate

    a, b = generated.values, real.values
    near, far = _few(generated.values), _few(real.values)
    figures: dict[str, Estimate | None] = {"is": None}
    p = generated.probabilities
    if not intervals:
        if p is not None:
            score, spread = f.inception_score(p, splits=min(10, len(p)))
            figures["is"] = Estimate(score, spread=spread)
        figures["fid"] = Estimate(f.frechet_distance(a, b, singular=singular))
        distance, spread = f.kernel_distance(a, b)
        figures["kid"] = Estimate(distance, spread=spread)
        figures["precision"], figures["recall"] = (Estimate(v) for v in f.precision_recall(near, far))
        return figures
    if p is not None:
        figures["is"] = f.inception_estimate(p)
    figures["fid"] = f.frechet_estimate(a, b, singular=singular)
    figures["kid"] = f.kernel_estimate(a, b)
    figures["precision"], figures["recall"] = f.precision_recall_estimate(near, far)
    return figures


def read_metrics(path: Path) -> dict[str, Any]:
    """metrics.json of a run or a folder of images (or the file itself). Raises ArgumentError where there is none."""
    source, path = path, metrics_file(path)
    try:
        facts = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArgumentError(
            f"There is no {path}; measure first, with `aliasfree evaluate {source} --data ...`."
        ) from error
    except ValueError as error:
        raise ArgumentError(f"{path} is not valid JSON ({error}); measure again.") from error
    if not isinstance(facts, dict) or "fidelity" not in facts:
        raise ArgumentError(f"{path} was not written by `aliasfree evaluate`.")
    return facts


def metrics_file(source: Path) -> Path:
    """Where the figures of a run or a folder lie: within a run, beside a folder of images; a file is itself."""
    if source.is_file():
        return source
    from aliasfree.training import RunFolder

    inside, beside = source / "metrics.json", source.with_name(f"{source.name}-metrics.json")
    return beside if beside.is_file() or not (RunFolder(source).exists or inside.is_file()) else inside


def _model_shape(run: RunFolder) -> tuple[int, int, int]:
    """(channels, height, width) of a run's images."""
    model = run.config["model"]
    size = model["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return int(model["in_channels"]), int(height), int(width)


def _about(run: RunFolder, drawer: Drawer) -> dict[str, Any]:
    """What metrics.json says of a run."""
    steps, _ = run.losses()
    return {
        "config": run.settings.config,
        "training_seed": run.settings.seed,
        "training": _training(run),
        "steps": int(steps[-1]) if len(steps) else 0,
        "parameters": sum(p.numel() for p in drawer.sampler.pipeline.unet.parameters()),
        "weights": drawer.weights,
        "sampling": {k: v for k, v in dataclasses.asdict(drawer.settings).items() if k != "batch_size"},
        "images_per_second": drawer.speed(),
    }


def _training(run: RunFolder) -> dict[str, Any]:
    """The settings that decide what a run becomes, but for its config and seed."""
    every = dataclasses.asdict(run.settings)
    aside = {"config", "out", "seed", "device", "steps", "epochs", "keep_checkpoints", "skip_bad"}
    return {k: v for k, v in every.items() if k not in aside and not k.startswith(("sample_", "save_", "checkpoint_"))}


def _check_enough(count: int, extractor: Extractor, real: RealImages, protocol: str) -> None:
    wide = extractor(real.train[:2]).values.shape[1]
    if count <= wide and protocol != "paper":
        # the names of extractors that would do with so many images
        fewer = " or --features classifier or pixels" if extractor.name == "inception" else ""
        raise ArgumentError(
            f"{count} images are too few for a Frechet distance over {wide} features: take at least {wide + 1}{fewer}."
        )


def _fidelity(
    images: Tensor, real: RealImages, extractor: Extractor, settings: EvaluateSettings, progress: Progress
) -> dict[str, Any]:
    """Figures of one extractor: of the images, and of as many real test images as the floor."""
    from aliasfree.evaluation.features import extract

    paper = settings.protocol == "paper"
    reference = kept_features(extractor, real.train, progress)
    floor = real.test[: len(images)]
    options = {"singular": paper, "intervals": not paper}
    sets = {
        "generated": compare_sets(extract(extractor, images, progress=progress), reference, **options),
        "floor": compare_sets(kept_features(extractor, floor, progress), reference, **options),
    }
    about = {"accuracy": extractor.accuracy} if hasattr(extractor, "accuracy") else {}
    counts = {"generated": len(images), "reference": len(reference), "floor": len(floor)}
    return {
        "key": extractor.key,
        **about,
        "images": counts,
        **{k: {n: v and dataclasses.asdict(v) for n, v in figures.items()} for k, figures in sets.items()},
    }


def _spectra(images: Tensor, real: RealImages) -> dict[str, list[float]]:
    from aliasfree.data import unit_range
    from aliasfree.evaluation.spectra import radial_power_spectrum

    frequency, generated = radial_power_spectrum(unit_range(images[:2000]))
    _, wanted = radial_power_spectrum(unit_range(real.train[:2000]))
    return {"frequency": frequency.tolist(), "generated": generated.tolist(), "real": wanted.tolist()}


def _kept(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call measured on the same images of the same network and data."""
    if not path.is_file():
        return {}
    try:
        before = read_metrics(path)
    except ArgumentError:
        return {}
    changing = ("images_per_second", "steps")
    same = all(before.get(k) == v for k, v in plain(facts).items() if k not in changing)
    return before if same else {}


def _few(x: Tensor) -> Tensor:
    import torch

    if len(x) <= MANIFOLD:
        return x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MANIFOLD]]
