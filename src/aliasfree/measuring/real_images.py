"""Real images to measure against: a train and a test split, as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.data import ImageData

__all__ = ["RealImages", "open_real", "real_images"]

HELD_OUT = 0.2
"""Share of the images that serve as test split where the data have none."""


@dataclass(frozen=True)
class RealImages:
    """Two disjoint sets of real images, uint8 (N, C, H, W), with labels (N,) or None."""

    source: str
    fingerprint: str  # of the data they come from
    train: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    train_labels: Tensor | None = field(repr=False)
    test_labels: Tensor | None = field(repr=False)
    held_out: bool  # the test images were split off by us


def open_real(
    source: str,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    *,
    split: str = "train",
    num: int | None = None,
    labels: str = "auto",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> RealImages:
    """Both splits of a data source at one size; where there is no other split, a fifth of the images, seeded.

    Each split is in an order of its own, the same every time, so that its first images are a fair sample: folders of
    classes come class by class.

    split     the one that is the reference; the floor is "test", or "train" for another split
    num       of its images, the same that a run with `num_images` is trained on; None = all
    labels    where labels come from, as `open_images` takes it
    skip_bad  leave out images that cannot be read

    Raises DataError, and ArgumentError for less than ten images.
    """
    from aliasfree.data import open_images

    how: dict[str, Any] = {"labels": labels, "skip_bad": skip_bad}
    train = open_images(source, image_size=size, channels=channels, split=split, progress=progress, **how)
    train = train if num is None else train.some(num)
    if len(train) < 10:
        raise ArgumentError(f"The data {source} hold {len(train)} image(s); a comparison needs at least 10.")
    try:
        same: dict[str, Any] = {"image_size": train.image_size, "channels": train.channels, **how}
        test = open_images(source, split="test" if split == "train" else "train", **same)
        whole = train if num is None else open_images(source, split=split, **same)
        own = split != "all" and test.fingerprint != whole.fingerprint
    except DataError:
        own = False
    if own:
        kept, held = _shuffled(len(train)), _shuffled(len(test))
    else:
        test = train
        held, kept = _shuffled(len(train)).tensor_split([round(HELD_OUT * len(train))])
    one, other = (
        None if labels is None else labels[order] for labels, order in ((_labels(train), kept), (_labels(test), held))
    )
    return RealImages(
        source, train.fingerprint, _pixels(train)[kept], _pixels(test)[held], one, other, held_out=not own
    )


def _shuffled(count: int) -> Tensor:
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def real_images(source: str, size: tuple[int, int], channels: int, n: int, seed: int = 0) -> Tensor:
    """n training images, drawn by the seed, float32 in [-1, 1]. Raises DataError."""
    import torch

    from aliasfree.data import open_images, unit_range

    data = open_images(source, image_size=size, channels=channels)
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n].sort().values
    return unit_range(torch.from_numpy(np.asarray(data.images[chosen.numpy()])))


def _pixels(data: ImageData) -> Tensor:
    import torch

    return torch.from_numpy(np.array(data.images))


def _labels(data: ImageData) -> Tensor | None:
    import torch

    return None if data.labels is None else torch.from_numpy(data.labels)
