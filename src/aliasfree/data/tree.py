"""Class folders: from the names of the files to splits, classes and labels. Folders and zips share it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aliasfree.data.decode import is_image_name
from aliasfree.data.labels import LABEL_FILES, read_labels
from aliasfree.data.split_folders import split_folders, split_name
from aliasfree.errors import DataError

__all__ = ["Tree", "arrange", "sort_classes"]

_SHARD = re.compile(r"\d{5,}")
_UNREAD = frozenset({".heic", ".heif", ".jxl", ".raw", ".cr2", ".nef", ".dng", ".svg", ".psd", ".exr", ".hdr"})


@dataclass(frozen=True)
class Tree:
    """The images of one split, sorted by name."""

    files: list[tuple[str, int | None]]
    """(name as given, label or None)."""
    class_names: tuple[str, ...] | None
    has_splits: bool
    notes: tuple[str, ...] = ()
    """How the files were understood, a phrase each."""


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in label order: by value if all are numbers (2 before 10), else alphabetically."""
    unique = sorted(set(names))
    if all(n.isascii() and n.isdigit() and len(n) < 20 for n in unique):
        unique.sort(key=int)
    return tuple(unique)


def _clean(path: str) -> str:
    """A path with forward slashes and nothing in front: archives hold `a\\b`, `./a/b` and `/a/b`."""
    return "/".join(p for p in path.replace("\\", "/").split("/") if p not in ("", "."))


def arrange(
    paths: Iterable[str],
    split: str,
    title: str,
    labels: str = "auto",
    read: Callable[[str, int], bytes] | None = None,
) -> Tree:
    """Sort image files into one split and its classes.

    Files that are no images, hidden ones and `__MACOSX` are left out. Outer folders that hold everything are looked
    through. Folders named after splits (`split_folders`) are splits, never classes; folders beside them are training
    images when there is no train folder, and left out when there is. What then is the first folder is the class,
    unless a file of labels covers the images, or all folders are numbered shards (five digits or more). A lone folder
    inside a split is looked through. Images straight in the folders of several domains have the domain as their class.
    Classes are those of all splits together, so that labels agree between them.

    paths   paths relative to the root, as an archive may spell them
    split   `train`, `val` or `test`; without split folders, all images are taken; `all` = no folder is a split
    title   the name of the root in messages
    labels  `auto`, `none`, `folders` (the first folder, whatever its name), or `file` (one must be there)
    read    read(name, most) gives the first `most` bytes of a label file; None = label files are not read

    Raises DataError for no images, no such split, no such labels, a path that leaves the root, or images both beside
    and inside class folders.
    """
    spelled = list(paths)
    given = {_clean(p): p for p in spelled}
    names = sorted(p for p in given if is_image_name(p))
    if outside := next((n for n in sorted(given) if ".." in n.split("/")), None):
        raise DataError(f"{title} holds {outside!r}, which leads out of it; make the archive again.")
    unread = Counter(suffix for p in given if (suffix := "." + p.rpartition(".")[2].lower()) in _UNREAD)
    notes = [f"{count} {suffix} file(s) left out: not read here" for suffix, count in sorted(unread.items())]
    if len(given) < len(spelled):
        notes.append(f"{len(spelled) - len(given)} file(s) of a name that comes again left out; the last one counts")
    if not names:
        left = f" ({', '.join(notes)})" if notes else ""
        raise DataError(
            f"{title} holds no images{left}; expected files such as <class>/<name>.png, or images side by side."
        )
    parts = {n: n.split("/") for n in names}
    depth = 0
    # A folder that holds everything divides nothing: look inside it, unless it is named like a split.
    while all(len(p) > depth + 1 for p in parts.values()):
        top = {p[depth] for p in parts.values()}
        if len(top) > 1 or (split != "all" and split_name(next(iter(top)))):
            break
        depth += 1

    top = {p[depth] for p in parts.values() if len(p) > depth + 1}
    taken = {} if split == "all" else split_folders(top)
    found = {folder: as_split.split for folder, as_split in taken.items()}
    has_splits = bool(found)
    rest = None if "train" in found.values() or set(found) == top else "train"
    where: dict[str, str | None] = {}
    for n, p in parts.items():
        where[n] = (found.get(p[depth], rest) if len(p) > depth + 1 else rest) if has_splits else split
    chosen = [n for n in names if where[n] == split]
    if not chosen:
        have = ", ".join(sorted({s for s in where.values() if s and s != "other"}))
        raise DataError(f"{title} has no {split!r} split; it has: {have or 'none'}.")
    if has_splits:
        notes += [f"{folder}/ is the split {f.split}" + (f", domain {f.domain}" if f.domain else "")
                  for folder, f in sorted(taken.items()) if f.split != "other"]  # fmt: skip
        notes += [f"{folder}/ left out: named after a set that is no training set"
                  for folder, s in sorted(found.items()) if s == "other"]  # fmt: skip
        beside = sum(s is None for s in where.values())
        notes += [f"{beside} image(s) beside the splits left out"] if beside else []

    below = {n: parts[n][depth + (has_splits and parts[n][depth] in found) :] for n in names}
    used = [n for n in names if where[n] not in (None, "other")]
    for folder in found:  # train/train/: the same name again divides nothing
        inside = [n for n in names if parts[n][depth] == folder]
        while inside and all(len(below[n]) > 1 and below[n][0] == folder for n in inside):
            below |= {n: below[n][1:] for n in inside}
    domains = {n: taken[f].domain for n in used if (f := parts[n][depth]) in taken and taken[f].domain}
    if labels == "auto" and len(domains) == len(used) and all(len(below[n]) == 1 for n in used):
        below |= {n: [domain, *below[n]] for n, domain in domains.items()}
    else:
        domains = {}
    by_file: dict[str, str] = {}
    sheets: list[str] = []
    if labels in ("auto", "file") and read is not None:
        candidates = [p for p in given if p.rpartition("/")[2] in LABEL_FILES and is_image_name(p + ".png")]
        by_file, sheets = read_labels(candidates, lambda name, most: read(given[name], most), title)
    covered = [n for n in used if n in by_file]
    if labels == "file" and not all(n in by_file for n in chosen):
        raise DataError(
            f"{title} has no file of labels for all its images; choose `labels='folders'` or `labels='none'`."
        )

    label_of: dict[str, str] = {n: by_file[n] for n in covered}
    if labels in ("auto", "folders"):
        groups = {s: [n for n in used if where[n] == s and n not in label_of] for s in {where[n] for n in used}}
        tops = {s: {below[n][0] for n in g if len(below[n]) > 1} for s, g in groups.items()}
        for s, group in groups.items():
            _check_loose(group, below, title)
            others = set().union(*(t for o, t in tops.items() if o != s and len(t) > 1))
            shards = labels == "auto" and bool(tops[s]) and all(_SHARD.fullmatch(t) for t in tops[s])
            # A lone folder inside a split is a class only if another split has that class among others.
            alone = len(tops[s]) < 2 and not tops[s] <= others and labels == "auto"
            if shards and len(tops[s]) > 1 and s == split:
                notes.append(f"{len(tops[s])} numbered folders are shards, not classes")
            if tops[s] and not shards and not alone and not (labels == "auto" and _partly(s, where, label_of)):
                label_of |= {n: below[n][0] for n in group}
    classes = sort_classes(label_of.values()) if label_of else None
    missing = [n for n in chosen if n not in label_of]
    if 0 < len(missing) < len(chosen):
        raise DataError(f"{title} has no label for {missing[0]!r}; complete the labels, or choose `labels='none'`.")
    if missing or (classes and len(classes) < 2):
        classes = None
    if classes:
        source = ", ".join(sheets) if chosen[0] in by_file else "the domains" if domains else "the folders"
        notes.append(f"labels from {source}")
    else:
        notes.append("no labels")
    index = {name: i for i, name in enumerate(classes or ())}
    return Tree([(given[n], index[label_of[n]] if classes else None) for n in chosen], classes, has_splits,
                tuple(notes))  # fmt: skip


def _partly(split: str | None, where: dict[str, str | None], label_of: dict[str, str]) -> bool:
    """Whether a file labels some images of the split: folder names must not fill its gaps."""
    return any(where[n] == split for n in label_of)


def _check_loose(group: list[str], below: dict[str, list[str]], title: str) -> None:
    loose = [n for n in group if len(below[n]) == 1]
    if loose and len(loose) < len(group):
        inside = next(n for n in group if len(below[n]) > 1)
        raise DataError(
            f"{title} holds images both beside and inside folders ({loose[0]!r} and {inside!r}); "
            "put every image into a class folder, or all side by side."
        )
