"""Labels that a file beside the images holds: StyleGAN's dataset.json, image-folder metadata, Tiny ImageNet's lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable

from aliasfree.errors import DataError

__all__ = ["LABELS", "LABEL_FILES", "read_labels"]

LABELS = ("auto", "none", "folders", "file")
"""Where labels come from."""
LABEL_FILES = frozenset({"dataset.json", "metadata.csv", "metadata.jsonl", "val_annotations.txt"})
_LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
_MOST_BYTES = 256 * 2**20


def read_labels(
    names: Iterable[str], read: Callable[[str, int], bytes], title: str
) -> tuple[dict[str, str], list[str]]:
    """Labels by the path of the image, and the label files they came from.

    names  label files, relative posix paths; the paths in them are relative to their folder
    read   read(name, most) gives the first `most` bytes of a label file
    title  the name of the root in messages

    Raises DataError for a file that is not what its name says.
    """
    found: dict[str, str] = {}
    used = []
    for name in sorted(names):
        raw = read(name, _MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise DataError(
                f"{title}/{name} is larger than 256 MiB; leave it aside with `labels='folders'` or `labels='none'`."
            )
        folder, _, base = name.rpartition("/")
        prefix = folder + "/" if folder else ""
        try:
            rows = _PARSERS[base](raw.decode("utf-8-sig"))
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            cure = "correct it, or choose `labels='folders'` or `labels='none'`"
            raise DataError(f"{title}/{name} cannot be read as labels ({error}); {cure}.") from error
        if rows:
            used.append(name)
            inner = "images/" if base == "val_annotations.txt" else ""
            found.update({prefix + inner + file.replace("\\", "/").removeprefix("./"): label for file, label in rows})
    return found, used


def _dataset_json(text: str) -> list[tuple[str, str]]:
    labels = json.loads(text)
    labels = labels.get("labels") if isinstance(labels, dict) else None
    if not labels:
        return []
    pairs = labels.items() if isinstance(labels, dict) else labels
    return [(str(file), _number(label)) for file, label in pairs]


def _number(label: object) -> str:
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if isinstance(label, bool) or not isinstance(label, int):
        raise ValueError(f"the label {str(label)[:40]!r} is no whole number")
    return str(label)


def _rows(rows: Iterable[dict[str, object]]) -> list[tuple[str, str]]:
    pairs = []
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError("a line is no object")
        column = next((c for c in _LABEL_COLUMNS if c in row), None)
        if column is not None and row.get("file_name") and isinstance(row[column], str | int):
            pairs.append((str(row["file_name"]), str(row[column])))
    return pairs


def _metadata_csv(text: str) -> list[tuple[str, str]]:
    return _rows(csv.DictReader(io.StringIO(text)))


def _metadata_jsonl(text: str) -> list[tuple[str, str]]:
    return _rows(json.loads(line) for line in text.splitlines() if line.strip())


def _annotations(text: str) -> list[tuple[str, str]]:
    fields = [line.split("\t") for line in text.splitlines() if line.strip()]
    return [(f[0], f[1]) for f in fields if len(f) > 1]


_PARSERS = {"dataset.json": _dataset_json, "metadata.csv": _metadata_csv, "metadata.jsonl": _metadata_jsonl,
            "val_annotations.txt": _annotations}  # fmt: skip
