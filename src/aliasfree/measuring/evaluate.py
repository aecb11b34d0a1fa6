"""`aliasfree evaluate`: a run or a folder of images against real ones, as metrics.json."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.devices import check_device, find_device
from aliasfree.errors import ArgumentError
from aliasfree.files import together
from aliasfree.measuring.card import update_card
from aliasfree.measuring.extractors import WIDTHS, make_extractor
from aliasfree.measuring.fidelity import check_enough, compare_sets, fidelity, fidelity_of
from aliasfree.measuring.measures import MEASURES, Measured, check_bounds, check_measures
from aliasfree.measuring.real_images import RealImages, open_real
from aliasfree.measuring.sample_store import Processes, SampleStore
from aliasfree.outputs import check_outputs, expand_path
from aliasfree.pictures import grid, save_png
from aliasfree.results.metrics import Metrics, Spectra, metrics_file, read_metrics
from aliasfree.sampling.sampler import SampleSettings
from aliasfree.settings import check_types

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from aliasfree.evaluation.features import Extractor
    from aliasfree.training import RunFolder

__all__ = [
    "PROTOCOLS", "EvaluateSettings", "evaluate", "first_images", "folder_images", "measure_samples",
]  # fmt: skip

PROTOCOLS = ("default", "paper")
Progress = Callable[[int, int], None]
_LOG = logging.getLogger("aliasfree")


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
    measures: tuple[str, ...] = ()  # names of others in `MEASURES`, as `register_measure` enters them
    num_real: int | None = None  # of the real images, those a run with as many `num_images` is trained on; None = all
    image_size: int | tuple[int, int] | None = None  # of a folder's images; None = as they are, all of one size
    skip_bad: bool = False  # leave out images that cannot be read
    split: str = "train"  # of the real images that are the reference
    labels: str = "auto"  # where their labels come from, as `open_images` takes it
    sampling: SampleSettings = field(default_factory=SampleSettings)

    def __post_init__(self) -> None:
        check_types(self)
        check_measures(self.measures)
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
    if store is None and settings.measures:
        raise ArgumentError(f"{source} is no run, of which alone `measures` are; leave them out.")
    if store and settings.image_size is not None:
        raise ArgumentError(f"The images of the run {source} have the network's size; leave out `image_size`.")
    images = None if store else folder_images(source, settings.image_size, settings.skip_bad)[: settings.num]
    channels, *size_ = _model_shape(run) if images is None else images.shape[1:]
    size = (size_[0], size_[1])
    real = open_real(
        settings.data, size, channels, split=settings.split, num=settings.num_real, labels=settings.labels,
        skip_bad=settings.skip_bad, progress=told("reading"),
    )  # fmt: skip
    asked = {name: measure for name, measure in MEASURES.items() if measure.is_asked(name, settings)}
    for measure in asked.values():
        if measure.check is not None:
            measure.check(store, real)
    name = settings.features or ("inception" if settings.protocol == "paper" else None)
    extractor = make_extractor(name, real, settings.weights, told("learning"))
    # before hours of sampling, not after
    check_enough(settings.count if images is None else len(images), extractor, real, settings.protocol)
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
    compared = fidelity(images, real, extractor, settings.protocol, told("comparing"))
    found = replace(found, fidelity={**(kept.fidelity if kept else {}), extractor.name: compared})
    if store is not None:
        seen = Measured(store, images, real, run.settings.num_train_timesteps)
        for name, measure in asked.items():
            record = kept.measured.get(name) if kept else None
            if record is None or not measure.is_current(record):
                record = measure.of(seen, told(measure.stage))
            found = replace(found, measured={**found.measured, name: record})
            check_bounds(name, found)
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
                fingerprint=real.fingerprint, images_per_second=speed, measured={"equivariance": found},
                parameters=sum(p.numel() for p in model.parameters()), spectra=_spectra(images, real),
                fidelity={extractor.name: fidelity_of(extractor, *sets)},
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
    try:
        before = read_metrics(path)
    except ArgumentError:  # none, somebody else's that is to be overwritten, or damaged, which `_is_ours` has told
        return None
    figures: dict[str, Any] = {
        "source": "", "fidelity": {}, "images_per_second": None, "steps": None, "measured": {}
    }  # fmt: skip
    images: dict[str, Any] = {"num": 0, "spectra": None, "protocol": "default"}

    def alike(changing: dict[str, Any]) -> bool:
        return replace(before, **changing).to_dict() == replace(now, **changing).to_dict()

    if alike(figures):
        return before
    if not alike(figures | images):
        return None
    networks = {name: record for name, record in before.measured.items() if not MEASURES[name].of_images}
    return replace(before, fidelity={}, measured=networks)


def _is_ours(path: Path, source: Path) -> bool:
    """Whether an earlier call wrote these figures of the same source; a run that was moved took its own along.

    What stands in the place of a source's figures and is no JSON is what is left of them.
    """
    try:
        before = read_metrics(path)
    except ArgumentError as error:
        if path != metrics_file(source) or not isinstance(error.__cause__, json.JSONDecodeError | UnicodeDecodeError):
            return False
        _LOG.warning("%s is damaged: it is no JSON. What it held is measured again.", path)
        return True
    return path.parent == source or Path(before.source).absolute() == source.absolute()
