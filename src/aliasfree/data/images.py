"""`ImageData`, a torch data set over a memory-mapped cache, and what is done with its images."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aliasfree.data import cache, registry
from aliasfree.data.cache import CacheMeta
from aliasfree.data.decode import CURE
from aliasfree.data.labels import LABELS
from aliasfree.data.sizes import Size, height_width
from aliasfree.errors import ArgumentError, DataError

__all__ = ["ImageData", "Planes", "export_images", "open_images", "unit_range"]


class Planes:
    """What has `images` (N, C, H, W)."""

    images: np.ndarray

    @property
    def channels(self) -> int:
        """Of images: 1 (grey) or 3 (RGB)."""
        return int(self.images.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])


class ImageData(Planes, torch.utils.data.Dataset[dict[str, Any]]):
    """Images of one split, uint8, memory-mapped and read-only; cheap to pickle, so any number of workers may share it.

    images         uint8 memory map (N, C, H, W), C = 1 or 3
    labels         int64 (N,), from 0; None = no labels
    class_names    one name for each label value; None = no labels
    fingerprint    sha256 (hex) of pixels, labels, class names and shape
    skipped        what was wrong with each bad file that was left out
    notes          how the files were understood, a phrase each: splits, shards, files of labels
    source, split  what was opened

    >>> from aliasfree.data import open_images
    >>> data = open_images("digits")
    >>> len(data), data.channels, data.image_size, data.num_classes
    (1797, 1, (16, 16), 10)
    >>> tuple(data[5]["image"].shape), data[5]["label"]
    ((1, 16, 16), 5)
    """

    def __init__(self, folder: Path, meta: CacheMeta, source: str, split: str) -> None:
        self.folder = folder
        self.images = cache.map_images(folder)
        self.labels: np.ndarray | None = cache.load_labels(folder) if meta.labelled else None
        self.class_names = meta.class_names
        self.fingerprint = meta.fingerprint
        self.skipped = tuple(reason.removesuffix(CURE) for reason in meta.skipped)
        self.notes = meta.notes
        self.source = source
        self.split = split
        self._rows: np.ndarray | None = None  # of `some`

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None = no labels."""
        return None if self.class_names is None else len(self.class_names)

    def some(self, num: int) -> ImageData:
        """`num` of the images, in memory: the same ones every time, a fair sample; all where there are no more.

        Raises ArgumentError for num < 1.

        >>> from aliasfree.data import open_images
        >>> len(open_images("digits").some(100))
        100
        """
        if num < 1:
            raise ArgumentError(f"`num_images` must be at least 1, not {num}.")
        if num >= len(self):
            return self
        few = copy.copy(self)
        few._rows = np.sort(np.random.default_rng(0).permutation(len(self))[:num])
        few.images = self.images[few._rows]
        few.labels = None if self.labels is None else self.labels[few._rows]
        few.fingerprint = hashlib.sha256(f"{self.fingerprint} {num}".encode()).hexdigest()
        return few

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"image": uint8 tensor (C, H, W), "label": int, -1 without labels, "index": int}."""
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        index %= len(self)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Many samples in one reading; what a DataLoader asks for."""
        chosen = np.asarray(indices, np.int64)
        images = torch.from_numpy(np.asarray(self.images[chosen]))  # choosing copies
        labels = [-1] * len(chosen) if self.labels is None else self.labels[chosen].tolist()
        rows = zip(images, labels, chosen.tolist(), strict=True)
        return [{"image": image, "label": label, "index": i} for image, label, i in rows]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.images = cache.map_images(self.folder)
        if self._rows is not None:
            self.images = self.images[self._rows]


def open_images(
    source: str | Path,
    *,
    image_size: Size | None = None,
    channels: int | None = None,
    split: str = "train",
    labels: str = "auto",
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Open images by name or path: decoded on the first call, read from the cache on later ones.

    source      "digits", "mnist", "cifar10", "mnist-m", "mnist-m:DIGITS:BACKGROUNDS", "hub:NAME", or the path of an
                IDX, CSV, zip, tar or npz file or of a folder. "mnist", "cifar10" and "mnist-m" are looked for in
                $ALIASFREE_DATA, then in ./data
    image_size  pixels, one number (square) or (height, width); None = as stored ("digits": 16), and then all must be
                equal. Bilinear and antialiased as in the paper; images of other proportions are cut at the centre
    channels    1 (grey) or 3 (colour) converts; None = as stored, and then all must agree
    split       "train", "val", "test", or "all" (no folder is a split); other names in use, such as "validation", are
                understood. A source without splits serves as "train", and as the split that its file name contains
    labels      of folders and zips: "none", "folders" or "file"; "auto" = a file of labels, else class folders
    skip_bad    leave out images that cannot be read, and list them in `.skipped`; False = the first one is an error
    cache_dir   None = $ALIASFREE_CACHE, or ~/.cache/aliasfree; where that cannot be written, with a warning, a folder
                that goes with the process
    progress    called with (done, total) while decoding

    Raises DataError, naming the file or line and the cure, for missing, damaged, mixed or unknown data, and
    ArgumentError for an argument out of range.

    >>> from aliasfree.data import open_images
    >>> open_images("digits", image_size=32, channels=3).images.shape
    (1797, 3, 32, 32)
    """
    if channels not in (None, 1, 3):
        raise ArgumentError(f"Images have 1 or 3 channels, not {channels!r}; choose with `channels=1` or `channels=3`.")
    found = registry.resolve(source, split)
    if labels not in LABELS:
        raise ArgumentError(f"There is no `labels` {labels!r}; use one of {', '.join(LABELS)}.")
    if labels != "auto" and not found.takes_labels:
        raise ArgumentError(
            f"The labels of {str(source)!r} are its own; leave out `labels`, which is for folders and zips of images."
        )
    found.labels = labels
    folder, meta = cache.ensure(
        found,
        image_size=found.default_size if image_size is None else height_width(image_size),
        channels=channels,
        skip_bad=skip_bad,
        root=cache_dir,
        progress=progress,
    )
    return ImageData(folder, meta, str(source), split)


def unit_range(images: torch.Tensor) -> torch.Tensor:
    """uint8 images, any shape, to float32 in [-1, 1]: x / 127.5 - 1.

    >>> import torch
    >>> from aliasfree.data import unit_range
    >>> unit_range(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images.to(torch.float32) / 127.5 - 1.0


def export_images(data: ImageData, folder: Path, limit: int | None = None) -> int:
    """Write the first `limit` images (None = all) as `<folder>/000000.png`, ...; returns how many.

    Raises DataError when the folder cannot be written.

    >>> from pathlib import Path
    >>> from aliasfree.data import export_images, open_images
    >>> export_images(open_images("digits"), Path("digits"), limit=2)
    2
    >>> sorted(path.name for path in Path("digits").iterdir())
    ['000000.png', '000001.png']
    """
    count = len(data) if limit is None else min(limit, len(data))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.array(data.images[i])
            image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            aside = folder / f".{i:06d}.partial"
            image.save(aside, format="PNG")
            aside.replace(folder / f"{i:06d}.png")
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error.strerror}); choose a folder with space.") from error
    return count
