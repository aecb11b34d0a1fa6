"""The attention blocks: the paper's, and one that commutes with shifts. Their state-dict keys are the same."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.ops.attention import attention

__all__ = ["CrossCovarianceAttention", "SelfAttention"]


class _Layers(Protocol):
    """What `CrossCovarianceAttention` asks of `aliasfree.nn.Layers`."""

    def norm(self, channels: int) -> nn.Module: ...
    def activation(self) -> nn.Module: ...
    def band_limit(self) -> nn.Module: ...


class SelfAttention(nn.Module):
    """Attention and a feed-forward layer over the H*W pixels as tokens, each with its residual; per-pixel norms.

    y = x + MHA(LN(x)), then y + W2 GELU(W1 LN(y)), all of width C; exact GELU (never filtered here).
    (N, channels, H, W) to the same shape; channels is a multiple of heads.

    >>> import torch
    >>> from aliasfree.nn import SelfAttention
    >>> tuple(SelfAttention(8)(torch.zeros(1, 8, 4, 4)).shape)
    (1, 8, 4, 4)
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.ff_norm = nn.LayerNorm(channels)
        self.ff1 = nn.Linear(channels, channels)
        self.ff2 = nn.Linear(channels, channels)
        _initialise(self.qkv, self.out)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).mT
        y = tokens + self.out(attention(self.qkv(self.norm(tokens)), self.heads))
        y = y + self.ff2(F.gelu(self.ff1(self.ff_norm(y))))
        return y.mT.reshape(n, c, h, w)


class CrossCovarianceAttention(nn.Module):
    """Attention between channels instead of pixels, and a filtered feed-forward layer; norms over the whole plane.

        q, k, v = W norm(x)          1x1, heads of d = C / heads channels
        weights = softmax(4 q' k)    (d, d) a head, q and k of length 1 over the pixels
        y = x + W weights v,   then y + W2 GELU(W1 norm(y)) with the GELU filtered

    (N, channels, H, W) to the same shape; channels is a multiple of heads. `layers` is an `aliasfree.nn.Layers`.

    A softmax over pixels is a sum on the grid that stands for an integral, and its integrand has more bandwidth than
    the keys; here the products of planes without a Nyquist component are summed, which is exact on the grid, and the
    planes themselves are only mixed. Linear in the number of pixels. Source: El-Nouby et al. 2021 (XCiT), eq. 2, with
    a fixed temperature instead of a learned one.

    >>> import torch
    >>> from aliasfree import Config
    >>> from aliasfree.nn import CrossCovarianceAttention, Layers
    >>> block = CrossCovarianceAttention(Layers(Config.parse("T"), "circular"), 8)
    >>> tuple(block(torch.zeros(1, 8, 4, 4)).shape)
    (1, 8, 4, 4)
    """

    def __init__(self, layers: _Layers, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm = layers.norm(channels)
        self.ff_norm = layers.norm(channels)
        self.ff1 = nn.Linear(channels, channels)
        self.ff2 = nn.Linear(channels, channels)
        self.act = layers.activation()
        self.band = layers.band_limit()
        _initialise(self.qkv, self.out)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = _pointwise(self.qkv, self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w).unbind(1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        mixed = (TEMPERATURE * (q @ k.mT)).softmax(-1) @ v
        y = x + _pointwise(self.out, mixed.reshape(n, c, h, w))
        return y + _pointwise(self.ff2, self.band(self.act(_pointwise(self.ff1, self.ff_norm(y)))))


TEMPERATURE = 4.0


def _pointwise(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer of tokens on planes (N, C, H, W): a 1x1 convolution with the same weights."""
    return F.conv2d(x, linear.weight[:, :, None, None], linear.bias)


def _initialise(qkv: nn.Linear, out: nn.Linear) -> None:
    """nn.MultiheadAttention's initialisation, which the published networks start from."""
    nn.init.xavier_uniform_(qkv.weight)
    nn.init.zeros_(qkv.bias)
    nn.init.zeros_(out.bias)
