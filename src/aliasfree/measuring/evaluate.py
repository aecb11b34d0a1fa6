"""`aliasfree evaluate`: a run or a folder of images against real ones, as metrics.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.devices import check_device, find_device
from aliasfree.errors import ArgumentError
from aliasfree.files import together
from aliasfree.measuring.accuracy_score import accuracy_score, check_asked_classes
from aliasfree.measuring.extractors import JUDGE, WIDTHS, kept_features, make_extractor
from aliasfree.measuring.noise_error import network_noise_error
from aliasfree.measuring.real_images import RealImages, open_real
from aliasfree.measuring.sample_store import Processes, SampleStore
from aliasfree.outputs import check_outputs, expand_path
from aliasfree.pictures import grid, save_png
from aliasfree.reporting.card import update_card
from aliasfree.results.metrics import Fidelity, Figures, Metrics, Spectra, metrics_file, read_metrics
from aliasfree.sampling.sampler import SampleSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from aliasfree.evaluation.features import Extractor, Features
    from aliasfree.training import RunFolder

__all__ = [
    "PROTOCOLS", "EvaluateSettings", "compare_sets", "evaluate", "first_images", "folder_images", "measure_samples",
]  # fmt: skip

PROTOCOLS = ("default", "paper")
MOVED = 16
"""Samples that are made again in motion, five times."""
MANIFOLD = 10_000
"""Most images of each set for precision and recall, whose cost is the product of the two numbers."""
KERNEL_LEAST, MANIFOLD_LEAST = 2, 4
"""Least images of each set for KID, and for precision and recall by the third neighbour."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is compared, and how."""

    data: str  # real images, as for training
    num: int | None = None  # images to sample; None = 10,000, the paper's 2,000 with its protocol
    features: str | None = None  # None = classifier where the data have labels, else pixels; inception with "paper"
    weights: Path | None = None  # of Inception
    protocol: str = "default"  # "paper": 2,000 images through Inception, the paper's full sampling chain, no interval
    equivariance: bool = True  # of a run's network and of its sampler
    noise_error: bool = True  # of a run's network, on the test images
    accuracy_score: bool = False  # train a classifier on a run's images and one on real ones; minutes
    num_real: int | None = None  # of the real images, those a run with as many `num_images` is trained on; None = all
    image_size: int | tuple[int, int] | None = None  # of a folder's images; None = as they are, all of one size
    skip_bad: bool = False  # leave out images that cannot be read
    split: str = "train"  # of the real images that are the reference
    labels: str = "auto"  # where their labels come from, as `open_images` takes it
    sampling: SampleSettings = field(default_factory=SampleSettings)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ArgumentError(f"`protocol` is default or paper, not {self.protocol!r}.")
        if self.num is not None and self.num < 2:
            raise ArgumentError(f"`num` must be at least 2, not {self.num}: one image has no spread.")
        wide = WIDTHS.get(self.features or "")
        if wide is not None and self.count <= wide and self.protocol != "paper":
            raise ArgumentError(
                f"{self.count} images are too few for a Frechet distance over the {wide} features of "
                f"{self.features}: take at least {wide + 1} (`num`)."
            )

    @property
    def count(self) -> int:
        """Images to sample."""
        return self.num or (2_000 if self.protocol == "paper" else 10_000)


def evaluate(
    source: Path,
    settings: EvaluateSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> Metrics | None:
    """Measure a run, or a folder of images, and write metrics.json; gives what it holds.

    out        the JSON; None = RUN/metrics.json, or NAME-metrics.json beside the folder or file. Figures of other
               features of the same images that are there already are kept. A .png of the same name shows the first
               images
    overwrite  replace files that hold anything but figures of this source
    progress   progress("sampling") gives the function that is called with (done, total) during that stage

    Under torchrun all processes sample, and all but the first give None. Raises ArgumentError, DataError, RunError.
    """
    from aliasfree.training import RunFolder

    told = progress or (lambda _: lambda _done, _total: None)
    check_device(device)
    source = expand_path(source)
    run, path = RunFolder(source), out or metrics_file(source)
    if path.suffix.lower() != ".json":
        raise ArgumentError(f"The figures are JSON, so `out` must end in .json, not {path.name!r}.")
    reads = [*(run.read if run.exists else [source]), Path(settings.data)]
    check_outputs(
        [path, path.with_suffix(".png")],
        reads=[*reads, settings.weights] if settings.weights else reads,
        fills=None if run.exists or not source.is_dir() else source,
        overwrite=overwrite,
        own=_is_ours(path, source),
    )
    find_device(device)
    processes = Processes()
    store = SampleStore(run, settings.sampling, source / "evaluation", device, processes) if run.exists else None
    if not processes.is_main:
        if store is not None:
            store.images(settings.count)
        return None
    if store and settings.image_size is not None:
        raise ArgumentError(f"The images of the run {source} have the network's size; leave out `image_size`.")
    images = None if store else folder_images(source, settings.image_size, settings.skip_bad)[: settings.num]
    channels, *size_ = _model_shape(run) if images is None else images.shape[1:]
    size = (size_[0], size_[1])
    real = open_real(
        settings.data, size, channels, split=settings.split, num=settings.num_real, labels=settings.labels,
        skip_bad=settings.skip_bad, progress=told("reading"),
    )  # fmt: skip
    if settings.accuracy_score:
        check_asked_classes(store, real)
    name = settings.features or ("inception" if settings.protocol == "paper" else None)
    extractor = make_extractor(name, real, settings.weights, told("learning"))
    # before hours of sampling, not after
    _check_enough(settings.count if images is None else len(images), extractor, real, settings.protocol)
    about: dict[str, Any] = {}
    if store is not None:
        images = store.images(settings.count, progress=told("sampling"))
        about = _about(run, store)
    assert images is not None
    found = Metrics(
        source=str(source), num=len(images), image_size=size, fingerprint=real.fingerprint, fidelity={},
        protocol=settings.protocol, data=settings.data, held_out=real.held_out, spectra=_spectra(images, real), **about,
    )  # fmt: skip
    kept = _kept(path, found)
    fidelity = _fidelity(images, real, extractor, settings, told("comparing"))
    found = replace(found, fidelity={**(kept.fidelity if kept else {}), extractor.name: fidelity})
    if store is not None and settings.equivariance:
        from aliasfree.measuring.network_equivariance import network_equivariance
        from aliasfree.measuring.sampler_equivariance import sampler_equivariance

        measured = kept.equivariance if kept else None
        if measured is None or measured.overall.eq_t_lanczos is None:  # None: of an older version
            measured = network_equivariance(
                store.sampler.pipeline.unet, real.test, run.settings.num_train_timesteps,
                progress=told("shifting and turning"),
            )  # fmt: skip
        moving = (kept.sampler if kept else None) or sampler_equivariance(
            store.sampler, MOVED, progress=told("sampling in motion")
        )
        found = replace(found, equivariance=measured, sampler=moving)
    if store is not None and settings.noise_error:
        errors = (kept and kept.noise_error) or network_noise_error(
            store.sampler.pipeline.unet, real, run.settings.num_train_timesteps, progress=told("predicting noise")
        )
        found = replace(found, noise_error=errors)
    if store is not None and settings.accuracy_score:
        score = (kept and kept.accuracy_score) or accuracy_score(store, images, real, told("learning from images"))
        found = replace(found, accuracy_score=score)
    with together():
        found.write(path)
        save_png(first_images(images), path.with_suffix(".png"))
    if store is not None:
        update_card(run, found)
    return found


def first_images(images: Tensor) -> Image.Image:
    """The first 100 of uint8 images (N, C, H, W), ten a row: with classes one after the other a column is a class."""
    pixels = images[:100].permute(0, 2, 3, 1).numpy()
    return grid(pixels, columns=10, scale=max(1, 32 // pixels.shape[2]))


def folder_images(folder: Path, size: int | tuple[int, int] | None = None, skip_bad: bool = False) -> Tensor:
    """The images of a folder, uint8 (N, C, H, W). Raises DataError, and ArgumentError for a single one.

    size      pixels, a side or (height, width); None = as they are, and then all must be of one size
    skip_bad  leave out what cannot be read
    """
    import torch

    from aliasfree.data import open_images

    data = open_images(folder, image_size=size, skip_bad=skip_bad)
    if len(data) < 2:
        raise ArgumentError(f"{folder} holds one image; a comparison needs at least two, better thousands.")
    return torch.from_numpy(np.array(data.images))


def compare_sets(
    generated: Features, real: Features, *, singular: bool = False, intervals: bool = True, gaps: bool = False
) -> Figures:
    """The figures of generated against real images; "is" is None without classes.

    singular   allow fewer images than features in FID
    intervals  95 %, over images
    gaps       a figure that needs more images than there are is None, else an ArgumentError
    """
    from aliasfree.evaluation import fidelity as f
    from aliasfree.evaluation.intervals import Estimate

    a, b = generated.values, real.values
    near, far = _few(generated.values), _few(real.values)
    figures: Figures = {"is": None, "fid": None, "kid": None, "precision": None, "recall": None}
    p, least = generated.probabilities, min(len(a), len(b)) if gaps else math.inf
    if not intervals:
        if p is not None:
            score, spread = f.inception_score(p, splits=min(10, len(p)))
            figures["is"] = Estimate(score, spread=spread)
        if singular or least > a.shape[1]:
            figures["fid"] = Estimate(f.frechet_distance(a, b, singular=singular))
        if least >= KERNEL_LEAST:
            distance, spread = f.kernel_distance(a, b)
            figures["kid"] = Estimate(distance, spread=spread)
        if least >= MANIFOLD_LEAST:
            figures["precision"], figures["recall"] = (Estimate(v) for v in f.precision_recall(near, far))
        return figures
    if p is not None:
        figures["is"] = f.inception_estimate(p)
    if singular or least > a.shape[1]:
        figures["fid"] = f.frechet_estimate(a, b, singular=singular)
    if least >= KERNEL_LEAST:
        figures["kid"] = f.kernel_estimate(a, b)
    if least >= MANIFOLD_LEAST:
        figures["precision"], figures["recall"] = f.precision_recall_estimate(near, far)
    return figures


def measure_samples(
    runs: Sequence[tuple[RunFolder, NDArray[np.uint8], float]],
    real: RealImages,
    extractor: Extractor,
    progress: Callable[[int, int], None] | None = None,
) -> list[Metrics]:
    """What `evaluate` writes of a run, measured on samples in memory by one extractor.

    runs       (run, samples uint8 (N, H, W, C), images sampled a second) each, N larger than the number of features
    progress   called with (runs done, runs in all)
    """
    import torch

    from aliasfree.evaluation.features import extract
    from aliasfree.measuring.network_equivariance import network_equivariance

    metrics: list[Metrics] = []
    reference = extract(extractor, real.train)
    for run, pixels, speed in runs:
        images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
        sets = [compare_sets(extract(extractor, x), reference) for x in (images, real.test[: len(images)])]
        model, settings = run.load_model(), run.settings
        found = network_equivariance(model, real.test, settings.num_train_timesteps, repeats=1)
        metrics.append(
            Metrics(
                source=str(run.path), config=settings.config, num=len(images), image_size=_size(images),
                fingerprint=real.fingerprint, images_per_second=speed, equivariance=found,
                parameters=sum(p.numel() for p in model.parameters()), spectra=_spectra(images, real),
                fidelity={extractor.name: _of(extractor, *sets)},
            )
        )  # fmt: skip
        if progress is not None:
            progress(len(metrics), len(runs))
    return metrics


def _model_shape(run: RunFolder) -> tuple[int, int, int]:
    """(channels, height, width) of a run's images."""
    model = run.config["model"]
    size = model["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return int(model["in_channels"]), int(height), int(width)


def _about(run: RunFolder, store: SampleStore) -> dict[str, Any]:
    """What metrics.json says of a run."""
    steps, _ = run.losses()
    return {
        "config": run.settings.config,
        "training_seed": run.settings.seed,
        "training": _training(run),
        "steps": int(steps[-1]) if len(steps) else 0,
        "parameters": sum(p.numel() for p in store.sampler.pipeline.unet.parameters()),
        "weights": store.weights,
        "sampling": {k: v for k, v in dataclasses.asdict(store.settings).items() if k != "batch_size"},
        "images_per_second": store.speed(),
    }


def _training(run: RunFolder) -> dict[str, Any]:
    """The settings that decide what a run becomes, but for its config and seed."""
    every = dataclasses.asdict(run.settings)
    aside = {"config", "out", "seed", "device", "steps", "epochs", "keep_checkpoints", "skip_bad"}
    return {k: v for k, v in every.items() if k not in aside and not k.startswith(("sample_", "save_", "checkpoint_"))}


def _check_enough(count: int, extractor: Extractor, real: RealImages, protocol: str) -> None:
    """Refuse sets that are too small for the figures, naming extractors that would do."""
    from aliasfree.evaluation.features import PixelFeatures

    wide = extractor(real.train[:2]).values.shape[1]
    fewest = min(count, len(real.train))
    if fewest < MANIFOLD_LEAST:
        raise ArgumentError(f"{fewest} images are too few to be compared: take at least {MANIFOLD_LEAST}.")
    if fewest > wide or protocol == "paper":
        return
    pixels = PixelFeatures()(real.train[:1]).values.shape[1]
    others = {"classifier": JUDGE if real.train_labels is not None else math.inf, "pixels": pixels}
    would_do = [f"`features='{name}'`" for name, n in others.items() if n < fewest and name != extractor.name]
    advice = " or ".join([f"take at least {wide + 1}", *would_do])
    what = f"{count} images are" if count <= wide else f"The {len(real.train)} real images of {real.source} are"
    raise ArgumentError(f"{what} too few for a Frechet distance over {wide} features: {advice}.")


def _fidelity(
    images: Tensor, real: RealImages, extractor: Extractor, settings: EvaluateSettings, progress: Progress
) -> Fidelity:
    """Figures of one extractor: of the images, and of as many real test images as the floor."""
    from aliasfree.evaluation.features import extract

    paper = settings.protocol == "paper"
    reference = kept_features(extractor, real.train, progress)
    floor = real.test[: len(images)]
    options = {"singular": paper, "intervals": not paper}
    sets = (
        compare_sets(extract(extractor, images, progress=progress), reference, **options),
        compare_sets(kept_features(extractor, floor, progress), reference, gaps=True, **options),
    )
    counts = {"generated": len(images), "reference": len(reference), "floor": len(floor)}
    return replace(_of(extractor, *sets), key=extractor.key, images=counts)


def _of(extractor: Extractor, generated: Figures, floor: Figures) -> Fidelity:
    return Fidelity(generated=generated, floor=floor, accuracy=getattr(extractor, "accuracy", None))


def _spectra(images: Tensor, real: RealImages) -> Spectra:
    from aliasfree.data import unit_range
    from aliasfree.evaluation.spectra import radial_power_spectrum

    frequency, generated = radial_power_spectrum(unit_range(images[:2000]))
    _, wanted = radial_power_spectrum(unit_range(real.train[:2000]))
    return Spectra(*(tuple(v.tolist()) for v in (frequency, generated, wanted)))


def _size(images: Tensor) -> tuple[int, int]:
    return (images.shape[2], images.shape[3])


def _kept(path: Path, now: Metrics) -> Metrics | None:
    """What an earlier call measured: all of it for the same images, what is the network's for more or fewer of them."""
    if not path.is_file():
        return None
    try:
        before = read_metrics(path)
    except ArgumentError:
        return None
    figures: dict[str, Any] = {
        "source": "", "fidelity": {}, "accuracy_score": None, "images_per_second": None, "steps": None,
        "equivariance": None, "sampler": None, "noise_error": None,
    }  # fmt: skip
    images: dict[str, Any] = {"num": 0, "spectra": None, "protocol": "default"}

    def alike(changing: dict[str, Any]) -> bool:
        return replace(before, **changing).to_dict() == replace(now, **changing).to_dict()

    if alike(figures):
        return before
    return replace(before, fidelity={}, accuracy_score=None) if alike(figures | images) else None


def _is_ours(path: Path, source: Path) -> bool:
    """Whether an earlier call wrote these figures of the same source; a run that was moved took its own along."""
    try:
        before = read_metrics(path)
    except ArgumentError:
        return False
    return path.parent == source or Path(before.source).absolute() == source.absolute()


def _few(x: Tensor) -> Tensor:
    import torch

    if len(x) <= MANIFOLD:
        return x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:MANIFOLD]]
