"""One seed in many motions: each image sampled in motion, beside the upright one moved afterwards.

All noise moves along, and the frame of a network that knows one; the noise has nothing at the Nyquist frequency. So an
equivariant network gives the upright image somewhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError
from aliasfree.measuring.network_equivariance import is_periodic
from aliasfree.measuring.sampler_equivariance import sample_moved
from aliasfree.pictures import to_uint8
from aliasfree.results.film import Film
from aliasfree.sampling.sampler import MotionSettings, Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.diffusion.transforms import Motion

__all__ = ["Moved", "between", "motion_film", "moved_samples", "moved_upright", "upright_sample"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Moved:
    """Images of one seed, float (N, C, H, W) before anything is cut off at [-1, 1].

    images  sampled in motion
    wanted  the upright sample, moved afterwards
    mask    pixels in which both show what was within the image, bool (N, 1, H, W)
    """

    images: Tensor
    wanted: Tensor
    mask: Tensor

    @property
    def db(self) -> float:
        """Agreement of all of them, image level; NaN where no pixel can be compared."""
        from aliasfree.evaluation.equivariance import image_agreement

        return image_agreement(self.images, self.wanted, self.mask).db if self.mask.any() else math.nan


def upright_sample(sampler: Sampler, index: int = 0, progress: Progress | None = None) -> Tensor:
    """Image number `index` of the sampler's seed without motion: float (1, C, H, W)."""
    return sample_moved(sampler, [index], progress)


def moved_samples(
    sampler: Sampler,
    still: Tensor,
    motions: Sequence[MotionSettings],
    index: int = 0,
    *,
    images: Tensor | None = None,
    progress: Progress | None = None,
) -> Moved:
    """Image number `index` in every one of the motions, which differ in their amounts alone.

    still   `upright_sample` of the same sampler and index
    images  what an earlier call of the same sampled; None = they are sampled

    Raises ArgumentError for amounts out of range and for motions of different kinds.
    """
    import torch

    first = motions[0]
    if any(replace(m, rotate=0.0, translate=(0.0, 0.0), zoom=1.0) != _kind(first) for m in motions):
        raise ArgumentError("Motions sampled together must have the same `method`, `noise` and `schedule`.")
    if images is None:
        rotate, down, right, zoom = _amounts(motions)
        images = sample_moved(
            sampler, [index] * len(motions), progress, rotate=rotate, translate=(down, right), zoom=zoom,
            method=first.method, noise=first.noise, schedule=first.schedule,
        )  # fmt: skip
    wanted = moved_upright(still, motions)
    periodic = is_periodic(sampler.pipeline.unet)
    mask = torch.cat([_comparable(m, (still.shape[-2], still.shape[-1]), periodic) for m in motions])
    return Moved(images, wanted, mask)


def moved_upright(still: Tensor, motions: Sequence[MotionSettings]) -> Tensor:
    """An upright sample (1, C, H, W) after each motion, done to the finished image by the Fourier theorem."""
    return _moving(motions).move(still.expand(len(motions), -1, -1, -1), 0.0, 1.0)


def motion_film(
    sampler: Sampler, name: str, motions: Sequence[MotionSettings], index: int = 0, progress: Progress | None = None
) -> Film:
    """A film of one image with a frame for each motion; raises as `moved_samples`."""
    steps, frames = sampler.settings.steps, len(motions)

    def after(done: int, _: int, before: int = 0) -> None:
        if progress is not None:
            progress(before + done, (frames + 1) * steps)  # image steps

    still = upright_sample(sampler, index, after)
    moved = moved_samples(sampler, still, motions, index, progress=lambda done, total: after(done, total, steps))
    back = _moving(motions).move(moved.images, 1.0, 0.0)
    return Film(name, to_uint8(moved.images)[None], to_uint8(back)[None], moved.db)


def between(start: MotionSettings, end: MotionSettings, frames: int) -> list[MotionSettings]:
    """Motions from one to the other, both included; `end`'s amounts only. Zooms go by equal factors.

    >>> from aliasfree.sampling.sampler import MotionSettings
    >>> from aliasfree.measuring.motion import between
    >>> [m.rotate for m in between(MotionSettings(), MotionSettings(rotate=90.0), 3)]
    [0.0, 45.0, 90.0]
    """
    if frames < 2:
        raise ArgumentError(f"A film needs `frames` of at least 2, not {frames}.")

    def at(share: float) -> MotionSettings:
        def mixed(a: float, b: float) -> float:
            return a + (b - a) * share

        return replace(
            start,
            rotate=mixed(start.rotate, end.rotate),
            translate=(mixed(start.translate[0], end.translate[0]), mixed(start.translate[1], end.translate[1])),
            zoom=start.zoom * (end.zoom / start.zoom) ** share,
        )

    return [at(k / (frames - 1)) for k in range(frames)]


def _amounts(motions: Sequence[MotionSettings]) -> tuple[Tensor, ...]:
    """Degrees, pixels down, pixels right and factors, float64 (N,) each."""
    import torch

    return torch.tensor([(m.rotate, *m.translate, m.zoom) for m in motions], dtype=torch.float64).unbind(1)


def _moving(motions: Sequence[MotionSettings]) -> Motion:
    from aliasfree.diffusion.transforms import Motion

    rotate, down, right, zoom = _amounts(motions)
    return Motion.of(rotate, (down, right), zoom, "fourier", (0.0, 1.0), len(motions))


def _kind(motion: MotionSettings) -> MotionSettings:
    return replace(motion, rotate=0.0, translate=(0.0, 0.0), zoom=1.0)


def _comparable(motion: MotionSettings, size: tuple[int, int], periodic: bool) -> Tensor:
    """Where the moved image shows what was within the upright one, bool (1, 1, H, W): within its disc if it turned."""
    import torch

    h, w = size
    y = torch.arange(h, dtype=torch.float64)[:, None] - (h - 1) / 2
    x = torch.arange(w, dtype=torch.float64) - (w - 1) / 2
    turned, zoomed = motion.rotate % 90 != 0, motion.zoom != 1
    if periodic and not (motion.rotate or zoomed):
        return torch.ones(1, 1, h, w, dtype=torch.bool)
    y, x = y - motion.translate[0], x - motion.translate[1]
    valid = (y.abs() <= (h - 1) / 2) & (x.abs() <= (w - 1) / 2)
    y, x = y / motion.zoom, x / motion.zoom
    inside = (y.abs() <= (h - 1) / 2) & (x.abs() <= (w - 1) / 2)
    if turned:
        inside = (y.square() + x.square()).sqrt() <= (min(h, w) - 1) / 2 - min(h, w) / 16
    return (valid & inside)[None, None]
