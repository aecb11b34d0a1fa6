"""StyleGAN3's ruler for shifts by fractions of a pixel: the reference image is moved by a Lanczos filter.

Our own reference moves by the Fourier theorem, which is exact on a periodic plane. Lanczos with a = 3 is neither exact
nor periodic: it damps what an image has near the Nyquist frequency, and so sets a limit of its own to what is measured.

Source: the formula of Karras et al. 2021 (StyleGAN3), appendix E.3; Lanczos' kernel as in any textbook on resampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aliasfree.errors import ShapeError

__all__ = ["lanczos_kernel", "lanczos_translate2d"]

A = 3
"""Lobes on each side of the kernel."""


def lanczos_kernel(fraction: Tensor, a: int = A) -> Tensor:
    """Taps that read at 0 <= fraction < 1 of a sample before: float64 (N, 2a) of (N,), at samples -a .. a-1.

    sum_k taps[k] x[i + k - a] is x at i - fraction. L(t) = sinc(t) sinc(t / a) within |t| < a; scaled to sum 1.

    >>> import torch
    >>> from aliasfree.evaluation.lanczos import lanczos_kernel
    >>> [round(tap, 3) for tap in lanczos_kernel(torch.tensor([0.5]))[0].tolist()]
    [0.024, -0.136, 0.611, 0.611, -0.136, 0.024]
    """
    t = torch.arange(-a, a, dtype=torch.float64) + fraction.double()[:, None]
    taps = torch.where(t.abs() < a, torch.sinc(t) * torch.sinc(t / a), 0.0)
    return taps / taps.sum(1, keepdim=True)


def lanczos_translate2d(x: Tensor, dy: Tensor, dx: Tensor, a: int = A) -> tuple[Tensor, Tensor]:
    """(images moved down by dy and right by dx pixels, mask): outside the image there is nothing.

    x       (N, C, H, W); dy, dx (N,)
    mask    bool (N, 1, H, W): pixels for which every tap read inside the image

    Raises ShapeError.

    >>> import torch
    >>> from aliasfree.evaluation.lanczos import lanczos_translate2d
    >>> x = torch.rand(2, 1, 16, 16)
    >>> moved, mask = lanczos_translate2d(x, torch.tensor([1.0, 0.5]), torch.tensor([0.0, -0.5]))
    >>> torch.allclose(moved[0, :, 1:], x[0, :, :-1], atol=1e-6), mask[1].sum().item()
    (True, 121)
    """
    n = len(x) if x.ndim == 4 else 0
    if not n or dy.shape != (n,) or dx.shape != (n,):
        raise ShapeError(f"expected images (N, C, H, W) and N shifts, got {tuple(x.shape)} and {tuple(dy.shape)}")
    (rows, high), (columns, wide) = (_along(d, side, a) for d, side in zip((dy, dx), x.shape[-2:], strict=True))
    moved = torch.einsum("nij,ncjk,nlk->ncil", rows.to(x.device), x.double(), columns.to(x.device))
    return moved.to(x.dtype), (high[:, :, None] & wide[:, None])[:, None].to(x.device)


def _along(shift: Tensor, side: int, a: int) -> tuple[Tensor, Tensor]:
    """The matrices (N, side, side) that move a line of samples by `shift` (N,), and where they read inside."""
    whole = shift.double().floor()
    taps = lanczos_kernel(shift.double() - whole, a)
    source = torch.arange(side)[:, None] + torch.arange(-a, a) - whole.long()[:, None, None]
    inside = (source >= 0) & (source < side)
    weights = torch.where(inside, taps[:, None], 0.0)
    matrix = torch.zeros(len(shift), side, side, dtype=torch.float64)
    return matrix.scatter_add_(2, source.clamp(0, side - 1), weights), inside.all(2)
