"""CSV of pixels: one image a row, a label first or last, square grey pixels 0..255 row by row; header or not."""

from __future__ import annotations

import gzip
import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from aliasfree.data.source import Bad, Item, Source, holds_images, pick_file, single_split, stamp_file
from aliasfree.errors import DataError
from aliasfree.files import require_regular

_SUFFIXES = (".csv", ".csv.gz")
_CHUNK_LINES = 512
_LONGEST_LINE = 2**24
_LABEL_NAMES = {"label", "labels", "class", "target", "y"}


@dataclass(frozen=True)
class _Layout:
    columns: int
    label: int | None
    side: int
    header: bool
    named: bool = False
    """The header says which column is the label."""


class CsvSource(Source):
    """A `.csv` or `.csv.gz` file, or a folder of them named after their splits (`mnist_train.csv`, `mnist_test.csv`).

    The label is the column that a header calls label, class, target or y; else the first, or the last where that alone
    looks like classes; rows with a square number of values have no label. Semicolons and tabs separate values too. Read
    in pieces; a wrong row is named by its line.
    """

    priority: ClassVar[int] = 5

    def __init__(self, path: Path, split: str) -> None:
        super().__init__(path, split)
        if path.is_dir():
            self._file = pick_file(_csv_files(path), split, path)
        else:
            single_split(path, split)
            self._file = path

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (
            bool(_csv_files(path)) and not holds_images(path)
            if path.is_dir()
            else path.name.lower().endswith(_SUFFIXES)
        )

    def stamp(self) -> list[str]:
        return [stamp_file(self._file)]

    def count(self) -> int:
        with _open(self._file) as text:
            return sum(
                1 for line in _lines(text, self._file) if not line.isspace()
            )  # a header is one too many; this is for progress

    def items(self, bad: Bad) -> Iterator[Item]:
        with _open(self._file) as text:
            numbered = _lines(text, self._file)
            first = next(numbered, "").removeprefix("\xef\xbb\xbf")
            separator = next((s for s in ";\t" if s in first and "," not in first), ",")
            numbered = (line.replace(separator, ",") for line in numbered)
            first = first.replace(separator, ",")
            layout = _layout(first, self._file)
            start = 2 if layout.header else 1
            lines = numbered if layout.header else itertools.chain([first], numbered)
            if layout.label == 0 and not layout.named:
                head = list(itertools.islice(lines, max(2, min(_CHUNK_LINES, _LONGEST_LINE // len(first)))))
                lines = itertools.chain(head, lines)
                if _label_is_last(_parse_fast(head, layout.columns)):
                    layout = replace(layout, label=layout.columns - 1)
            if layout.label is not None:
                where = {0: "first", layout.columns - 1: "last"}.get(layout.label, f"{layout.label + 1}.")
                self.notes = (f"labels from the {where} column",)
            step = max(1, min(_CHUNK_LINES, _LONGEST_LINE // len(first)))
            while chunk := list(itertools.islice(lines, step)):
                yield from self._rows(chunk, start, layout, bad)
                start += len(chunk)

    def _rows(self, chunk: list[str], start: int, layout: _Layout, bad: Bad) -> Iterator[Item]:
        table = _parse_fast(chunk, layout.columns)
        rows = enumerate(table, start) if table is not None else self._parse_slow(chunk, start, layout, bad)
        for line, values in rows:
            if layout.label is None:
                label, pixels = None, values
            else:
                label, pixels = int(values[layout.label]), np.delete(values, layout.label)
            image = pixels.astype(np.uint8).reshape(layout.side, layout.side)
            yield Item(image, label, f"{self._file.name}, line {line}")

    def _parse_slow(self, chunk: list[str], start: int, layout: _Layout, bad: Bad) -> Iterator[tuple[int, np.ndarray]]:
        """Row by row, to say which line is wrong and why."""
        for line, text in enumerate(chunk, start):
            if not text.strip():
                continue
            fields = text.strip().split(",")
            try:
                if len(fields) != layout.columns:
                    problem = f"has {len(fields)} values where {layout.columns} are expected"
                    raise DataError(f"{self._file}, line {line} {problem}; correct the row.")
                yield line, np.array([_value(f, i, f"{self._file}, line {line}") for i, f in enumerate(fields, 1)])
            except DataError as error:
                bad(error)


def _csv_files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.lower().endswith(_SUFFIXES) and not p.name.startswith(".")]


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    # latin-1 never fails, so that odd bytes are reported as a wrong value with their line.
    try:
        with require_regular(path).open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="latin-1") if zipped else path.open(encoding="latin-1") as text:
            yield text
    except EOFError as error:
        raise DataError(f"{path} is truncated: its gzip stream ends early; fetch the file again.") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); check the file and its permissions.") from error


def _lines(text: IO[str], path: Path) -> Iterator[str]:
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise DataError(f"{path} has a line of more than {_LONGEST_LINE:,} characters; give one image a row.")
        yield line


def _layout(first: str, path: Path) -> _Layout:
    fields = [f.strip().strip('"').lower() for f in first.strip().split(",")]
    columns = len(fields)
    if fields == [""]:
        raise DataError(f"{path} begins with an empty line; expected a header or a label and pixel values.")
    header = not any(_is_number(f) for f in fields) or any(f in _LABEL_NAMES for f in fields)
    named = next((i for i, f in enumerate(fields) if f in _LABEL_NAMES), None) if header else None
    for label, pixels in ((0 if named is None else named, columns - 1), (None, columns)):
        side = math.isqrt(pixels)
        if side > 0 and side * side == pixels:
            return _Layout(columns, label, side, header, named is not None)
    raise DataError(
        f"{path}, line 1 has {columns} values; expected a label and a square number of pixels, such as 785 for 28x28."
    )


def _label_is_last(rows: np.ndarray | None) -> bool:
    """Whether the last column looks like classes and the first like a pixel, as it does not in MNIST's files."""
    if rows is None or len(rows) < 2:
        return False
    first, last = np.unique(rows[:, 0]), np.unique(rows[:, -1])
    if len(last) < 2 or last[-1] != len(last) - 1 + last[0] or last[0] > 1:
        return False  # classes are counted without a gap
    return len(first) == 1 or (len(first) > 2 * len(last) and first[-1] != len(first) - 1 + first[0])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_fast(chunk: list[str], columns: int) -> np.ndarray | None:
    """All rows at once, or None when any of them needs a closer look."""
    try:
        table = np.loadtxt(chunk, dtype=np.int32, delimiter=",", comments=None, ndmin=2)
    except (ValueError, OverflowError):
        return None
    fine = table.shape == (len(chunk), columns) and table.min() >= 0 and table.max() <= 255
    return table if fine else None


def _value(text: str, column: int, where: str) -> int:
    try:
        number = float(text.strip().strip('"'))
        value = int(number)
        if value != number:
            raise ValueError
    except (ValueError, OverflowError):
        shown = text.strip()[:20]
        raise DataError(f"{where}, column {column} holds {shown!r}, which is no whole number; correct it.") from None
    if not 0 <= value <= 255:
        raise DataError(f"{where}, column {column} holds {value}, which is outside 0..255; correct it.")
    return value
