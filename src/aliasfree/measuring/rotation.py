"""Samples that turn while they are made, angle by angle: curves, and `aliasfree evaluate --angles`.

A sampler is asked for x(theta), the image of the same seed sampled while it turns by theta: is it the turned x(0), is
it as good as real images turned by theta, is it still of the same class, and do successive angles agree? The finished
x(0), turned, stands beside it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.devices import check_device, find_device
from aliasfree.diffusion.names import LATE, METHODS, NOISE, NOISES, PAPER_WINDOW
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.files import together, write_file, write_json
from aliasfree.measuring.extractors import JUDGE, classifier_for
from aliasfree.measuring.real_images import open_real
from aliasfree.measuring.sample_store import Processes, SampleStore
from aliasfree.outputs import check_outputs
from aliasfree.pictures import save_png
from aliasfree.reporting.rotation import compose, rotation_figure
from aliasfree.results.rotation import RotationCurve
from aliasfree.sampling.sampler import MotionSettings

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.evaluation.features import ClassifierFeatures
    from aliasfree.sampling.sampler import SampleSettings

__all__ = ["PAPER", "RotationSettings", "Way", "check_curves", "evaluate_turned", "every_way", "rotation_curves"]

REAL = 10_000
"""Real images that turned samples are compared with."""
SHOWN = 6
"""Samples of each way that are kept for the picture."""
RESAMPLES = 30
"""Resamples for the interval of a distance; the length of the interval is then known to 13 %."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Way:
    """A way of turning while sampling; the arguments of `AliasFreePipeline` of these names. Raises ArgumentError."""

    method: str = METHODS[0]
    noise: str = NOISE
    schedule: tuple[float, float] = LATE

    def __post_init__(self) -> None:
        for option, value, valid in (("`methods`", self.method, METHODS), ("`noises`", self.noise, NOISES)):
            if value not in valid:
                raise ArgumentError(f"{option} has no {value!r}{did_you_mean(value, valid)}.")

    def __str__(self) -> str:
        """ "fourier, co-moving, 0.7:0.95"; the paper's is marked."""
        start, end = self.schedule
        paper = " (paper)" if self == PAPER else ""
        return f"{self.method}, {self.noise}, {start:g}:{end:g}{paper}"

    def motion(self, degrees: float) -> MotionSettings:
        """Turning by an angle in this way."""
        return MotionSettings(rotate=degrees, method=self.method, noise=self.noise, schedule=self.schedule)


PAPER = Way("spline", "independent", PAPER_WINDOW)


def every_way(
    windows: Sequence[tuple[float, float]],
    methods: Sequence[str] = ("fourier", "spline"),
    noises: Sequence[str] = NOISES,
) -> list[Way]:
    """All combinations."""
    return [Way(m, n, w) for m, n, w in itertools.product(methods, noises, windows)]


def rotation_curves(
    store: SampleStore,
    ways: Sequence[Way],
    angles: Sequence[float],
    num: int,
    judge: ClassifierFeatures,
    real: Tensor,
    *,
    progress: Progress | None = None,
) -> list[RotationCurve]:
    """Curves over theta of each way, then of two baselines: the finished x(0) turned by "fourier" and by "bicubic".

    store   samples the run; its parts are kept, so a stopped measurement goes on
    angles  degrees, in order; 0 is added in front where it is missing
    num     samples at each angle, more than the judge has features (64)
    judge   a classifier of upright images. Generated and real images are turned back by -theta and what lies outside
            the disc is replaced by the mean of the real images there, before it looks
    real    uint8 (N, C, S, S), of which the first 10,000 are used

    Raises ArgumentError, ShapeError.
    """
    import torch

    from aliasfree.data import unit_range
    from aliasfree.evaluation.equivariance import disc_mask
    from aliasfree.evaluation.features import extract
    from aliasfree.ops import rotate2d

    check_curves(num, (real.shape[-2], real.shape[-1]), len(real))
    degrees = tuple(angles) if 0.0 in angles else (0.0, *angles)
    disc = disc_mask(real.shape[-1], 0)
    real_unit = unit_range(real[:REAL])
    outside = (real_unit.mean(0) * ~disc[0]).sum((1, 2)) / (~disc).sum()

    def upright(images: Tensor, theta: float) -> Tensor:
        """Turned back, with a plain border, as pixels."""
        back = rotate2d(images, -theta).clamp(-1, 1)
        return ((torch.where(disc, back, outside[:, None, None]) + 1) * 127.5).round().to(torch.uint8)

    references = [extract(judge, upright(rotate2d(real_unit, a).clamp(-1, 1), a)).values for a in degrees]
    asked = store.settings.class_label
    count = store.sampler.num_classes or 1
    labels = None if asked is None else torch.tensor([i % count if asked == "each" else int(asked) for i in range(num)])
    jobs = len(ways) * (len(degrees) - 1) + 1
    done = 0

    def sampled(motion: MotionSettings) -> Tensor:
        nonlocal done
        before = done

        def report(part: int, total: int) -> None:
            if progress is not None:
                progress(before * num + part * num // max(1, total), jobs * num)

        images = unit_range(store.images(num, motion, report))
        done += 1
        return images

    still = sampled(MotionSettings())
    shown: list[tuple[str, list[Tensor]]] = []
    for way in ways:
        shown.append((str(way), [still if a == 0 else sampled(way.motion(a)) for a in degrees]))
    for method in ("fourier", "bicubic"):
        turned = [still if a == 0 else rotate2d(still, a, method).clamp(-1, 1) for a in degrees]
        shown.append((f"x(0) turned, {method}", turned))
    return [_curve(name, degrees, images, upright, references, judge, labels) for name, images in shown]


def check_curves(num: int, size: tuple[int, int], real: int | None = None) -> None:
    """Raise ArgumentError for numbers of samples and of real images, and a size (H, W), that have no curves."""
    if size[0] != size[1]:
        raise ArgumentError("Rotations are measured on square images; train with a square `image_size`.")
    if num <= JUDGE:
        raise ArgumentError(f"`num` must be more than {JUDGE}, the judge's features, not {num}.")
    if real is not None and real <= JUDGE:
        raise ArgumentError(f"{real} real images are too few for the judge's {JUDGE} features; give more than {JUDGE}.")


def _curve(
    name: str,
    degrees: tuple[float, ...],
    images: list[Tensor],
    upright: Callable[[Tensor, float], Tensor],
    references: list[Tensor],
    judge: ClassifierFeatures,
    labels: Tensor | None,
) -> RotationCurve:
    import torch

    from aliasfree.evaluation.equivariance import disc_mask, image_agreement
    from aliasfree.evaluation.features import extract
    from aliasfree.evaluation.fidelity import frechet_estimate
    from aliasfree.evaluation.intervals import share
    from aliasfree.ops import rotate2d

    still = images[degrees.index(0.0)]
    disc = disc_mask(still.shape[-1])
    first = _classes(extract(judge, upright(still, 0.0)).probabilities)
    found: dict[str, list[Any]] = {k: [] for k in ("db", "fd", "kept", "right", "step")}
    for k, (theta, x) in enumerate(zip(degrees, images, strict=True)):
        found["db"].append(image_agreement(x, rotate2d(still, theta), disc).estimate())
        seen = extract(judge, upright(x, theta))
        found["fd"].append(frechet_estimate(seen.values, references[k], resamples=RESAMPLES))
        classes = _classes(seen.probabilities)
        found["kept"].append(share(int((classes == first).sum()), len(x)))
        found["right"].append(None if labels is None else share(int((classes == labels).sum()), len(x)))
        before = None
        if k:
            turned = rotate2d(images[k - 1], theta - degrees[k - 1])
            before = image_agreement(x, turned, disc).estimate()
        found["step"].append(before)
    few = torch.stack([x[:SHOWN] for x in images])
    shown = ((few + 1) * 127.5).round().to(torch.uint8)
    return RotationCurve(name, degrees, **{k: tuple(values) for k, values in found.items()}, shown=shown)


def _classes(probabilities: Tensor | None) -> Tensor:
    assert probabilities is not None
    return probabilities.argmax(1)


@dataclass(frozen=True, kw_only=True)
class RotationSettings:
    """Which samples turn, and what they are compared with; the paper's way is always among the `ways`."""

    data: str  # real images, as for training
    ways: Sequence[Way]
    angles: Sequence[float]  # degrees
    num: int = 400  # samples at each angle
    sampling: SampleSettings
    split: str = "train"  # of the real images
    num_real: int | None = None  # of them, those a run with as many `num_images` is trained on; None = all
    labels: str = "auto"  # where their labels come from, as `open_images` takes it
    skip_bad: bool = False  # leave out images that cannot be read


def evaluate_turned(
    source: Path,
    settings: RotationSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> tuple[list[RotationCurve], Path] | None:
    """`rotation_curves` of a run; writes `out` (None = RUN/rotation.html), and .json and .png of the same name.

    Those of an earlier call for the same run are replaced, other files only with `overwrite`. Parts that were sampled
    before are used again. Under torchrun all processes sample, and all but the first give None. Raises ArgumentError,
    DataError, RunError.
    """
    from aliasfree.evaluation.features import ClassifierFeatures
    from aliasfree.training import RunFolder

    told = progress or (lambda _: lambda _done, _total: None)
    check_device(device)
    run = RunFolder(source)
    page = out or source / "rotation.html"
    if page.suffix.lower() != ".html":
        raise ArgumentError(f"The page is HTML, so `out` must end in .html, not {page.name!r}.")
    note = page.with_suffix(".json")
    outputs = [page, note, page.with_suffix(".png")]
    check_outputs(outputs, reads=[*run.read, Path(settings.data)], overwrite=overwrite, own=_is_ours(note, source))
    ways = [*settings.ways, *(() if PAPER in settings.ways else (PAPER,))]
    angles, num = settings.angles, settings.num
    find_device(device)
    processes = Processes()
    config = run.config["model"]
    size = config["sample_size"]
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    check_curves(num, shape)
    real = open_real(
        settings.data, shape, int(config["in_channels"]), split=settings.split, num=settings.num_real,
        labels=settings.labels, skip_bad=settings.skip_bad, progress=told("reading"),
    )  # fmt: skip
    check_curves(num, shape, len(real.train))
    store = SampleStore(run, settings.sampling, source / "evaluation", device, processes)
    if not processes.is_main:
        for motion in [Way().motion(0.0), *(w.motion(a) for w in ways for a in angles if a)]:
            store.images(num, motion)
        return None
    judge = ClassifierFeatures(*classifier_for(real, told("learning")))
    curves = rotation_curves(store, ways, angles, num, judge, real.train, progress=told("sampling"))
    about = {
        "run": str(source),
        "config": run.settings.config,
        "data": settings.data,
        "images": num,
        "classifier_accuracy": judge.accuracy,
        "sampling": settings.sampling,
        "curves": [curve.figures() for curve in curves],
    }
    with together():
        write_json(note, about)
        figure = rotation_figure(curves)
        save_png(figure, page.with_suffix(".png"))
        write_file(page, compose(run.settings.config, num, judge.accuracy, curves, figure))
    return curves, page


def _is_ours(note: Path, source: Path) -> bool:
    """Whether an earlier call wrote these curves of the same run."""
    try:
        found = json.loads(note.read_text())
        return "curves" in found and Path(found["run"]).absolute() == source.absolute()
    except (OSError, ValueError, KeyError, TypeError):
        return False
