"""A run's turned samples, measured: JSON, a picture of the curves, and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aliasfree.devices import check_device, find_device
from aliasfree.errors import ArgumentError
from aliasfree.experiments.equivariance import PAPER, Way, check_curves, rotation_curves
from aliasfree.experiments.extractors import classifier_for
from aliasfree.experiments.real import open_real
from aliasfree.experiments.sample_store import Processes, SampleStore
from aliasfree.files import together, write_file, write_json
from aliasfree.outputs import check_outputs
from aliasfree.pictures import save_png
from aliasfree.reporting.turned import RotationCurve, compose, rotation_figure

if TYPE_CHECKING:
    from aliasfree.sampling.sampler import SampleSettings

__all__ = ["evaluate_turned"]

Progress = Callable[[int, int], None]


def evaluate_turned(
    source: Path,
    data: str,
    ways: Sequence[Way],
    angles: Sequence[float],
    num: int,
    sampling: SampleSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    split: str = "train",
    num_real: int | None = None,
    labels: str = "auto",
    skip_bad: bool = False,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> tuple[list[RotationCurve], Path] | None:
    """`rotation_curves` of a run; writes `out` (None = RUN/rotation.html), and .json and .png of the same name.

    Those of an earlier call for the same run are replaced, other files only with `overwrite`. `split`, `num_real`,
    `labels` and `skip_bad` are of the real images, as `open_real` takes them.

    The paper's way is always among the `ways`. Parts that were sampled before are used again. Under torchrun all
    processes sample, and all but the first give None. Raises ArgumentError, DataError, RunError.
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
    check_outputs(outputs, reads=[*run.read, Path(data)], overwrite=overwrite, own=_is_ours(note, source))
    ways = [*ways, *(() if PAPER in ways else (PAPER,))]
    find_device(device)
    processes = Processes()
    config = run.config["model"]
    size = config["sample_size"]
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    check_curves(num, shape)
    real = open_real(
        data, shape, int(config["in_channels"]), split=split, num=num_real, labels=labels, skip_bad=skip_bad,
        progress=told("reading"),
    )  # fmt: skip
    check_curves(num, shape, len(real.train))
    store = SampleStore(run, sampling, source / "evaluation", device, processes)
    if not processes.is_main:
        for motion in [Way().motion(0.0), *(w.motion(a) for w in ways for a in angles if a)]:
            store.images(num, motion)
        return None
    judge = ClassifierFeatures(*classifier_for(real, told("learning")))
    curves = rotation_curves(store, ways, angles, num, judge, real.train, progress=told("sampling"))
    about = {
        "run": str(source),
        "config": run.settings.config,
        "data": data,
        "images": num,
        "classifier_accuracy": judge.accuracy,
        "sampling": sampling,
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
