"""`aliasfree sweep`: every config on every data set from every seed, and the table and figures of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import RunError
from aliasfree.files import together, write_file, write_json
from aliasfree.results.metrics import read_metrics
from aliasfree.sweep.cells import describe_error, is_finished, kept_curves, run_cell, turn_cell
from aliasfree.sweep.recipe import Cell, SweepRecipe
from aliasfree.sweep.table import Entry, Measured, csv_text, entries, latex, markdown

if TYPE_CHECKING:
    from rich.console import Console

    from aliasfree.results.rotation import RotationCurve

__all__ = ["SweepResult", "Work", "run_here", "sweep"]

RECIPE, FAILED = "recipe.json", "failed.json"


@dataclass
class SweepResult:
    """What a sweep came to. `files` are its tables and page, none before the first cell is finished."""

    total: int
    finished: int = 0
    stopped: bool = False  # its time was over
    failed: dict[str, str] = field(default_factory=dict)  # cell -> the error's words
    files: list[Path] = field(default_factory=list)
    table: str = ""


@dataclass
class Work:
    """The cells that are to be run, and what is told of them while they are.

    failed   called with (cell, error) for a cell that cannot be finished; the others go on
    until    `time.time()` at which to stop, None = when all is done
    """

    cells: list[Cell]
    out: Path
    device: str
    until: float | None
    console: Console
    failed: Callable[[Cell, BaseException], None]

    def folder(self, cell: Cell) -> Path:
        """The cell's run folder."""
        return self.out / "runs" / cell.name


def sweep(
    recipe: SweepRecipe,
    out: Path,
    *,
    device: str = "auto",
    until: float | None = None,
    console: Console | None = None,
    run: Callable[[Work], bool] | None = None,
) -> SweepResult:
    """Run the cells of a recipe that are not finished yet, then write tables and page into `out`.

    out     `runs/DATA/CONFIG/seed-N/`, recipe.json, and table.md, .csv, .tex, sweep.html, rotation.png
    until   `time.time()` at which to stop; the same call goes on
    run     runs cells, and gives False when the time was over; None = here, one after the other

    A cell that fails is named in failed.json, and is tried again by the next call. Raises RunError for an `out` with
    other settings or another sweep at work in it, RunStopped on Ctrl-C and SIGTERM.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    with _locked(out):
        _check_same(recipe, out)
        result = SweepResult(total=len(recipe.cells))

        def failed(cell: Cell, error: BaseException) -> None:
            result.failed[cell.name] = f"{type(error).__name__}: {error}"
            failures[cell.name] = describe_error(error)
            write_json(out / FAILED, failures)
            console.print(f"{cell.name} failed: {error}", markup=False, highlight=False, soft_wrap=True)

        failures: dict[str, Any] = {}
        (out / FAILED).unlink(missing_ok=True)
        work = Work([], out, device, until, console, failed)
        work.cells = [cell for cell in recipe.cells if not is_finished(work.folder(cell))]
        if len(work.cells) < result.total:
            done = result.total - len(work.cells)
            console.print(f"{done} of {result.total} cells are finished already.", markup=False)
        try:
            result.stopped = bool(work.cells) and not (run or run_here)(work)
            if not result.stopped:
                result.stopped = not _turn(recipe, work)
        finally:  # a stopped sweep, too, shows what it has
            _report(recipe, out, result)
        return result


def run_here(work: Work) -> bool:
    """Run cells in this process, one after the other; False when the time was over before the last one was finished."""
    from aliasfree.experiments.stages import Stages
    from aliasfree.training import RunStopped
    from aliasfree.training.stopping import TRY_AGAIN

    costs = {cell.name: _expected(cell) for cell in work.cells}
    with Stages({name: sum(cost) for name, cost in costs.items()}, work.console) as stages:
        for cell in work.cells:
            training, measuring = costs[cell.name]
            try:
                with stages.stage(cell.name) as show:
                    report = _shown(show, {"training": training, "measuring": measuring})
                    run_cell(cell, work.folder(cell), device=work.device, until=work.until, report=report)
            except RunStopped as error:
                if error.exit_code != TRY_AGAIN:
                    raise
                return False
            except Exception as error:  # whatever it is, the other cells can do without
                work.failed(cell, error)
    return True


def _shown(show: Callable[..., None], costs: Mapping[str, float]) -> Callable[[str, int, int], None]:
    """report(stage, done, total) for a cell's line of progress: the stages in `costs`, one after the other, move it on,
    others (learning a classifier, say) are named while they last."""
    order = list(costs)
    passed = 0.0

    def report(stage: str, done: int, total: int) -> None:
        nonlocal passed
        if stage in costs:
            before = sum(costs[name] for name in order[: order.index(stage)])
            passed = before + costs[stage] * done / max(1, total)
        show(passed, sum(costs.values()), f"{stage} {done}/{total}" if total else stage)

    return report


def _expected(cell: Cell) -> tuple[float, float]:
    """Seconds of training and of measuring, of which only the ratio matters: on two cores an image costs 5 ms of
    training and 1.3 ms of a sampling step."""
    s, e = cell.run_settings(Path("x")), cell.evaluate_settings(cell.part.features[0])
    steps = s.total_steps(s.num_images or 10_000, 1)
    return 0.005 * steps * s.batch_size, 0.0013 * e.count * e.sampling.steps + 20.0


def _turn(recipe: SweepRecipe, work: Work) -> bool:
    """Turn the samples of the baseline and of the best D of every data set; False when the time was over."""
    from aliasfree.experiments.stages import Stages
    from aliasfree.training import RunStopped
    from aliasfree.training.stopping import TRY_AGAIN

    chosen = _to_turn(recipe, work.out, entries(_measured(recipe, work.out), recipe.configs))
    if not chosen:
        return True
    with Stages({f"{cell.name}, turned": 1.0 for cell in chosen}, work.console) as stages:
        for cell in chosen:
            try:
                with stages.stage(f"{cell.name}, turned") as show:
                    report = _shown(show, {"measuring": 1.0})
                    turn_cell(cell, work.folder(cell), device=work.device, until=work.until, report=report)
            except RunStopped as error:
                if error.exit_code != TRY_AGAIN:
                    raise
                return False
            except Exception as error:  # the table can do without
                work.failed(cell, error)
    return True


def _to_turn(recipe: SweepRecipe, out: Path, found: Sequence[Entry]) -> list[Cell]:
    """Of every data set the finished cells of the first seed by the baseline and by the best D."""
    chosen: list[Cell] = []
    for part in recipe.data:
        if part.rotation is not None:
            configs = [recipe.configs[0], *_best(found, part.name, part.features[0], recipe.configs[0])]
            chosen += [Cell(part=part, config=config, seed=recipe.seeds[0]) for config in configs]
    return [cell for cell in chosen if is_finished(out / "runs" / cell.name)]


def _best(found: Sequence[Entry], data: str, features: str, baseline: str) -> list[str]:
    """The config with both filters whose Frechet distance is the lowest, or of all but the baseline where none is D."""
    known = [e for e in found if (e.data, e.features, e.key) == (data, features, "fid") and e.rank is not None]
    others = [e for e in known if e.config.startswith("D-")] or [e for e in known if e.config != baseline]
    best = min((e for e in others if e.config != baseline), key=lambda e: e.value.value, default=None)
    return [] if best is None else [best.config]


def _measured(recipe: SweepRecipe, out: Path) -> list[Measured]:
    """What the finished cells found."""
    found: list[Measured] = []
    for cell in recipe.cells:
        folder = out / "runs" / cell.name
        if is_finished(folder):
            metrics = read_metrics(folder)
            found += Measured.of(cell.part.name, cell.config, cell.seed, metrics, cell.part.features)
    return found


def _report(recipe: SweepRecipe, out: Path, result: SweepResult) -> None:
    from aliasfree.pictures import save_png
    from aliasfree.sweep.answers import answers, answers_text
    from aliasfree.sweep.page import compose, rotation_figure

    finished = [cell for cell in recipe.cells if is_finished(out / "runs" / cell.name)]
    result.finished = len(finished)
    if not finished:
        return
    measured = _measured(recipe, out)
    found = entries(measured, recipe.configs)
    curves: dict[str, dict[str, list[RotationCurve]]] = {}
    for cell in _to_turn(recipe, out, found):
        if (known := kept_curves(cell, out / "runs" / cell.name)) is not None:
            curves.setdefault(cell.part.name, {})[cell.config] = known
    told = answers(measured, recipe.configs[0], curves)
    result.table = "\n\n".join([*([answers_text(told)] if told else []), markdown(found)])
    figures = {name: rotation_figure(by_config) for name, by_config in curves.items()}
    minutes = _minutes(finished, out)
    contents = {
        "table.md": f"# {recipe.name}\n\n{recipe.about}\n\n{result.table}",
        "table.csv": csv_text(found),
        "table.tex": latex(found),
        "sweep.html": compose(recipe.name, recipe.about, told, found, figures, minutes, len(finished), result.total),
    }
    with together():
        for name, content in contents.items():
            write_file(out / name, content)
        result.files = [out / name for name in contents]
        for name, figure in figures.items():
            save_png(figure, out / f"rotation-{name}.png")
            result.files.append(out / f"rotation-{name}.png")


def _minutes(finished: Sequence[Cell], out: Path) -> list[list[str]]:
    """Rows of (data set, config, minutes of training, of sampling), means over seeds."""
    from aliasfree.training import RunFolder
    from aliasfree.training.losses import read_losses

    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for cell in finished:
        run = RunFolder(out / "runs" / cell.name)
        speeds = [float(row["images_per_second"]) for row in read_losses(run.losses_file)]
        metrics, batch = read_metrics(run.path), run.settings.batch_size
        training = sum(batch / v for v in speeds if v > 0)
        sampling = metrics.num / metrics.images_per_second if metrics.images_per_second else 0.0
        found.setdefault((cell.part.name, cell.config), []).append((training / 60, sampling / 60))
    return [
        [data, config, *(f"{sum(v[k] for v in values) / len(values):.1f}" for k in (0, 1))]
        for (data, config), values in found.items()
    ]


def _check_same(recipe: SweepRecipe, out: Path) -> None:
    """Refuse to mix cells made with other settings; keep the settings."""
    path, now = out / RECIPE, recipe.settings()
    before: dict[str, Any] = {}
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"{path} is not valid JSON ({error}); restore it from a copy.") from error
    for name in sorted(set(before) & set(now)):
        other = sorted(key for key in now[name] if before[name].get(key) != now[name][key])
        if other:
            there, here = ({key: part[name].get(key) for key in other} for part in (before, now))
            raise RunError(
                f"{out} holds a sweep whose cells on {name} were made with other settings ({there} there, {here} in "
                "this recipe); give another `out`, or the recipe as it was: configs, seeds and data sets may be added."
            )
    write_json(path, before | now)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, and `out` must be a folder; choose another name.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"Another sweep is at work in {out}; wait for it, stop it, or choose another `out`.") from error
    except OSError as error:
        raise RunError(f"Cannot create the folder {out} ({error.strerror}); choose another `out`.") from error
    with lock:
        yield
