"""What a run reports while it goes: losses.csv, TensorBoard, and the progress bar."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.training.checkpoint import write_atomically

if TYPE_CHECKING:
    from rich.console import Console

    from aliasfree.training.run_folder import RunFolder

COLUMNS = ("step", "loss", "lr", "images_per_second")
_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step: its loss before the step, averaged over the processes, and the speed around it."""

    step: int
    loss: float
    lr: float
    grad_norm: float | None
    images_per_second: float


def read_losses(path: Path) -> list[dict[str, str]]:
    """The whole rows of a losses.csv; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [row for row in csv.DictReader(whole) if None not in row.values()]


class LossLog:
    """Appends to losses.csv; opened at a step, it first drops the rows after that step."""

    def __init__(self, path: Path, start: int) -> None:
        kept = [row for row in read_losses(path) if int(row["step"]) <= start]
        lines = [",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in kept)]
        write_atomically(path, ("\n".join(lines) + "\n").encode())
        self._file = path.open("ab", buffering=0)

    def write(self, records: Sequence[StepRecord]) -> None:
        """Append rows; the loss is written so that it reads back exactly."""
        rows = (f"{r.step},{r.loss!r},{r.lr!r},{r.images_per_second:.1f}\n" for r in records)
        _WriteAll(self._file).write("".join(rows).encode())

    def sync(self) -> None:
        """Bring the rows to the disk, so that they are there when a checkpoint of the same step is."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLog:
    """Scalars and pictures under `tensorboard/`, with what a killed run wrote after `start` purged.

    Written at once by the caller's thread: `SummaryWriter` has a thread for it, which dies of a full disk unheard.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{start}"
        self._file = (folder / name).open("ab", buffering=0)
        self._records = RecordWriter(_WriteAll(self._file))
        self._event(file_version="brain.Event:2")
        if start:
            self._event(step=start + 1, session_log=SessionLog(status=SessionLog.START))

    def _event(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())

    def write(self, record: StepRecord) -> None:
        """Scalars of one step."""
        from torch.utils.tensorboard.summary import scalar

        values = {"loss": record.loss, "learning rate": record.lr, "images per second": record.images_per_second}
        if record.grad_norm is not None:
            values["gradient norm"] = record.grad_norm
        for name, value in values.items():
            self._event(step=record.step, summary=scalar(name, value))

    def picture(self, name: str, image: Any, step: int) -> None:
        """A Pillow image."""
        from torch.utils.tensorboard.summary import image as summary

        pixels = np.asarray(image)
        self._event(step=step, summary=summary(name, pixels, dataformats="HW" if pixels.ndim == 2 else "HWC"))

    def sync(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _WriteAll:
    """An unbuffered file that takes all it is given, or raises `OSError`; closing it can then lose nothing."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]


class Journal:
    """All of the above and below for one run folder, from a step on."""

    def __init__(self, folder: RunFolder, start: int, total: int, console: Console) -> None:
        self._losses = LossLog(folder.losses_file, start)
        self._board = TensorBoardLog(folder.tensorboard, start)
        self._bar = ProgressBar(console, total, start)

    def write(self, records: Sequence[StepRecord]) -> None:
        """Log steps and show the last of them."""
        if not records:
            return
        self._losses.write(records)
        for record in records:
            self._board.write(record)
        self._bar.update(records[-1])

    def picture(self, name: str, image: Any, step: int) -> None:
        """A picture for TensorBoard."""
        self._board.picture(name, image, step)

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._losses.sync()
        self._board.sync()

    def close(self) -> None:
        """Close all, whatever one of them says."""
        with contextlib.ExitStack() as stack:
            for part in (self._losses, self._board, self._bar):
                stack.callback(part.close)


@contextlib.contextmanager
def reading_bar(console: Console) -> Iterator[Callable[[int, int], None] | None]:
    """A bar for `open_images` while it decodes, gone when it is done; None where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not console.is_terminal or console.quiet:
        yield None
        return
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class ProgressBar:
    """Loss, images/s and time left: a rich bar on a terminal, a line every half minute elsewhere, nothing if quiet."""

    def __init__(self, console: Console, total: int, start: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._total = total
        self._start = start
        self._began = time.monotonic()
        self._next_line = self._began + 5.0
        self._bar: Progress | None = None
        if console.is_terminal and not console.quiet:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                TextColumn("{task.fields[speed]:.0f} images/s"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("training", total=total, completed=start, loss=float("nan"), speed=0.0)
            self._bar.start()

    def update(self, record: StepRecord) -> None:
        """Show a step."""
        if self._bar is not None:
            self._bar.update(self._task, completed=record.step, loss=record.loss, speed=record.images_per_second)
            return
        now = time.monotonic()
        if now >= self._next_line or record.step == self._total:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            pace = (now - self._began) / max(1, record.step - self._start)
            left = timedelta(seconds=round(pace * (self._total - record.step)))
            self._console.print(
                f"step {record.step}/{self._total}  loss {record.loss:.4f}  "
                f"{record.images_per_second:.0f} images/s  {left} left",
                highlight=False,
                soft_wrap=True,
            )

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
