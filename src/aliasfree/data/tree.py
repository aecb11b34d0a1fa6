"""Class folders: from the names of the files to splits, classes and labels. Folders and zips share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aliasfree.data.decode import is_image_name
from aliasfree.data.source import SPLITS
from aliasfree.errors import DataError

__all__ = ["Tree", "arrange", "sort_classes"]


@dataclass(frozen=True)
class Tree:
    """The images of one split, sorted by name."""

    files: list[tuple[str, int | None]]
    """(name as given, label or None)."""
    class_names: tuple[str, ...] | None
    has_splits: bool


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in label order: by value if all are numbers (2 before 10), else alphabetically."""
    unique = sorted(set(names))
    if all(n.isascii() and n.isdigit() for n in unique):
        unique.sort(key=int)
    return tuple(unique)


def _split_name(folder: str) -> str | None:
    return next((split for split, aliases in SPLITS.items() if folder.lower() in aliases), None)


def arrange(paths: Iterable[str], split: str, title: str) -> Tree:
    """Sorts image files into one split and its classes.

    Reading of the names, in this order: files that are no images, hidden ones and `__MACOSX` are left out; outer
    folders that hold everything are looked through; top folders that are all called train, val or test are splits;
    what then is the first folder is the class, however deep the file lies in it. Images in one folder only, or
    in none, have no labels. The classes are those of all splits together, so that labels agree between them.

    Args:
        paths: posix paths relative to the root.
        split: `train`, `val` or `test`; without split folders, all images are taken.
        title: what to call the root in messages.

    Raises:
        DataError: no images, no such split, or images both beside and inside class folders.
    """
    names = sorted(p for p in paths if is_image_name(p))
    if not names:
        raise DataError(f"{title} holds no images; expected files such as <class>/<name>.png, or images side by side.")
    parts = [n.split("/") for n in names]
    depth = 0
    # While one folder holds everything it says nothing, unless it is called like a split.
    while all(len(p) > depth + 1 for p in parts):
        top = {p[depth] for p in parts}
        if len(top) > 1 or _split_name(next(iter(top))):
            break
        depth += 1

    top = {p[depth] for p in parts if len(p) > depth + 1}
    nested = all(len(p) > depth + 1 for p in parts)
    found = {folder: _split_name(folder) for folder in top}
    has_splits = nested and bool(top) and all(found.values())
    below = depth + 1 if has_splits else depth
    if has_splits and split not in found.values():
        have = ", ".join(sorted(s for s in set(found.values()) if s))
        raise DataError(f"{title} has no {split!r} split; it has: {have}.")

    loose = [n for n, p in zip(names, parts, strict=True) if len(p) == below + 1]
    if loose and len(loose) < len(names):
        inside = next(n for n, p in zip(names, parts, strict=True) if len(p) > below + 1)
        raise DataError(
            f"{title} holds images both beside and inside folders ({loose[0]!r} and {inside!r}); "
            "put every image into a class folder, or all side by side."
        )
    classes = None if loose else sort_classes(p[below] for p in parts)
    if classes is not None and len(classes) < 2:
        classes = None  # one folder alone is not a class
    index = {name: i for i, name in enumerate(classes or ())}
    chosen = [
        (n, index[p[below]] if classes else None)
        for n, p in zip(names, parts, strict=True)
        if not has_splits or found[p[depth]] == split
    ]
    return Tree(chosen, classes, has_splits)
