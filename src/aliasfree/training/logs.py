"""What a run reports while it goes: losses.csv, TensorBoard, and a progress bar, all written by a `Journal`."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.progress import Live
from aliasfree.training.losses import LossLog, StepRecord, WriteAll

if TYPE_CHECKING:
    from rich.console import Console

    from aliasfree.training.run_folder import RunFolder

_SECONDS_BETWEEN_LINES = 30.0


class TensorBoardLog:
    """Scalars and pictures under `tensorboard/`, with what a killed run wrote after `start` purged.

    Written at once by the caller's thread: `SummaryWriter` writes from its own, where the error of a full disk is lost.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{start}"
        self._file = (folder / name).open("ab", buffering=0)
        self._records = RecordWriter(WriteAll(self._file))
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
        values |= {f"loss/{name}": value for name, value in record.parts.items()}
        for name, value in values.items():
            self._event(step=record.step, summary=scalar(name, value))

    def figures(self, values: dict[str, float], step: int) -> None:
        """Scalars of another kind than a step's."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._event(step=step, summary=scalar(name, value))

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


class Journal:
    """losses.csv, TensorBoard and the bar of one run folder, from a step on."""

    def __init__(self, folder: RunFolder, start: int, total: int, console: Console) -> None:
        self._losses = LossLog(folder.losses_file, start)
        self._board = TensorBoardLog(folder.tensorboard, start)
        self._bar = TrainingBar(console, total, start)

    def write(self, records: Sequence[StepRecord]) -> None:
        """Log steps and show the last of them."""
        if not records:
            return
        self._losses.write(records)
        for record in records:
            self._board.write(record)
        self._bar.update(records[-1])

    def figures(self, values: dict[str, float], step: int) -> None:
        """Measurements for TensorBoard."""
        self._board.figures(values, step)

    def picture(self, name: str, image: Any, step: int) -> None:
        """A picture for TensorBoard."""
        self._board.picture(name, image, step)

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._losses.sync()
        self._board.sync()

    def close(self) -> None:
        """Close all of them, even when closing one fails."""
        with contextlib.ExitStack() as stack:
            for part in (self._losses, self._board, self._bar):
                stack.callback(part.close)


class TrainingBar:
    """Loss, images/s and time left, of the step that was last done."""

    def __init__(self, console: Console, total: int, start: int) -> None:
        self._total, self._start, self._began = total, start, time.monotonic()
        speed = "{task.fields[speed]:.0f} images/s"
        columns = ("training", "bar", "count", "loss {task.fields[loss]:.4f}", speed, "time left", "left")
        fields = {"loss": float("nan"), "speed": 0.0}
        self._live = Live(console, columns, fields, total=total, done=start, every=_SECONDS_BETWEEN_LINES, first=5.0)

    def update(self, record: StepRecord) -> None:
        """Show a step."""

        def line() -> str:
            pace = (time.monotonic() - self._began) / max(1, record.step - self._start)
            left = timedelta(seconds=round(pace * (self._total - record.step)))
            return (
                f"step {record.step}/{self._total}  loss {record.loss:.4f}  "
                f"{record.images_per_second:.0f} images/s  {left} left"
            )

        last = record.step == self._total
        self._live.show(record.step, line, now=last, loss=record.loss, speed=record.images_per_second)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._live.close()
