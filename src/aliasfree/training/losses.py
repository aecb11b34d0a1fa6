"""losses.csv: one row a step, appended while a run goes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aliasfree.files import write_file

COLUMNS = ("step", "loss", "lr", "images_per_second")


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step: its loss before the step, averaged over the processes, and the speed around it."""

    step: int
    loss: float
    lr: float
    grad_norm: float | None
    images_per_second: float
    parts: dict[str, float] = field(default_factory=dict)  # the losses that it is a sum of, before their weights


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
        write_file(path, "\n".join(lines) + "\n")
        self._file = path.open("ab", buffering=0)

    def write(self, records: Sequence[StepRecord]) -> None:
        """Append rows; the loss is written so that it reads back exactly."""
        rows = (f"{r.step},{r.loss!r},{r.lr!r},{r.images_per_second:.1f}\n" for r in records)
        WriteAll(self._file).write("".join(rows).encode())

    def sync(self) -> None:
        """Bring the rows to the disk, so that they are there when a checkpoint of the same step is."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WriteAll:
    """An unbuffered file that takes all it is given, or raises `OSError`; closing it can then lose nothing."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def write(self, content: bytes) -> None:
        """Write it to the last byte."""
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
