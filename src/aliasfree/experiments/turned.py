"""A run's turned samples, measured: JSON, a picture of the curves, and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError
from aliasfree.experiments.equivariance import PAPER, Way, rotation_curves
from aliasfree.experiments.extractors import classifier_for
from aliasfree.experiments.real import open_real
from aliasfree.experiments.sample_store import Processes, SampleStore
from aliasfree.files import write_file, write_json
from aliasfree.pictures import save_png
from aliasfree.reporting.turned import RotationCurve, compose, rotation_figure

if TYPE_CHECKING:
    from aliasfree.experiments.generate import SampleSettings

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
    split: str = "train",
    num_real: int | None = None,
    out: Path | None = None,
    device: str = "auto",
    progress: Callable[[str], Progress] | None = None,
) -> tuple[list[RotationCurve], Path] | None:
    """`rotation_curves` of a run; writes `out` (None = RUN/rotation.html), and .json and .png of the same name.

    split, num_real  as in `EvaluateSettings`

    The paper's way is always among the `ways`. Parts that were sampled before are used again. Under torchrun all
    processes sample, and all but the first give None. Raises ArgumentError, DataError, RunError.
    """
    from aliasfree.evaluation.features import ClassifierFeatures
    from aliasfree.training import RunFolder

    told = progress or (lambda _: lambda _done, _total: None)
    run = RunFolder(source)
    page = out or source / "rotation.html"
    if page.suffix.lower() != ".html":
        raise ArgumentError(f"The page is HTML, so `out` must end in .html, not {page.name!r}.")
    ways = [*ways, *(() if PAPER in ways else (PAPER,))]
    processes = Processes()
    config = run.config["model"]
    size = config["sample_size"]
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    real = open_real(data, shape, int(config["in_channels"]), split=split, num=num_real, progress=told("reading"))
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
    write_json(page.with_suffix(".json"), about)
    figure = rotation_figure(curves)
    save_png(figure, page.with_suffix(".png"))
    write_file(page, compose(run.settings.config, num, judge.accuracy, curves, figure))
    return curves, page
