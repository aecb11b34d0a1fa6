"""Which images a step sees, and every random draw of it, as a function of (seed, rank, step) alone.

No generator state is kept anywhere: a resumed run computes the same batch, the same augmentation and the same
noise as the uninterrupted one, because they depend on nothing but these numbers.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from aliasfree.nn import Frame

_ORDER, _AUGMENT, _NOISE = 1, 2, 3  # one number per use, so that no two uses share a stream


def derived_seed(*numbers: int) -> int:
    """A 63-bit seed from a tuple of non-negative integers, well mixed (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def step_generator(seed: int, rank: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of a step's time steps, noise and dropped labels on one process."""
    return torch.Generator(device=device).manual_seed(derived_seed(_NOISE, seed, rank, step))


def uniform_draws(seed: int, epochs: np.ndarray, indices: np.ndarray, number: int = 0) -> np.ndarray:
    """One number uniform in [0, 1) per (image index, epoch): (N,) float64. Mixed by splitmix64 (Steele et al. 2014).

    number  0, 1, ... give independent draws for the same images
    """
    with np.errstate(over="ignore"):
        start = derived_seed(_AUGMENT, seed, number) if number else derived_seed(_AUGMENT, seed)
        state = np.full(indices.shape, start, dtype=np.uint64)
        for value in (epochs, indices):
            state = _splitmix64(state ^ _splitmix64(value.astype(np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(z: np.ndarray) -> np.ndarray:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class Batch:
    """One process's share of a step: images uint8 (N, C, H, W) on the CPU, labels int64 (N,) or None."""

    images: Tensor
    labels: Tensor | None
    epochs: np.ndarray
    indices: np.ndarray


class ImageStream:
    """An endless sequence of images: one permutation of the data after another, each from (seed, epoch).

    Position p holds image `permutation(p // num_images)[p % num_images]`. A step takes `batch_size * world_size`
    consecutive positions, of which rank r has every world_size-th from the r-th on; so each image is seen once an
    epoch, every batch is full, and one process with a batch of 2n sees what two processes with n see.
    """

    def __init__(self, data: Any, *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.data = data
        self.seed = seed
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self._orders: dict[int, np.ndarray] = {}
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aliasfree-reader")
        self._ahead: tuple[int, Future[Batch]] | None = None

    @property
    def global_batch(self) -> int:
        """Images per step over all processes."""
        return self.batch_size * self.world_size

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch: (num_images,) int64."""
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1}
            generator = np.random.default_rng([_ORDER, self.seed, epoch])
            self._orders[epoch] = generator.permutation(len(self.data))
        return self._orders[epoch]

    def read(self, images_seen: int) -> Batch:
        """This process's batch of the step that begins after `images_seen` images."""
        positions = images_seen + self.rank + self.world_size * np.arange(self.batch_size)
        epochs, places = np.divmod(positions, len(self.data))
        indices = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self.order(int(epoch))[places[here]]
        images = torch.from_numpy(np.ascontiguousarray(self.data.images[indices]))
        labels = self.data.labels
        chosen = None if labels is None else torch.from_numpy(np.asarray(labels)[indices].astype(np.int64))
        return Batch(images, chosen, epochs, indices)

    def next(self, images_seen: int) -> Batch:
        """`read`, with the batch after this one being read meanwhile, so that a cold disk does not stop the device."""
        if self._ahead is not None and self._ahead[0] == images_seen:
            batch = self._ahead[1].result()
        else:
            batch = self._reader.submit(self.read, images_seen).result()
        following = images_seen + self.global_batch
        self._ahead = (following, self._reader.submit(self.read, following))
        return batch

    def close(self) -> None:
        """Stop the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)


def augment(x: Tensor, kind: str, seed: int, epochs: np.ndarray, indices: np.ndarray) -> tuple[Tensor, Frame | None]:
    """Augment images (N, C, H, W) in [-1, 1]; each image's draw depends on (seed, its index, the epoch) only.

    kind "none": unchanged. "flip": mirrored left-right for half of the draws. "rotate": turned by an angle uniform
    in [0, 360) degrees by the cubic spline, whose overshoot beyond [-1, 1] is cut; the Fourier shears, made to keep
    white noise white, would ring at every edge of an image. Corners that turn in from outside continue the image's
    edge: read periodically, they would hold pieces of its other side. "frame": turned like that, then shifted
    periodically by whole pixels within an eighth of the side, and the frame with them: it is returned, else None.
    """
    if kind == "none":
        return x, None
    draws = torch.from_numpy(uniform_draws(seed, epochs, indices))
    if kind == "flip":
        mirrored = (draws < 0.5).to(x.device)
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x), None
    from aliasfree.nn import Frame
    from aliasfree.ops import centre2d, rotate2d, translate2d

    angles = (360.0 * draws).to(device=x.device, dtype=x.dtype)
    size = (x.shape[-2], x.shape[-1])
    reach = [math.ceil((math.hypot(*size) - side) / 2) + 1 for side in size]
    wide = F.pad(x, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    turned = centre2d(rotate2d(wide, angles, method="spline"), size).clamp(-1.0, 1.0)
    if kind == "rotate":
        return turned, None
    shifts = []
    for number, side in enumerate(x.shape[-2:], 1):
        most = side // 8
        draws = torch.from_numpy(uniform_draws(seed, epochs, indices, number))
        shifts.append((draws * (2 * most + 1)).floor() - most)
    down, right = shifts
    return translate2d(turned, down, right), Frame(angles, (down.to(x), right.to(x)))
