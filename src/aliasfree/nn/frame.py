"""Where a picture lies: coordinates as an input that moves with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.ops.tracing import cache_constants

__all__ = ["Frame"]

Amount = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class Frame:
    """How far a picture has moved from where the data lie; a network that is given it knows where up and middle are.

    rotate     degrees, counter-clockwise positive, about the centre ((H-1)/2, (W-1)/2)
    translate  (pixels down, pixels right), after rotation and zoom
    zoom       factor, above 1 magnifying

    Each a number for all images of a batch, or a list or tensor with one for each. `Frame()` is the unmoved frame. The
    law of a network that knows it: g fn(x, frame) = fn(g x, g frame).

    After the Fourier features of StyleGAN3 (Karras et al. 2021, sec. 3.1), which move in the same way.

    >>> import torch
    >>> from aliasfree import Frame
    >>> unmoved, turned = (frame.features(1, (8, 8), count=1) for frame in (Frame(), Frame(rotate=90.0)))
    >>> tuple(turned.shape)
    (1, 4, 8, 8)
    >>> torch.allclose(turned, unmoved.rot90(1, (2, 3)), atol=1e-6)
    True
    """

    rotate: Amount = 0.0
    translate: tuple[Amount, Amount] = (0.0, 0.0)
    zoom: Amount = 1.0

    def __post_init__(self) -> None:
        if len(self.translate) != 2:
            raise ArgumentError(f"translate needs two numbers of pixels, down and right, not {len(self.translate)}")

    def repeat(self, times: int) -> Frame:
        """The frames of a batch that holds the same images `times` times, one batch after the other."""

        def repeated(amount: Amount) -> Amount:
            values = torch.as_tensor(amount)
            return amount if values.numel() == 1 else values.reshape(-1).repeat(times)

        down, right = self.translate
        return Frame(repeated(self.rotate), (repeated(down), repeated(right)), repeated(self.zoom))

    def split(self, sizes: Sequence[int]) -> list[Frame]:
        """The frames of consecutive parts of a batch."""

        def parts(amount: Amount) -> list[Amount]:
            values = torch.as_tensor(amount)
            return [amount] * len(sizes) if values.numel() == 1 else list(values.reshape(-1).split(list(sizes)))

        columns = (parts(self.rotate), parts(self.translate[0]), parts(self.translate[1]), parts(self.zoom))
        return [Frame(r, (down, right), z) for r, down, right, z in zip(*columns, strict=True)]

    def features(
        self,
        n: int,
        size: tuple[int, int],
        count: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Fourier features of the coordinates, of unit mean square: (n, 4 count, H, W).

        For k = 1 .. count: sqrt(2) times sin and cos of 2 pi k y / H, then of 2 pi k x / W, where (y, x) is where a
        pixel lay, in pixels from the centre, before the picture moved. Band-limited, and periodic when shifted.

        Raises ShapeError unless each amount is one number or n.
        """
        if self._is_unmoved:
            return _unmoved_features(size, count, dtype, torch.device(device)).expand(n, -1, -1, -1)
        return _features(*(self._amounts(n, device)), size, count).to(dtype)

    @property
    def _is_unmoved(self) -> bool:
        amounts = (self.rotate, *self.translate, self.zoom)
        return all(isinstance(a, int | float) for a in amounts) and amounts == (0.0, 0.0, 0.0, 1.0)

    def _amounts(self, n: int, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """rotate, down, right and zoom as float64 (n, 1, 1, 1) tensors; float32 where the device has no float64."""
        kind = torch.float32 if torch.device(device).type == "mps" else torch.float64
        every = []
        for name, amount in (
            ("rotate", self.rotate), ("translate", self.translate[0]), ("translate", self.translate[1]),
            ("zoom", self.zoom),
        ):  # fmt: skip
            values = torch.as_tensor(amount, dtype=kind, device=device).reshape(-1)
            if values.numel() not in (1, n):
                raise ShapeError(f"{name} of a Frame is one number, or one for each of {n} images, not {len(values)}")
            every.append(values.expand(n).reshape(n, 1, 1, 1))
        rotate, down, right, zoom = every
        return rotate, down, right, zoom


@cache_constants(maxsize=16)
def _unmoved_features(size: tuple[int, int], count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # a tensor born in inference mode could never take part in training afterwards
    with torch.inference_mode(False), torch.no_grad():
        return _features(*Frame()._amounts(1, device), size, count).to(dtype)


def _features(degrees: Tensor, down: Tensor, right: Tensor, zoom: Tensor, size: tuple[int, int], count: int) -> Tensor:
    h, w = size
    like: dict[str, Any] = {"dtype": degrees.dtype, "device": degrees.device}
    i = (torch.arange(h, **like) - (h - 1) / 2)[:, None] - down
    j = torch.arange(w, **like) - (w - 1) / 2 - right
    angle = degrees * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    # where the output pixel read: rotation by -angle, row down and column right (see ops.spatial)
    rows, columns = (cos * i + sin * j) / zoom, (cos * j - sin * i) / zoom
    k = 2 * math.pi * torch.arange(1, count + 1, **like).reshape(1, -1, 1, 1)
    y, x = k * rows / h, k * columns / w
    waves = [wave.expand(-1, -1, h, w) for wave in (y.sin(), y.cos(), x.sin(), x.cos())]
    return math.sqrt(2) * torch.cat(waves, dim=1)
