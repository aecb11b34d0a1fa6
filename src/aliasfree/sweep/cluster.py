"""The cells of a sweep on a Ray cluster: several at once, on whatever machines there are."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aliasfree.errors import ArgumentError, RunError
from aliasfree.progress import Live
from aliasfree.sweep.cells import is_finished, run_cell
from aliasfree.sweep.recipe import Cell
from aliasfree.sweep.storage import CellStorage
from aliasfree.sweep.sweep import Work

__all__ = ["ClusterSettings", "run_on_ray"]

LOST_WORKERS = 5
"""How often a cell whose worker or machine was lost is begun again, from its last checkpoint."""
SECONDS_BETWEEN_LINES = 20.0


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where cells run and what one of them takes. Raises ArgumentError."""

    address: str = "auto"  # "auto" = the cluster that this machine belongs to, "local" = this machine, or an address
    gpus_per_run: float = 0.0  # 0.25 = four networks on one GPU
    cpus_per_run: float = 1.0
    storage: str | None = None  # fsspec URL for run folders; None = the machines share the sweep's folder

    def __post_init__(self) -> None:
        if self.gpus_per_run < 0:
            raise ArgumentError(f"`gpus_per_run` must be 0 or more, not {self.gpus_per_run}.")
        if self.cpus_per_run <= 0:
            raise ArgumentError(f"`cpus_per_run` must be more than 0, not {self.cpus_per_run}.")


def run_on_ray(work: Work, settings: ClusterSettings) -> bool:
    """Run cells on a cluster; False when the time was over before the last one was finished.

    A cell whose worker or machine is lost is begun again elsewhere, from its last checkpoint. Raises RunError when Ray
    is missing or there is no cluster.
    """
    ray = _connect(settings.address)
    remote = ray.remote(num_cpus=settings.cpus_per_run, num_gpus=settings.gpus_per_run, max_retries=LOST_WORKERS)(
        run_there
    )
    waiting = {
        remote.remote(cell, str(work.folder(cell).absolute()), work.device, work.until, settings.storage): cell
        for cell in work.cells
    }
    total, ended, all_finished = len(waiting), 0, True
    columns = ("cells", "bar", "count", "time left")
    live = Live(work.console, columns, {}, total=total, every=SECONDS_BETWEEN_LINES)
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
            for ref in ready:
                cell = waiting.pop(ref)
                ended += 1
                try:
                    outcome, error = ray.get(ref)
                except ray.exceptions.RayError as lost:
                    outcome, error = "failed", RunError(f"its worker was lost {LOST_WORKERS + 1} times ({lost})")
                if outcome == "failed":
                    work.failed(cell, error)
                elif outcome == "stopped":
                    all_finished = False
                elif settings.storage is not None:
                    CellStorage(settings.storage, cell.name, work.folder(cell)).fetch(checkpoints=False)
            live.show(ended, partial(str, f"[{ended}/{total}] cells are through"))
    finally:  # Ctrl-C: what is running saves and stops
        for ref in waiting:
            ray.cancel(ref)
        live.close()
    return all_finished


def run_there(
    cell: Cell, folder: str, device: str, until: float | None, storage: str | None
) -> tuple[str, Exception | None]:
    """A cell on a worker: ("finished" | "stopped" | "failed", the error). Public so that Ray finds it by name."""
    from aliasfree.training import RunStopped

    place, kept = Path(folder), None
    try:
        if storage is not None:
            part = hashlib.sha256(f"{storage} {folder}".encode()).hexdigest()[:16]
            place = Path(tempfile.gettempdir()) / "aliasfree-sweep" / part / place.name
            kept = CellStorage(storage, cell.name, place)
            kept.fetch()
        if is_finished(place):
            return "finished", None
        if until is not None and time.time() >= until:
            return "stopped", None

        def report(_stage: str, _done: int, _total: int) -> None:
            if kept is not None:
                kept.push_sometimes()

        try:
            run_cell(cell, place, device=device, until=until, report=report)
        finally:
            if kept is not None:
                kept.push()
    except RunStopped:
        return "stopped", None
    except Exception as error:  # to be named where the sweep was started
        return "failed", RunError(f"{type(error).__name__}: {error}")
    return "finished", None


def _connect(address: str) -> Any:
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise RunError(
            "A cluster needs Ray; install it with `pip install aliasfree[cluster]`, or leave out `ray`."
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise RunError(
                f"There is no Ray cluster at {address!r} ({error}); start one on its first machine (`ray start`), or "
                "give `ray='local'` for this machine alone."
            ) from error
    return ray
