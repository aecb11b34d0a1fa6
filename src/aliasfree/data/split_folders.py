"""Which folders are splits: from their own names, or from what their names have in common with their siblings'."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass

from aliasfree.data.source import OTHER_SPLITS, SPLITS

__all__ = ["SplitFolder", "split_folders", "split_name"]

_FILLERS = frozenset({"images", "image", "imgs", "img", "set", "data", "split", "jpg", "png"})
_WORDS = {alias: split for split, aliases in {**SPLITS, "other": OTHER_SPLITS}.items() for alias in aliases}
_BESIDE_SPLITS = {"pred": "other", "prediction": "other", "predictions": "other"}
"""Words that name a set only where a sibling is named after a split: images to predict on, without labels."""


@dataclass(frozen=True)
class SplitFolder:
    """What a folder was taken for."""

    split: str
    """`train`, `val`, `test`, or `other` for a set that is none of them."""
    domain: str = ""
    """What is in its name beside the split, where siblings differ in it: A of `trainA` beside `trainB`."""


def split_name(folder: str) -> str | None:
    """The split that a folder by itself is named after (`Train`, `val2017`, `test_images`, `unlabeled`), or None."""
    lowered = re.sub(r"(hold|held)[-_ ]out", r"\1out", folder.lower())
    words = {w for w in re.split(r"[^a-z]+", lowered) if w} - _FILLERS
    if len(words) != 1:
        return None
    (word,) = words
    return _WORDS.get(word) or _WORDS.get(word.removesuffix("set"))


def split_folders(folders: Set[str]) -> dict[str, SplitFolder]:
    """The folders among siblings that are splits.

    A name that is more than a split's (`seg_train`, `trainA`, `mytrain`) counts when a sibling is named likewise after
    another split (`seg_test`, `testA`), or when all siblings have such words, mean different splits, and share one
    more word or stand beside a split's plain name. So the classes `train_station` and `test_tube` stay classes.
    """
    found = {f: SplitFolder(split) for f in folders if (split := split_name(f))}
    readings = {f: list(_readings(f)) for f in folders - found.keys()}
    alike: dict[str, set[str]] = defaultdict(set)
    for split, rest, _ in (reading for several in readings.values() for reading in several):
        alike[rest.lower()].add(split)
    affixed = {}
    for folder, several in readings.items():
        fitting = [(split, rest) for split, rest, _ in several if len(alike[rest.lower()]) > 1]
        if fitting:
            affixed[folder] = fitting[0]
    apart = {f: (split, rest) for f, several in readings.items() for split, rest, whole in several[:1] if whole}
    meant = {f.split for f in found.values()} | {split for split, _ in apart.values()}
    shared = (
        set.intersection(*(set(re.findall(r"[a-z]+", rest.lower())) for _, rest in apart.values())) if apart else ()
    )
    if apart.keys() | found.keys() == folders and len(meant - {"other"}) > 1 and (found or shared):
        affixed = {**apart, **affixed}
    domains: dict[str, set[str]] = defaultdict(set)
    for split, rest in affixed.values():
        domains[split].add(rest.lower())
    several_domains = any(len(rests) > 1 for split, rests in domains.items() if split != "other")
    for folder, (split, rest) in affixed.items():
        found[folder] = SplitFolder(split, rest if several_domains else "")
    return found


def _readings(folder: str) -> Iterator[tuple[str, str, bool]]:
    """(split, the rest of the name, whether the word stands apart) of each split's word in a name, apart ones first."""
    words = {**_WORDS, **_BESIDE_SPLITS}
    for m in re.finditer(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", folder):
        if m[0].lower() in words:
            yield words[m[0].lower()], _trimmed(folder[: m.start()], folder[m.end() :]), True
    lowered = folder.lower()
    for word in sorted(words, key=len, reverse=True):
        if lowered.startswith(word):
            yield words[word], _trimmed("", folder[len(word) :]), False
        if lowered.endswith(word):
            yield words[word], _trimmed(folder[: -len(word)], ""), False


def _trimmed(before: str, after: str) -> str:
    return " ".join(part for part in (before.strip("-_. "), after.strip("-_. ")) if part)
