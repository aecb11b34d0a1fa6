"""Trainings that the studio starts, each a process of its own: `aliasfree train`, stopped by SIGTERM, which saves."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aliasfree.app import limits
from aliasfree.errors import ArgumentError

__all__ = ["Trainings"]

SETTINGS = {"lr": 1e-3, "ema_decay": 0.99, "checkpoint_every": 200, "sample_every": 200, "sample_steps": 20}
"""Of every run that is started here."""
FRESH = 20.0
"""Seconds since the last row of losses.csv within which a run is taken to be going on."""
PATIENCE = 60.0
"""Seconds for trainings to save when the studio ends."""


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    owner: str
    log: IO[bytes]


class Trainings:
    """At most one training at a time. Runs lie in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._children: dict[Path, _Child] = {}
        self._lock = threading.Lock()

    def start(self, owner: str, fields: Mapping[str, Any]) -> Path:
        """Begin a run from the page's fields: name, config, data, steps, image_size, base_channels, seed.

        Raises ArgumentError, ConfigError, DataError, RunError.
        """
        from aliasfree.data import source_names
        from aliasfree.data.registry import resolve
        from aliasfree.training.run_folder import RunFolder, check_folder
        from aliasfree.training.settings import RunSettings

        if fields["data"] not in source_names():
            raise ArgumentError(f"The studio trains on one of: {', '.join(source_names())}.")
        given = {
            "data": fields["data"],
            "config": str(fields["config"]),
            "steps": limits.whole(fields["steps"], "steps", 1, limits.TRAINING_STEPS),
            "image_size": limits.whole(fields["image_size"], "image size", 8, 64),
            "base_channels": limits.whole(fields["base_channels"], "width", 4, 64),
            "seed": limits.whole(fields["seed"], "seed", 0, 2**31 - 1),
            **SETTINGS,
        }
        settings = RunSettings(out=self.home / limits.folder_name(fields["name"]), class_conditional=True, **given)
        check_folder(RunFolder(settings.out), False)
        resolve(settings.data, settings.split)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        self._spawn(owner, settings.out, ["--class-conditional", *options])
        return settings.out

    def resume(self, owner: str, run: Path, steps: Any) -> None:
        """Go on with a run of `home`, to `steps` in all. Raises ArgumentError, RunError."""
        from aliasfree.training.run_folder import RunFolder

        if run.parent.resolve() != self.home.resolve():
            raise ArgumentError(f"The studio goes on with runs in {self.home}/ only; use `aliasfree train --resume`.")
        done = len(RunFolder(run).losses()[0])
        wanted = limits.whole(steps, "steps", 1, limits.TRAINING_STEPS)
        if wanted <= done:
            raise ArgumentError(f"{run} has done {done} steps already; give more `steps` to go on.")
        if self.is_fresh(run):
            raise ArgumentError(f"{run} is being trained already; wait for it, or stop it.")
        self._spawn(owner, run, ["--resume", f"--steps={wanted}"])

    def stop(self, owner: str, run: Path) -> None:
        """Ask a training to save and stop. Raises ArgumentError for one that this visitor has not started."""
        child = self._children.get(run)
        if child is None or child.process.poll() is not None:
            raise ArgumentError(f"{run} is not being trained by the studio.")
        if child.owner != owner:
            raise ArgumentError(f"{run} is being trained by another visitor, who alone can stop it.")
        child.process.send_signal(signal.SIGTERM)

    def running(self, run: Path) -> bool:
        """Whether a process of the studio trains it."""
        child = self._children.get(run)
        return child is not None and child.process.poll() is None

    def is_fresh(self, run: Path) -> bool:
        """Whether it is being trained, by the studio or, as far as its losses tell, elsewhere."""
        try:
            age = time.time() - (run / "losses.csv").stat().st_mtime
        except OSError:
            return self.running(run)
        child = self._children.get(run)
        ended = child is not None and child.process.poll() is not None
        return self.running(run) or (age < FRESH and not ended)

    def failure(self, run: Path) -> str:
        """Why the studio's last training of a run ended badly, in its own words; "" if it did not."""
        child = self._children.get(run)
        if child is None or child.process.poll() in (None, 0, 128 + signal.SIGTERM):
            return ""
        child.log.seek(0)
        lines = child.log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"The training ended with code {child.process.poll()}."

    def close(self) -> None:
        """Stop all; each saves first."""
        running = [c.process for c in self._children.values() if c.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        for process in running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _spawn(self, owner: str, run: Path, options: list[str]) -> None:
        with self._lock:
            busy = next((p for p in self._children if self.running(p)), None)
            if busy is not None:
                raise ArgumentError(f"{busy} is being trained; the studio trains one run at a time.")
            log = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the child is known
            command = [sys.executable, "-m", "aliasfree", "train", f"--out={run}", *options]
            # a session of its own: Ctrl-C in the terminal ends the studio, which then stops it in an orderly way
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
            self._children[run] = _Child(process, owner, log)
