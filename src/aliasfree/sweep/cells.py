"""One cell of a sweep: an ordinary run, trained, sampled and measured, going on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import RunError
from aliasfree.files import json_value, write_json
from aliasfree.sweep.recipe import Cell

if TYPE_CHECKING:
    from aliasfree.results.rotation import RotationCurve
    from aliasfree.training import RunFolder

__all__ = ["MARK", "is_finished", "kept_curves", "run_cell", "turn_cell"]

MARK = "cell.json"
"""The last file of a cell: it is there when the cell is finished."""
CURVES = "rotation.safetensors"
Report = Callable[[str, int, int], None]
"""report(stage, done, total)."""
LOCK_SECONDS = 120.0
"""For which a cell waits for another process that has it: on a cluster a lost worker may take a while to die."""


def is_finished(folder: Path) -> bool:
    """Whether a cell's run folder holds everything."""
    return (folder / MARK).is_file()


def run_cell(
    cell: Cell, folder: Path, *, device: str = "auto", until: float | None = None, report: Report | None = None
) -> None:
    """Train, sample and measure a cell in its run folder, each from where it was stopped; nothing when it is finished.

    until   `time.time()` at which to stop; training saves first, and of the images at most a part of 250 is lost
    report  called with ("training" | "measuring" | what else takes long, done, total)

    Raises RunStopped on Ctrl-C, SIGTERM or at `until`, RunError for a folder with another run, and what training and
    measuring raise.
    """
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise RunError(f"The cell {cell.name} is in use by another process; wait for it or stop it.") from error
    with lock:
        if is_finished(folder):
            return
        began = time.monotonic()
        run = _train(cell, folder, device, until, report)
        trained = time.monotonic()
        _measure(cell, run, device, until, report)
        seconds = {"training": trained - began, "measuring": time.monotonic() - trained}
        write_json(folder / MARK, {"cell": cell.name, "part": json_value(cell.part), "seconds_of_last_call": seconds})


def turn_cell(
    cell: Cell, folder: Path, *, device: str = "auto", until: float | None = None, report: Report | None = None
) -> None:
    """Turn a finished cell's images while they are sampled, by the default way and by the paper's, and keep the curves
    in its folder (`kept_curves`); nothing when they are there."""
    from aliasfree.measuring.rotation import RotationSettings, Way, evaluate_turned
    from aliasfree.results.rotation import write_curves

    if kept_curves(cell, folder) is not None:
        return
    wanted = _turning(cell)
    settings = RotationSettings(
        data=cell.part.source, ways=[Way()], angles=wanted["angles"], num=wanted["num"],
        sampling=cell.sample_settings(), split=cell.part.training.get("split", "train"),
        num_real=cell.part.training.get("num_images"),
    )  # fmt: skip
    done = evaluate_turned(folder, settings, device=device, progress=_told(report, until))
    assert done is not None  # this process is alone
    write_curves(folder / CURVES, done[0], wanted)


def kept_curves(cell: Cell, folder: Path) -> list[RotationCurve] | None:
    """The curves of a cell that was turned as its recipe says, or None."""
    from aliasfree.results.rotation import read_curves

    return None if cell.part.rotation is None else read_curves(folder / CURVES, _turning(cell))


def _turning(cell: Cell) -> dict[str, Any]:
    rotation = cell.part.rotation
    assert rotation is not None
    return {"angles": sorted({0.0, *rotation.angles}), "num": rotation.num}


def _train(cell: Cell, folder: Path, device: str, until: float | None, report: Report | None) -> RunFolder:
    from rich.console import Console

    from aliasfree.training import RunFolder, train

    settings = cell.run_settings(folder, device)
    run = RunFolder(folder)
    if run.exists:
        there, here = (s.replace(device="auto", out=folder).to_dict() for s in (run.settings, settings))
        other = [f"{key} {there[key]}, not {here[key]}" for key in here if there[key] != here[key]]
        if other:
            raise RunError(
                f"{folder} holds a run with other settings ({'; '.join(other)}); choose another `out` for the sweep."
            )

    def on_step(step: int, _loss: float) -> None:
        if report is not None:
            report("training", step, settings.total_steps(_images(run), 1))

    return train(settings, resume=run.exists, until=until, on_step=on_step, console=Console(quiet=True))


def _images(run: RunFolder) -> int:
    return int(run.config["data"]["images"])


def _measure(cell: Cell, run: RunFolder, device: str, until: float | None, report: Report | None) -> None:
    from aliasfree.measuring.evaluate import evaluate

    for features in cell.part.features:
        evaluate(run.path, cell.evaluate_settings(features), device=device, progress=_told(report, until))


def _told(report: Report | None, until: float | None) -> Callable[[str], Callable[[int, int], None]]:
    """Progress of the sampling as "measuring", of what else takes long by its name; a call at or after `until` stops
    the work."""
    from aliasfree.training import RunStopped
    from aliasfree.training.stopping import TIME_UP

    def stage(name: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if until is not None and time.time() >= until:
                raise RunStopped("Stopped by the time limit.", TIME_UP)
            if report is not None:
                report("measuring" if name == "sampling" else name, done, total)

        return tell

    return stage


def describe_error(error: BaseException) -> dict[str, Any]:
    """A failure for failed.json: its sentence and where it comes from."""
    import traceback

    return {"error": f"{type(error).__name__}: {error}", "where": traceback.format_exception(error)}
