"""What every data source is: a name or a recognised path, an identity for the cache, and a stream of images."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from aliasfree.data.decode import is_image_name
from aliasfree.errors import ArgumentError, DataError
from aliasfree.files import require_regular

__all__ = [
    "OTHER_SPLITS",
    "SPLITS",
    "Bad",
    "Item",
    "Source",
    "check_split",
    "holds_images",
    "pick_file",
    "single_split",
    "split_of",
    "stamp_file",
]

SPLITS: dict[str, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "val": frozenset({"val", "valid", "validation", "dev", "devel", "eval", "evaluation"}),
    "test": frozenset({"test", "tst", "testing", "t10k", "holdout", "heldout"}),
}
OTHER_SPLITS = frozenset({"unlabeled", "unlabelled", "unsup", "unsupervised", "extra", "pool"})
"""Names of sets that are neither classes nor a split asked for by default."""
_HASHED_BYTES = 64 * 2**20

Bad = Callable[[DataError], None]
"""Called with the error of an image that cannot be read: raises it, or records it when bad files are skipped."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image as a source yields it."""

    image: Image.Image | np.ndarray
    """Mode `L` or `RGB`; or uint8 (H, W) or (H, W, 3)."""
    label: int | None
    """0-based class number; None = the source has no labels."""
    name: str
    """What to call it in messages."""


class Source(ABC):
    """One split of a data source, not yet read.

    To add a source, put one file with one subclass into `aliasfree.data.sources`; the registry finds it.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """Bare names it answers to, such as `digits`."""
    prefix: ClassVar[str] = ""
    """How the text of a source begins, such as `hub:`; empty = by name or content only."""
    priority: ClassVar[int] = 0
    """Higher is asked first by content; a plain folder, which takes anything, is asked last."""
    default_size: ClassVar[tuple[int, int] | None] = None
    """(H, W) when the user names none; None = native."""
    resample: ClassVar[Image.Resampling] = Image.Resampling.BILINEAR

    labels: str = "auto"
    """Where labels come from: `auto`, or, for a source that `takes_labels`, `none`, `folders` or `file`."""
    takes_labels: ClassVar[bool] = False
    notes: tuple[str, ...] = ()
    """How the files were understood, a phrase each; known once `items` is exhausted."""
    class_names: tuple[str, ...] | None = None
    """Known once `items` is exhausted; None = numbered by the labels, or no labels."""

    def __init__(self, path: Path, split: str) -> None:
        self.path = path
        self.split = split

    @classmethod
    def recognises(cls, path: Path) -> bool:  # noqa: ARG003
        """Whether the file or folder at `path` (which exists) is of this kind."""
        return False

    @classmethod
    def from_text(cls, text: str, split: str) -> Source:
        """The source for one of `names` or a text that begins with `prefix`."""
        return cls(Path(text), split)

    @classmethod
    def absolute(cls, text: str) -> str:
        """The same text with absolute paths, for one of `names` or a text that begins with `prefix`."""
        return text

    @abstractmethod
    def stamp(self) -> list[str]:
        """Lines that change whenever the content does; quick, nothing is decoded."""

    def count(self) -> int:
        """Number of images to come, for progress; 0 = not known. Called after `stamp`, before `items`."""
        return 0

    @abstractmethod
    def items(self, bad: Bad) -> Iterator[Item]:
        """The images one after the other, never all in memory."""


def check_split(split: str) -> str:
    """`train`, `val`, `test` or `all`, also from another name in use (`validation`); ArgumentError otherwise."""
    known = split if split == "all" else next((s for s, names in SPLITS.items() if split.lower() in names), None)
    if known is None:
        raise ArgumentError(f"Unknown split {split!r}; use one of {', '.join(SPLITS)}, all.")
    return known


def split_of(name: str) -> str | None:
    """The split that is in the name of a file or folder (`t10k-images`, `cifar10-train.zip`), or None."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((split for split, aliases in SPLITS.items() if words & aliases), None)


def single_split(path: Path, split: str) -> None:
    """Check that a source without splits may serve as `split`: always as `train`, else if its name contains it.

    Raises DataError for another split than the source holds.
    """
    if split not in ("train", "all", split_of(path.name)):
        raise DataError(f"{path} has no {split!r} split; name the file or folder of those images, or use 'train'.")


def holds_images(folder: Path) -> bool:
    """Whether image files lie in a folder or in a folder right below it: then no file beside them decides."""
    try:
        for entry in folder.iterdir():
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if is_image_name(entry.name) and not entry.is_dir():
                return True
            if entry.is_dir() and any(is_image_name(p.relative_to(entry).as_posix()) for p in entry.rglob("*.*")):
                return True
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
    return False


def pick_file(files: Iterable[Path], split: str, folder: Path) -> Path:
    """Of the files of one kind in a folder, the one of this split. Raises DataError when none or several fit."""
    candidates = sorted(files)
    fitting = [f for f in candidates if split_of(f.name) == split]
    if not fitting and len(candidates) == 1:
        single_split(candidates[0], split)
        fitting = candidates
    if len(fitting) != 1:
        listed = ", ".join(f.name for f in candidates)
        problem = "no file" if not fitting else "more than one file"
        raise DataError(f"{folder} holds {problem} for the split {split!r} ({listed}); name the file itself.")
    return fitting[0]


def stamp_file(path: Path) -> str:
    """A line that identifies a file: its sha256 up to 64 MiB, else its place, size and time of change."""
    try:
        stat = require_regular(path).stat()
        if stat.st_size > _HASHED_BYTES:
            return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        with path.open("rb") as file:
            return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
