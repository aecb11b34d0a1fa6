"""The literal algorithms, beside which every faster path is tested; they never reach one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aliasfree.filters import (
    FilterSpec,
    downsampling_kernel,
    downsampling_offset,
    pass_band,
    upsampling_kernel,
    upsampling_offset,
)
from aliasfree.ops import fourier
from aliasfree.ops.padding import Padding, extend

__all__ = ["attention_reference", "downsample2d_reference", "joined_heads", "split_heads", "upsample2d_reference"]


def upsample2d_reference(x: Tensor, spec: FilterSpec, factor: int = 2, padding: Padding = "zeros") -> Tensor:
    """The literal algorithm: zero insertion, then a full-rate convolution (a product of spectra for "ideal").

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.ops import upsample2d, upsample2d_reference
    >>> x, hq = torch.randn(1, 2, 8, 8), FilterSpec.named("hq")
    >>> torch.allclose(upsample2d(x, hq, backend="torch"), upsample2d_reference(x, hq), atol=1e-5)
    True
    """
    n, c, h, w = x.shape
    z = x.new_zeros(n, c, h * factor, w * factor)
    z[:, :, ::factor, ::factor] = x
    if spec.kind == "ideal":
        return _brick_wall(z, spec, shift=(factor - 1) / 2) * factor**2
    k = torch.from_numpy(upsampling_kernel(spec, factor).copy()).to(x)
    # padding is meant for x, not for the zeros between its samples: extend x, insert zeros again, crop
    margin = -(-spec.taps // factor)
    z = x.new_zeros(n, c, (h + 2 * margin) * factor, (w + 2 * margin) * factor)
    z[:, :, ::factor, ::factor] = extend(x, margin, padding)
    start = margin * factor - upsampling_offset(spec, factor)
    z = z[:, :, start : start + h * factor + spec.taps - 1, start : start + w * factor + spec.taps - 1]
    return _depthwise(z, k)


def downsample2d_reference(x: Tensor, spec: FilterSpec, factor: int = 2, padding: Padding = "zeros") -> Tensor:
    """The literal algorithm: a full-rate convolution, then every factor-th sample.

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.ops import downsample2d, downsample2d_reference
    >>> x, hq = torch.randn(1, 2, 8, 8), FilterSpec.named("hq")
    >>> torch.allclose(downsample2d(x, hq, backend="torch"), downsample2d_reference(x, hq), atol=1e-5)
    True
    """
    if spec.kind == "ideal":
        return _brick_wall(x, spec, shift=-(factor - 1) / 2)[:, :, ::factor, ::factor]
    k = torch.from_numpy(downsampling_kernel(spec, factor).copy()).to(x)
    start = spec.taps - downsampling_offset(spec, factor)
    x = extend(x, spec.taps, padding)[:, :, start:, start:]
    h, w = x.shape[-2] - 2 * spec.taps + start, x.shape[-1] - 2 * spec.taps + start
    x = x[:, :, : h + spec.taps - 1, : w + spec.taps - 1]
    return _depthwise(x, k)[:, :, ::factor, ::factor]


def _depthwise(x: Tensor, k: Tensor) -> Tensor:
    c = x.shape[1]
    return F.conv2d(x, k.expand(c, 1, *k.shape), groups=c)


def _brick_wall(x: Tensor, spec: FilterSpec, shift: float) -> Tensor:
    """Keep |frequency| < cutoff of both axes (half of it at the cutoff itself) and shift by `shift` pixels forward."""
    for dim in (-2, -1):
        n = x.shape[dim]
        k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        keep = torch.from_numpy(pass_band(k.numpy(), n, spec.cutoff))
        spectrum = fourier.fft(x.to(torch.complex128), dim)
        phase = torch.exp(-2j * torch.pi * k * shift / n) * keep
        x = fourier.ifft(spectrum * phase.reshape(-1, *[1] * (-1 - dim)).to(x.device), dim).real.to(x.dtype)
    return x


def attention_reference(qkv: Tensor, heads: int) -> Tensor:
    """softmax(q k' / sqrt(d)) v of packed tokens (N, L, 3 C), with all weights (N, heads, L, L) written out: (N, L, C).

    >>> import torch
    >>> from aliasfree.ops.attention import attention, attention_reference
    >>> qkv = torch.randn(1, 16, 24)
    >>> torch.allclose(attention(qkv, 2), attention_reference(qkv, 2), atol=1e-5)
    True
    """
    q, k, v = split_heads(qkv, heads)
    return joined_heads((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v)


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of packed tokens (N, L, 3 C), each (N, heads, L, C / heads)."""
    n, tokens, width = qkv.shape
    q, k, v = qkv.reshape(n, tokens, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def joined_heads(y: Tensor) -> Tensor:
    """(N, heads, L, d) to (N, L, heads d)."""
    return y.transpose(1, 2).flatten(2)
