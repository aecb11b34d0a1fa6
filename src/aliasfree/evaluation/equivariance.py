"""How well a map of images commutes with shifts and rotations, in decibel.

    network level   EQ = 10 log10( sum m |g(fn(x))|^2 / sum m |fn(g(x)) - g(fn(x))|^2 )
    image level     EQ = 10 log10( 4 sum m / sum m |a - b|^2 ), for images in [-1, 1]

with the transform g, the mask m of pixels valid in both, and sums over all samples before the logarithm. 20 dB more is
a tenth of the error's amplitude. A map that outputs nothing is perfectly equivariant: read it beside a fidelity figure.

Source: Karras et al. 2021 (StyleGAN3), sec. 2.2 and appendix E.3, for EQ-T, EQ-T_frac, EQ-R and the image level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.evaluation.intervals import Estimate
from aliasfree.evaluation.lanczos import lanczos_translate2d
from aliasfree.evaluation.turning import Turning, turned
from aliasfree.ops.spatial import translate2d

__all__ = [
    "Agreement", "disc_mask", "eq_r", "eq_t", "grid_agreement", "image_agreement", "rotation_agreement",
    "translation_agreement",
]  # fmt: skip

Map = Callable[[Tensor], Tensor]
Ruler = Literal["fourier", "lanczos"]
FramedMap = Callable[[Tensor, dict[str, Any]], Tensor]


@dataclass(frozen=True)
class Agreement:
    """Energies of signal and error, float64 (N,): one entry a sample and transform.

    >>> import torch
    >>> from aliasfree.evaluation.equivariance import Agreement
    >>> Agreement(signal=torch.tensor([60.0, 40.0]), error=torch.tensor([0.5, 0.5])).db
    20.0
    """

    signal: Tensor
    error: Tensor

    @property
    def db(self) -> float:
        """10 log10 of summed signal over summed error; inf without any error."""
        return _decibel(self.signal.sum().item(), self.error.sum().item())

    def estimate(self, resamples: int = 200, seed: int = 0) -> Estimate:
        """`db` with its 95 % interval over samples (bootstrap percentiles); no interval for one sample or no error."""
        n = len(self.signal)
        if n < 2 or not self.error.sum() > 0:
            return Estimate(self.db)
        rows = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))
        ratio = self.signal[rows].sum(1) / self.error[rows].sum(1)
        low, high = (10 * ratio.log10()).quantile(torch.tensor([0.025, 0.975], dtype=ratio.dtype)).tolist()
        return Estimate(self.db, low, high)

    @staticmethod
    def join(parts: Sequence[Agreement]) -> Agreement:
        """The samples of several measurements as those of one."""
        return Agreement(torch.cat([p.signal for p in parts]), torch.cat([p.error for p in parts]))


def eq_t(
    fn: Map,
    x: Tensor,
    fractional: bool = False,
    *,
    reach: float = 1 / 8,
    margin: int = 0,
    periodic: bool = False,
    repeats: int = 1,
    seed: int = 0,
    framed: FramedMap | None = None,
    ruler: Ruler = "fourier",
) -> float:
    """EQ-T of fn in dB, or EQ-T_frac with `fractional`; arguments and errors are those of `translation_agreement`.

    >>> import torch
    >>> from aliasfree import filtered_activation2d
    >>> from aliasfree.evaluation import eq_t
    >>> x = torch.randn(8, 1, 32, 32)
    >>> eq_t(torch.relu, x, periodic=True) > 100  # a pointwise map commutes with whole pixels, up to rounding
    True
    >>> plain = eq_t(torch.relu, x, fractional=True, periodic=True)
    >>> filtered = eq_t(lambda v: filtered_activation2d(v, "relu", "ideal"), x, fractional=True, periodic=True)
    >>> filtered > plain + 5
    True
    """
    return translation_agreement(
        fn, x, fractional, framed=framed, reach=reach, margin=margin, periodic=periodic, repeats=repeats, seed=seed,
        ruler=ruler,
    ).db  # fmt: skip


def eq_r(
    fn: Map,
    x: Tensor,
    *,
    degrees: Sequence[float] | None = None,
    margin: float | None = None,
    method: Turning = "fourier",
    repeats: int = 1,
    seed: int = 0,
    framed: FramedMap | None = None,
) -> float:
    """EQ-R of fn in dB; arguments and errors are those of `rotation_agreement`.

    >>> import torch
    >>> from aliasfree.evaluation import eq_r
    >>> x = torch.randn(4, 1, 16, 16)
    >>> eq_r(torch.relu, x, degrees=[0.0, 90.0, 180.0, 270.0])  # a pointwise map commutes with quarter turns
    inf
    >>> eq_r(torch.relu, x, degrees=[30.0] * 4) < 30
    True
    """
    return rotation_agreement(
        fn, x, degrees=degrees, margin=margin, method=method, repeats=repeats, seed=seed, framed=framed
    ).db


def translation_agreement(
    fn: Map,
    x: Tensor,
    fractional: bool = False,
    *,
    reach: float = 1 / 8,
    margin: int = 0,
    periodic: bool = False,
    repeats: int = 1,
    seed: int = 0,
    framed: FramedMap | None = None,
    ruler: Ruler = "fourier",
    ratio: float = 1,
) -> Agreement:
    """fn(shifted x) against shifted fn(x), one shift per sample and repeat, the same for a seed.

    fn          (N, C, H, W) -> (N, C', H, W)
    x           images (N, C, H, W), any float dtype; shifted periodically, fractions by the Fourier theorem
    fractional  shifts uniform in [-reach H, reach H] x [-reach W, reach W]; else whole pixels within it (at least 1)
    reach       share of the side, in (0, 1/2]
    margin      pixels dropped at each edge of the valid region, >= 0
    periodic    the plane has no edge (circular padding): every pixel counts, `margin` must be 0
    repeats     shifts per sample, >= 1
    framed      called as framed(shifted x, {"translate": (down, right)}), both float64 (N,), in the place of fn: for
                networks that know the frame, whose law is g fn(x, frame) = fn(g x, g frame); None = fn
    ruler       what shifts fn(x): "fourier", as x is; or "lanczos", StyleGAN3's (`lanczos_translate2d`), whose pixels
                count where its taps lie inside the image, `periodic` or not
    ratio       pixels of fn(x) for one of x, on each axis: 8 of the decoder of an f8 autoencoder, 1/8 of its encoder.
                Whole shifts are then whole in the coarser of the two; `margin` is of fn(x)

    Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.evaluation.equivariance import translation_agreement
    >>> agreement = translation_agreement(torch.relu, torch.randn(8, 1, 16, 16), fractional=True, periodic=True)
    >>> estimate = agreement.estimate()
    >>> len(agreement.error), estimate.low < agreement.db < estimate.high
    (8, True)
    """
    _check(x, repeats)
    if ruler not in get_args(Ruler):
        raise ArgumentError(f"unknown ruler {ruler!r}{did_you_mean(str(ruler), get_args(Ruler))}")
    if not 0 < reach <= 0.5 or margin < 0 or (periodic and margin):
        raise ArgumentError(f"reach must be in (0, 0.5] and margin >= 0 (0 when periodic), not {reach:g} and {margin}")
    n, _, h, w = x.shape
    step = max(1, round(1 / ratio))  # pixels of x to which a pixel of fn(x) goes back
    generator = torch.Generator().manual_seed(seed)
    y, parts = _applied(fn, x, ratio), []
    for _ in range(repeats):
        amounts = []
        for side in (h, w):
            if fractional:
                amounts.append((torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1) * reach * side)
            else:
                most = max(1, int(reach * side / step))
                amounts.append(step * torch.randint(-most, most + 1, (n,), generator=generator).double())
        dy, dx = amounts
        moved, mask = translate2d(y, dy * ratio, dx * ratio, return_mask=True)
        if ruler == "lanczos":
            moved, mask = lanczos_translate2d(y, dy * ratio, dx * ratio)
        elif periodic:
            mask = torch.ones_like(mask)
        if margin:
            mask = _eroded(mask, margin)
        told = {"translate": (dy, dx)}
        parts.append(_agreement(moved, _applied_moved(fn, framed, translate2d(x, dy, dx), told, ratio), mask))
    return Agreement.join(parts)


def rotation_agreement(
    fn: Map,
    x: Tensor,
    *,
    degrees: Sequence[float] | None = None,
    margin: float | None = None,
    method: Turning = "fourier",
    repeats: int = 1,
    seed: int = 0,
    framed: FramedMap | None = None,
) -> Agreement:
    """fn(turned x) against turned fn(x) inside a disc, one angle per sample and repeat, the same for a seed.

    fn       (N, C, H, W) -> (N, C', H, W), square images
    x        images (N, C, H, W), any float dtype; what lies outside the inscribed disc turns too, periodically
    degrees  the angle of each sample; None = uniform in [0, 360)
    margin   pixels by which the disc is smaller than the inscribed one, for the support of the filters; None = W / 16
    method   how images are turned, as in `rotate2d`, or "interpolant": read off the periodic trigonometric interpolant,
             the Nyquist component apart. Of images within the disc |f| < Nyquist that is exact inside the disc of the
             plane, where three shears lose what they push beyond the square band on the way
    repeats  angles per sample, >= 1
    framed   called as framed(turned x, {"rotate": degrees}), one for each image, in the place of fn; None = fn

    Raises ShapeError, ArgumentError.

    >>> import torch
    >>> from aliasfree.evaluation.equivariance import rotation_agreement
    >>> agreement = rotation_agreement(torch.relu, torch.randn(4, 1, 16, 16), repeats=2)
    >>> len(agreement.error), agreement.db < 30
    (8, True)
    """
    _check(x, repeats)
    n, _, h, w = x.shape
    if h != w:
        raise ShapeError(f"rotations are measured on square images, not {h}x{w}: crop them")
    if degrees is not None and (len(degrees) != n or repeats != 1):
        raise ShapeError(f"expected {n} angles, one an image, and one repeat, got {len(degrees)} and {repeats}")
    mask = disc_mask(h, margin).to(x.device)
    generator = torch.Generator().manual_seed(seed)
    y, parts = _applied(fn, x), []
    for _ in range(repeats):
        angles = torch.rand(n, generator=generator, dtype=torch.float64) * 360 if degrees is None else degrees
        got = _applied_moved(fn, framed, turned(x, angles, method), {"rotate": angles})
        parts.append(_agreement(turned(y, angles, method), got, mask))
    return Agreement.join(parts)


def grid_agreement(fn: Map, x: Tensor, motion: Map) -> Agreement:
    """fn(g x) against g fn(x) for a motion g of the grid itself, a flip or a quarter turn; fn may change the size.

    fn      (N, C, H, W) -> (N, C', H', W')
    motion  of planes of both sizes, as `lambda v: v.flip(-1)`

    Raises ShapeError.

    >>> import torch
    >>> from aliasfree.evaluation.equivariance import grid_agreement
    >>> grid_agreement(torch.relu, torch.randn(2, 1, 8, 8), lambda v: v.flip(-1)).db
    inf
    """
    _check(x, 1)
    wanted, got = motion(fn(x)), fn(motion(x))
    if wanted.shape != got.shape:
        raise ShapeError(f"the motion made {tuple(wanted.shape)} and {tuple(got.shape)}: quarter turns want squares")
    return _agreement(wanted, got, torch.ones_like(wanted[:1, :1], dtype=torch.bool))


def image_agreement(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Agreement:
    """Image level: peak energy 4 a pixel (of images in [-1, 1]) against |a - b|^2, where the mask is true.

    a, b  (N, C, H, W); mask bool, broadcast to them, None = every pixel. Raises ShapeError.

    >>> import torch
    >>> from aliasfree.evaluation.equivariance import image_agreement
    >>> a = torch.zeros(2, 3, 8, 8)
    >>> round(image_agreement(a, a + 0.2).db, 3)
    20.0
    """
    if a.shape != b.shape or a.ndim != 4:
        raise ShapeError(f"expected two batches of images of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    m = torch.ones_like(a[:1, :1], dtype=torch.bool) if mask is None else mask
    m = m.expand(a.shape).double()
    return Agreement(4 * m.sum((1, 2, 3)).cpu(), (m * (a.double() - b.double()) ** 2).sum((1, 2, 3)).cpu())


def disc_mask(side: int, margin: float | None = None) -> Tensor:
    """Pixels whose centre lies within (side - 1)/2 - margin of the image's centre: bool (1, 1, side, side).

    margin  pixels, >= 0; None = side / 16. Raises ArgumentError when no pixel is left.

    >>> from aliasfree.evaluation.equivariance import disc_mask
    >>> disc_mask(4, margin=0.0)[0, 0].int()
    tensor([[0, 0, 0, 0],
            [0, 1, 1, 0],
            [0, 1, 1, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    margin = side / 16 if margin is None else margin
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    mask = (line[:, None] ** 2 + line**2).sqrt() <= (side - 1) / 2 - margin + 1e-9
    if margin < 0 or not mask.any():
        raise ArgumentError(
            f"a margin of {margin:g} pixels leaves nothing of a disc across {side}: take 0 to {side / 4:g}"
        )
    return mask[None, None]


def _agreement(wanted: Tensor, got: Tensor, mask: Tensor) -> Agreement:
    m = mask.expand(wanted.shape)
    signal, error = (
        torch.where(m, v.double() ** 2, 0).sum((1, 2, 3)) for v in (wanted, got.double() - wanted.double())
    )
    return Agreement(signal.cpu(), error.cpu())


def _decibel(signal: float, error: float) -> float:
    if error == 0:
        return math.inf
    return 10 * math.log10(signal / error) if signal > 0 else -math.inf


def _eroded(mask: Tensor, margin: int) -> Tensor:
    """The mask without pixels that lie within `margin` of an invalid one, or of the edge of the image."""
    outside = torch.nn.functional.pad((~mask).float(), (margin,) * 4, value=1.0)
    eroded = torch.nn.functional.max_pool2d(outside, 2 * margin + 1, stride=1) == 0
    if not eroded.any():
        raise ArgumentError(f"a margin of {margin} pixels leaves nothing of a {mask.shape[-2]}x{mask.shape[-1]} image")
    return eroded


def _applied_moved(fn: Map, framed: FramedMap | None, x: Tensor, told: dict[str, Any], ratio: float = 1) -> Tensor:
    return _applied(fn, x, ratio) if framed is None else _applied(lambda v: framed(v, told), x, ratio)


def _applied(fn: Map, x: Tensor, ratio: float = 1) -> Tensor:
    y = fn(x)
    if y.ndim != 4 or y.shape[0] != x.shape[0] or y.shape[2:] != tuple(round(n * ratio) for n in x.shape[2:]):
        times = "" if ratio == 1 else f", {ratio:g} times"
        raise ShapeError(
            f"the map turned {tuple(x.shape)} into {tuple(y.shape)}; equivariance is measured for maps that keep the "
            f"number of images and their size{times}"
        )
    return y


def _check(x: Tensor, repeats: int) -> None:
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise ShapeError(f"expected float images (N, C, H, W), N >= 1, got {x.dtype} {tuple(x.shape)}")
    if repeats < 1:
        raise ArgumentError(f"repeats must be at least 1, not {repeats}")
