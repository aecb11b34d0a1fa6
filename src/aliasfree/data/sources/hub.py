"""`hub:NAME`: any image data set that the `datasets` library can load, from the Hugging Face hub or a local folder."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from aliasfree.data.decode import decode
from aliasfree.data.source import SPLITS, Bad, Item, Source, single_split
from aliasfree.errors import DataError

_LABEL_COLUMNS = ("label", "labels", "target", "y", "fine_label", "class")
_UNLABELLED = -1
"""What test sets whose labels are kept back have in place of them."""
_LOCAL = "use local data instead: a folder or zip of images, IDX, CSV or npz files, or 'digits', which needs no files"


class HubSource(Source):
    """`hub:NAME`, `hub:NAME:CONFIGURATION`, `hub:NAME@REVISION`, or `hub:PATH` for a local data set folder.

    The image column is the first of type Image; the label column the first of type ClassLabel, else whole numbers in a
    column called label. A name from the hub is kept as it was when first opened; name a revision to ask for another.
    """

    prefix: ClassVar[str] = "hub:"

    def __init__(self, path: Path, split: str, name: str = "") -> None:
        super().__init__(path, split)
        self._name = name or str(path)
        self._data: Any = None

    @classmethod
    def from_text(cls, text: str, split: str) -> Source:
        name = text.removeprefix(cls.prefix)
        if not name:
            raise DataError("'hub:' names no data set; write hub:NAME, such as hub:ylecun/mnist.")
        return cls(Path(name).expanduser(), split, name)

    @classmethod
    def absolute(cls, text: str) -> str:
        path = Path(text.removeprefix(cls.prefix)).expanduser()
        return f"{cls.prefix}{path.absolute()}" if path.is_dir() else text

    def stamp(self) -> list[str]:
        lines = [f"hub {self._name} {self.split}"]
        if self.path.is_dir():
            files = sorted(p for p in self.path.rglob("*") if p.is_file())
            stats = [(p, p.stat()) for p in files]
            lines += [str(self.path.resolve()), *(f"{p} {s.st_size} {s.st_mtime_ns}" for p, s in stats)]
        return lines

    def count(self) -> int:
        return len(self._load())

    def items(self, bad: Bad) -> Iterator[Item]:
        import datasets

        data = self._load()
        image = next((n for n, f in data.features.items() if isinstance(f, datasets.Image)), None)
        if image is None:
            have = ", ".join(data.features)
            raise DataError(f"{self._title} has no column of type Image (it has: {have}); name an image data set.")
        label = self._label_column(data.features)
        if label is not None and data.unique(label) == [_UNLABELLED]:
            label, self.notes = None, (f"no labels: all in the column {label!r} are {_UNLABELLED}",)
        data = data.select_columns([image] if label is None else [image, label])
        for i, row in enumerate(data.cast_column(image, datasets.Image(decode=False))):
            name, cell = f"{self._title}[{i}]", row[image]
            try:
                if cell is None:
                    raise DataError(f"{name} has no image; leave such rows out with `skip_bad=True`.")
                number = None if label is None else row[label]
                number = None if number is None else int(number)
                if label is not None and number in (None, _UNLABELLED):
                    raise DataError(f"{name} has no label; leave such rows out with `skip_bad=True`.")
                file = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"])
                yield Item(decode(file, name), number, name)
            except DataError as error:
                bad(error)

    @property
    def _title(self) -> str:
        return f"hub:{self._name} ({self.split})"

    def _label_column(self, features: Any) -> str | None:
        import datasets

        for name, feature in features.items():
            if isinstance(feature, datasets.ClassLabel):
                self.class_names = tuple(feature.names)
                return str(name)
        number = (n for n in _LABEL_COLUMNS if str(getattr(features.get(n), "dtype", "")).startswith(("int", "uint")))
        return next(number, None)

    def _load(self) -> Any:
        if self._data is None:
            with _no_retry_chatter():
                self._data = self._fetch()
        return self._data

    def _split_of(self, load: Callable[[str], Any]) -> Any:
        """The split as `load` gives it; `val` is called "validation" or "val" on the hub."""
        if self.split != "val":
            return load(self.split)
        try:
            return load("validation")
        except ValueError as error:
            if "split" not in str(error):
                raise
            return load("val")

    def _fetch(self) -> Any:
        import datasets

        try:
            if self.path.is_dir():
                if (self.path / "state.json").exists() or (self.path / "dataset_dict.json").exists():
                    loaded = datasets.load_from_disk(str(self.path))
                    if not isinstance(loaded, datasets.DatasetDict):
                        single_split(self.path, self.split)
                        return loaded
                    name = _split_in(loaded, self.split)
                    if name is None:
                        raise DataError(f"{self._title}: there is no such split; it has: {', '.join(loaded)}.")
                    return loaded[name]
                return self._split_of(lambda split: datasets.load_dataset(str(self.path), split=split))
            name, _, revision = self._name.partition("@")
            name, _, configuration = name.partition(":")
            return self._split_of(
                lambda split: datasets.load_dataset(name, configuration or None, split=split, revision=revision or None)
            )
        except datasets.exceptions.DatasetNotFoundError as error:
            raise DataError(f"The hub has no data set {self._name!r}; check its name, or {_LOCAL}.") from error
        except (ConnectionError, TimeoutError) as error:
            raise DataError(f"The hub cannot be reached for {self._name!r} (no network); {_LOCAL}.") from error
        except DataError:
            raise
        except (ValueError, KeyError, OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if _is_network(error):
                raise DataError(f"The hub cannot be reached for {self._name!r} (no network); {_LOCAL}.") from error
            raise DataError(f"{self._title} cannot be loaded ({first.rstrip('.')}); check name and split.") from error


def _split_in(names: Iterable[str], split: str) -> str | None:
    return next((n for n in names if n == split or n.lower() in SPLITS.get(split, ())), None)


@contextlib.contextmanager
def _no_retry_chatter() -> Iterator[None]:
    """Without a network the hub's client warns at each of its retries; one sentence at the end says it all."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _is_network(error: BaseException | None) -> bool:
    """Whether a lost connection lies at the bottom; the libraries wrap it in several kinds of error."""
    while error is not None:
        if isinstance(error, ConnectionError) or any(w in type(error).__name__ for w in ("Connect", "Timeout")):
            return True
        error = error.__cause__ or error.__context__
    return False
