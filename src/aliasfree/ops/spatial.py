"""Rotation, translation and zoom of images, on the tensor's own device, batched and differentiable.

    fourier  band-limited and periodic. Rotations and translations are orthogonal maps: white noise stays white
    spline   cubic B-spline with exact periodic prefilter, as `scipy.ndimage` with order=3, mode="grid-wrap"
    bicubic  `torch.nn.functional.grid_sample`, zeros outside the image

Everything turns and grows about the centre ((H-1)/2, (W-1)/2). Tables that depend on size and motion only are built
once in float64 and kept (`spatial_tables`); amounts that ask for their gradient take `spatial_gradient`. float16 and
bfloat16 images are worked on in float32 and given back so;
Fourier rotations and shifts are worked out in float64 where the device has it, because float32 transforms lose energy a
little at a time: 2.5e-4 of the variance of noise in 999 small rotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.ops import fourier, spatial_gradient, spatial_tables
from aliasfree.ops.tracing import has_tangent, is_transformed

__all__ = ["Amount", "Method", "rotate2d", "translate2d", "zoom2d"]

Method = Literal["fourier", "spline", "bicubic"]
Amount = float | Sequence[float] | Tensor
"""One number for all samples, or one for each: a sequence or a (N,) tensor."""
LARGEST = 1e9
"""Of an amount: numbers beyond it have lost the fractions that a motion is made of."""


@overload
def rotate2d(x: Tensor, degrees: Amount, method: Method = "fourier", return_mask: Literal[False] = False) -> Tensor: ...
@overload
def rotate2d(
    x: Tensor, degrees: Amount, method: Method = "fourier", *, return_mask: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def rotate2d(x: Tensor, degrees: Amount, method: Method = "fourier", return_mask: bool = False) -> Any:
    """Turn images counter-clockwise (row 0 on top); 90 equals `torch.rot90(x, 1, (2, 3))` bit for bit.

    x            (N, C, H, W), any float dtype, periodic for "fourier" and "spline"
    degrees      within 1e9, one for all or (N,); an angle is used to 1e-12 degree. Differentiable where it is a tensor
                 that requires a gradient
    return_mask  also return the valid pixels, bool (1, 1, H, W): the inscribed disc, which any angle reads from inside

    "fourier": 1. the nearest quarter turn by `rot90`; 2. for the rest, at most 45 degrees, three shears (Paeth
    1986): columns by -tan(rest/2), rows by sin(rest), columns again, each a periodic fractional shift by the Fourier
    theorem. Each shear is orthogonal, and turning by -degrees is the transpose. Non-square images cannot be turned
    by quarters: there `degrees` must lie within 45 of a multiple of 180.

    Raises ShapeError (rank, number of angles, non-square), ArgumentError (method, an angle that is no number, dtype).

    >>> import torch
    >>> from aliasfree import rotate2d
    >>> x = torch.randn(4, 3, 16, 16)
    >>> torch.equal(rotate2d(x, 90.0), x.rot90(1, (2, 3)))
    True
    >>> torch.allclose(rotate2d(rotate2d(x, 30.0), -30.0), x, atol=1e-5)
    True
    >>> turned, mask = rotate2d(x, [0.0, 10.0, 20.0, 30.0], return_mask=True)
    >>> tuple(turned.shape), tuple(mask.shape)
    ((4, 3, 16, 16), (1, 1, 16, 16))
    """
    h, w = _plane(x, method)
    if x.numel() and _asks(degrees):
        work, (angle,) = _differentiable(x, h == w or method != "fourier", degrees=degrees)
        out = spatial_gradient.rotate(work, angle, method).to(x.dtype)
        return (out, spatial_tables.disc(h, w, x.device)) if return_mask else out
    work, (angles,) = _prepare(x, degrees=degrees)
    unit = 90 if h == w else 180
    turns = [round(a / unit) for a in angles]
    rest = tuple(round(a - unit * k, 12) + 0.0 for a, k in zip(angles, turns, strict=True))
    quarters = [k * unit // 90 % 4 for k in turns]
    if not x.numel():
        out = x.clone()
    elif not any(rest):
        out = _quarter_turns(x, quarters) if any(quarters) else x.clone()
    elif method == "fourier":
        if max(map(abs, rest)) > 45:
            raise ShapeError(
                f"fourier rotation of a {h}x{w} image must lie within 45 degrees of a multiple of 180: "
                f"use square images or method='spline'"
            )
        work = _double(work)
        across, down = spatial_tables.shears(h, w, rest, *_key(work))
        # Three quarters come last and one comes first, so that turning by -degrees is the exact transpose.
        out = _shift(_quarter_turns(work, [k % 3 for k in quarters]), across, 3)
        out = _shift(_shift(out, down, 2), across, 3)
        out = _quarter_turns(out, [k if k == 3 else 0 for k in quarters])
    else:
        out = _affine(work, tuple(spatial_tables.rotation(a) for a in angles), method)
    out = out.to(x.dtype)
    return (out, spatial_tables.disc(h, w, x.device)) if return_mask else out


@overload
def translate2d(
    x: Tensor, dy: Amount, dx: Amount, method: Method = "fourier", return_mask: Literal[False] = False
) -> Tensor: ...
@overload
def translate2d(
    x: Tensor, dy: Amount, dx: Amount, method: Method = "fourier", *, return_mask: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def translate2d(x: Tensor, dy: Amount, dx: Amount, method: Method = "fourier", return_mask: bool = False) -> Any:
    """Shift images down by dy and right by dx pixels: out[i, j] = x[i - dy, j - dx].

    x            (N, C, H, W), any float dtype, periodic for "fourier" and "spline"
    dy, dx       pixels, within 1e9, one for all or (N,); differentiable as the angle of `rotate2d`
    return_mask  also return the pixels read from inside the frame, bool (1 or N, 1, H, W)

    "fourier" shifts by whole pixels are `torch.roll` bit for bit; others are orthogonal, the inverse is the transpose.
    Raises ShapeError (rank, number of shifts), ArgumentError (method, a shift that is no number, dtype).

    >>> import torch
    >>> from aliasfree import translate2d
    >>> x = torch.randn(2, 3, 16, 16)
    >>> torch.equal(translate2d(x, 1.0, 0.0), x.roll(1, 2))
    True
    >>> torch.allclose(translate2d(translate2d(x, 0.25, 0.5), -0.25, -0.5), x, atol=1e-5)
    True
    """
    h, w = _plane(x, method)
    if x.numel() and (_asks(dy) or _asks(dx)):
        work, (down, right) = _differentiable(x, dy=dy, dx=dx)
        out = spatial_gradient.translate(work, down, right, method).to(x.dtype)
        if not return_mask:
            return out
        return out, translate2d(x.detach(), _number(dy), _number(dx), method, return_mask=True)[1]
    work, (dys, dxs) = _prepare(x, dy=dy, dx=dx)
    if not x.numel():
        out = x.clone()
    elif method == "fourier":
        out = work
        for shifts, axis in ((dys, 2), (dxs, 3)):
            if len(set(shifts)) == 1 and shifts[0] == round(shifts[0]):
                out = out.roll(round(shifts[0]), axis)
            else:
                out = _double(out)
                out = _shift(out, spatial_tables.shift(out.shape[axis], shifts, axis, *_key(out)), axis)
    else:
        out = _affine(work, tuple(spatial_tables.translation(*d) for d in _paired(dys, dxs)), method)
    out = out.to(x.dtype)
    if not return_mask:
        return out
    return out, spatial_tables.inside(h, w, tuple(spatial_tables.translation(*d) for d in _paired(dys, dxs)), x.device)


@overload
def zoom2d(x: Tensor, factor: Amount, method: Method = "fourier", return_mask: Literal[False] = False) -> Tensor: ...
@overload
def zoom2d(
    x: Tensor, factor: Amount, method: Method = "fourier", *, return_mask: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def zoom2d(x: Tensor, factor: Amount, method: Method = "fourier", return_mask: bool = False) -> Any:
    """Magnify images about their centre: out[c + d] = x[c + d / factor].

    x            (N, C, H, W), any float dtype, periodic for "fourier" and "spline"
    factor       > 0, one for all or (N,), differentiable as the angle of `rotate2d`; above 1 things grow, below 1
                 periodic copies come in from outside
    return_mask  also return the pixels read from inside the frame, bool (1 or N, 1, H, W)

    "fourier" evaluates the trigonometric interpolant, one matrix product an axis; when shrinking it first drops the
    frequencies that the new grid cannot hold ("spline" and "bicubic" do not, and alias).

    A zoom cannot be orthogonal. Magnified white noise keeps its variance but has nothing above 1/factor of the
    Nyquist frequency, its pixels are correlated over `factor` pixels; shrunk noise keeps a flat spectrum but only
    factor^2 of its variance. A sampler that zooms over many steps must expect both.

    Raises ShapeError (rank, number of factors), ArgumentError (method, factor not finite and > 0, dtype).

    >>> import torch
    >>> from aliasfree import zoom2d
    >>> x = torch.randn(1, 3, 8, 8)
    >>> halved, mask = zoom2d(x, 0.5, return_mask=True)
    >>> tuple(halved.shape), mask.float().mean().item()  # a quarter of the pixels shows the image, the rest its copies
    ((1, 3, 8, 8), 0.25)
    """
    h, w = _plane(x, method)
    if x.numel() and _asks(factor):
        work, (growth,) = _differentiable(x, factor=factor)
        out = spatial_gradient.zoom(work, growth, method).to(x.dtype)
        if not return_mask:
            return out
        return out, zoom2d(x.detach(), _number(factor), method, return_mask=True)[1]
    work, (factors,) = _prepare(x, factor=factor)
    if min(factors) <= 0:
        raise ArgumentError(f"a zoom factor must be above 0, not {min(factors)}: 2 doubles the size, 0.5 halves it")
    if not x.numel() or set(factors) == {1.0}:
        out = x.clone()
    elif method == "fourier":
        rows, columns = spatial_tables.dirichlet(h, w, factors, *_key(work))
        out = rows @ work @ columns
    else:
        out = _affine(work, tuple(spatial_tables.magnification(f) for f in factors), method)
    out = out.to(x.dtype)
    if not return_mask:
        return out
    return out, spatial_tables.inside(h, w, tuple(spatial_tables.magnification(f) for f in factors), x.device)


def _plane(x: Tensor, method: str) -> tuple[int, int]:
    """Height and width of a checked image."""
    if x.ndim != 4:
        raise ShapeError(f"expected images of shape (N, C, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ArgumentError(f"expected a float image, got {x.dtype}: convert it with x.float()")
    check_method(method)
    return x.shape[2], x.shape[3]


def _prepare(x: Tensor, **amounts: Amount) -> tuple[Tensor, list[tuple[float, ...]]]:
    """The image in a dtype that can be worked in, each amount as 1 or N numbers."""
    work = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return work, [as_amounts(value, x.shape[0], name) for name, value in amounts.items()]


def _asks(amount: Amount) -> bool:
    """Whether an amount asks for its gradient, or is the stand-in of a transform."""
    return isinstance(amount, Tensor) and (amount.requires_grad or has_tangent(amount) or is_transformed(amount))


def _number(amount: Amount) -> Amount:
    return amount.detach() if isinstance(amount, Tensor) else amount


def _differentiable(x: Tensor, square: bool = True, **amounts: Amount) -> tuple[Tensor, list[Tensor]]:
    """x and its amounts as tensors (1,) or (N,), all in float64 where the device has it; checked where that can be."""
    work = _double(x)
    for name, amount in amounts.items():
        if not is_transformed(amount):
            numbers = as_amounts(_number(amount), x.shape[0], name)
            if name == "factor" and min(numbers) <= 0:
                raise ArgumentError(f"a zoom factor must be above 0, not {min(numbers)}: 2 doubles the size")
            if not square and any(abs(a - 180 * round(a / 180)) > 45 for a in numbers):
                raise ShapeError("fourier rotation of such an image must lie within 45 degrees of a multiple of 180")
    return work, [torch.atleast_1d(torch.as_tensor(a, dtype=work.dtype, device=x.device)) for a in amounts.values()]


def check_method(method: str) -> None:
    """Raise ArgumentError, listing the methods, unless `method` is one of them."""
    if method not in get_args(Method):
        raise ArgumentError(f"unknown method {method!r}{did_you_mean(str(method), get_args(Method))}")


def as_amounts(value: Amount, n: int, name: str) -> tuple[float, ...]:
    """One number or n numbers from any form of `Amount`; n equal ones become one. Raises ShapeError, ArgumentError."""
    try:
        listed = np.atleast_1d(value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value)
    except ValueError:  # a ragged list
        listed = np.array([None])
    if listed.dtype.kind not in "iuf" and listed.size:
        raise ArgumentError(f"{name} must be a number, or one for each sample, not {value!r}")
    if listed.ndim != 1 or len(listed) not in (1, n):
        raise ShapeError(f"{name} must be one number or one for each of the {n} samples, got shape {listed.shape}")
    numbers = tuple(float(v) for v in listed) or (1.0,)  # of an empty batch
    if not all(abs(v) <= LARGEST for v in numbers):
        shown = numbers[0] if len(numbers) == 1 else list(numbers)
        raise ArgumentError(f"{name} must be finite, between -{LARGEST:.0e} and {LARGEST:.0e}, not {shown}")
    # To 1e-12, so that equal steps computed as differences share one table.
    numbers = tuple(round(v, 12) for v in numbers)
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _paired(a: tuple[float, ...], b: tuple[float, ...]) -> list[tuple[float, float]]:
    n = max(len(a), len(b))
    return list(zip(a * (n // len(a)), b * (n // len(b)), strict=True))


def _key(x: Tensor) -> tuple[torch.dtype, torch.device]:
    return x.dtype, x.device


def _double(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()


def _quarter_turns(x: Tensor, quarters: Sequence[int]) -> Tensor:
    """`rot90` by 1 or N numbers of quarter turns; x itself when there are none."""
    if not any(quarters):
        return x
    if len(set(quarters)) == 1:
        return torch.rot90(x, quarters[0], (2, 3))
    return torch.stack([torch.rot90(image, k, (1, 2)) for image, k in zip(x, quarters, strict=True)])


def _shift(x: Tensor, phase: Tensor, axis: int) -> Tensor:
    """Periodic shift along an axis by the Fourier theorem; the phase may differ from line to line."""
    return fourier.irfft(fourier.rfft(x, axis) * phase, x.shape[axis], axis)


def _affine(x: Tensor, maps: tuple[spatial_tables.Affine, ...], method: str) -> Tensor:
    """Read x at the places an affine map sends each output pixel to, by "spline" or "bicubic"."""
    n, c, h, w = x.shape
    if method == "bicubic":
        grid = spatial_tables.grid(h, w, maps, *_key(x)).expand(n, -1, -1, -1)
        return F.grid_sample(x, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    prefilter = spatial_tables.spline_prefilter(h, w, *_key(x))
    flat = fourier.irfft2(fourier.rfft2(x) * prefilter, (h, w)).flatten(2)
    index, weight = spatial_tables.spline_taps(h, w, maps, *_key(x))
    out = torch.zeros_like(flat)
    for tap_index, tap_weight in zip(index, weight, strict=True):
        if len(maps) == 1:
            tap = flat.index_select(2, tap_index[0])
        else:
            tap = flat.gather(2, tap_index[:, None].expand(n, c, -1))
        out = out + tap * tap_weight[:, None]
    return out.view(n, c, h, w)
