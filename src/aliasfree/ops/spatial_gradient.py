"""Rotation, translation and zoom as functions of the amount too: the formulas of `spatial_tables` in PyTorch.

Used where an angle, shift or factor asks for its gradient, or comes from a transform of `torch.func`; nothing is kept.
Amounts are tensors (1,) or (N,), float64 where the device has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from aliasfree.ops import fourier

__all__ = ["rotate", "translate", "zoom"]


def rotate(x: Tensor, degrees: Tensor, method: str) -> Tensor:
    """x (N, C, H, W), turned counter-clockwise; see `aliasfree.rotate2d`."""
    h, w = x.shape[-2:]
    unit = 90 if h == w else 180
    turns = torch.round(degrees.detach() / unit)
    if method != "fourier":
        c, s = (f(torch.deg2rad(degrees))[:, None, None] for f in (torch.cos, torch.sin))
        return _read(x, method, lambda i, j: (c * i + s * j, -s * i + c * j))
    theta = torch.deg2rad(degrees - unit * turns)
    quarters = torch.remainder(turns * (unit // 90), 4)
    across = _phases(-torch.tan(theta / 2)[:, None] * _offsets(h, theta), w)[:, None]
    down = _phases(torch.sin(theta)[:, None] * _offsets(w, theta), h)[:, None].mT
    out = _quarter_turns(x, torch.remainder(quarters, 3))
    out = _shift(_shift(_shift(out, across, 3), down, 2), across, 3)
    return _quarter_turns(out, torch.where(quarters == 3, quarters, 0))


def translate(x: Tensor, dy: Tensor, dx: Tensor, method: str) -> Tensor:
    """x, moved down and right; see `aliasfree.translate2d`."""
    if method != "fourier":
        a, b = dy[:, None, None], dx[:, None, None]
        return _read(x, method, lambda i, j: (i - a, j - b))
    out = _shift(x, _phases(-dy, x.shape[2])[:, None, :, None], 2)
    return _shift(out, _phases(-dx, x.shape[3])[:, None, None, :], 3)


def zoom(x: Tensor, factor: Tensor, method: str) -> Tensor:
    """x, magnified; see `aliasfree.zoom2d`."""
    f = factor[:, None, None]
    if method != "fourier":
        return _read(x, method, lambda i, j: (i / f, j / f))
    rows, columns = (_dirichlet(n, f).to(x.dtype)[:, None] for n in x.shape[-2:])
    return rows @ x @ columns.mT


def _offsets(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2


def _phases(shifts: Tensor, n: int) -> Tensor:
    k = torch.arange(n // 2 + 1, dtype=shifts.dtype, device=shifts.device)
    angle = 2 * math.pi / n * k * shifts[..., None]
    phase = torch.complex(torch.cos(angle), torch.sin(angle))
    if n % 2:
        return phase
    nyquist = 1 - 2 * torch.remainder(torch.round(shifts.detach()), 2)
    return torch.cat([phase[..., :-1], torch.complex(nyquist, torch.zeros_like(nyquist))[..., None]], -1)


def _shift(x: Tensor, phase: Tensor, axis: int) -> Tensor:
    return fourier.irfft(fourier.rfft(x, axis) * phase, x.shape[axis], axis)


def _quarter_turns(x: Tensor, quarters: Tensor) -> Tensor:
    """`rot90` by 1 or N numbers of quarter turns, chosen without looking at them."""
    out = x
    for k in (1, 2, 3) if x.shape[-1] == x.shape[-2] else (2,):
        out = torch.where(quarters[:, None, None, None] == k, torch.rot90(x, k, (2, 3)), out)
    return out


def _dirichlet(n: int, factor: Tensor) -> Tensor:
    """The matrices (1 or N, n, n) of band-limited periodic interpolation."""
    i = torch.arange(n, dtype=factor.dtype, device=factor.device)
    lag = ((i - (n - 1) / 2) / factor + (n - 1) / 2).mT - i
    k = torch.arange(1, (n - 1) // 2 + 1, dtype=factor.dtype, device=factor.device)
    below = (k < factor.detach() * n / 2).to(factor.dtype)[..., None, :]
    out = 1 + 2 * (below * torch.cos(2 * math.pi / n * lag[..., None] * k)).sum(-1)
    if n % 2 == 0:
        out = out + (factor.detach() >= 1) * torch.cos(math.pi * lag)
    return out / n


def _read(x: Tensor, method: str, source: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Read x where `source` sends each output pixel, given and told from the centre, by "spline" or "bicubic"."""
    n, c, h, w = x.shape
    like = x if x.device.type == "mps" else x.double()
    i, j = source(_offsets(h, like)[:, None], _offsets(w, like))
    rows, columns = ((v.expand(-1, h, w) + (side - 1) / 2) for v, side in ((i, h), (j, w)))
    if method == "bicubic":
        grid = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], -1).to(x.dtype)
        grid = grid.expand(n, -1, -1, -1)
        return F.grid_sample(x, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    waves = [(2 + torch.cos(2 * math.pi * f(side, dtype=x.dtype, device=x.device))) / 3
             for f, side in ((torch.fft.fftfreq, h), (torch.fft.rfftfreq, w))]  # fmt: skip
    flat = fourier.irfft2(fourier.rfft2(x) / (waves[0][:, None] * waves[1]), (h, w)).flatten(2)
    (row, a), (column, b) = _taps(rows.flatten(1), h), _taps(columns.flatten(1), w)
    out = torch.zeros_like(flat)
    for p in range(4):
        for q in range(4):
            index = (row[p] * w + column[q])[:, None].expand(n, c, -1)
            out = out + flat.gather(2, index) * (a[p] * b[q]).to(x.dtype)[:, None]
    return out.unflatten(2, (h, w))


def _taps(source: Tensor, n: int) -> tuple[list[Tensor], list[Tensor]]:
    """Index and weight of the four taps of the cubic spline along an axis of length n."""
    base = torch.floor(source.detach())
    f = source - base
    g = 1 - f
    weights = [g**3 / 6, (4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6, f**3 / 6]
    return [torch.remainder(base.long() + k, n) for k in (-1, 0, 1, 2)], weights
