"""Building blocks of the paper's UNet (arXiv 2411.09174, section on the architecture)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.nn.layers import Layers
from aliasfree.ops.tracing import cache_constants

__all__ = ["DoubleConv", "DownBlock", "UpBlock", "time_encoding"]


class DoubleConv(nn.Module):
    """conv - norm - activation - conv - norm; with `residual`, activation(x + that) and in = out channels.

    (N, in_channels, H, W) to (N, out_channels, H, W), by mid_channels between; None = out_channels.

    >>> import torch
    >>> from aliasfree import Config
    >>> from aliasfree.nn import DoubleConv, Layers
    >>> tuple(DoubleConv(Layers(Config.parse("D-hq")), 3, 8)(torch.zeros(1, 3, 8, 8)).shape)
    (1, 8, 8, 8)
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        mid_channels: int | None = None,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        mid = mid_channels or out_channels
        self.residual = residual
        self.conv1 = layers.conv(in_channels, mid)
        self.norm1 = layers.norm(mid)
        self.conv2 = layers.conv(mid, out_channels)
        self.norm2 = layers.norm(out_channels)
        self.act = layers.activation()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        return self.act(x + y) if self.residual else y


class DownBlock(nn.Module):
    """Halve, residual double convolution, double convolution, add the projected embedding.

    (N, in_channels, H, W) and embedding (N, embedding_width) to (N, out_channels, H/2, W/2); H and W even.

    >>> import torch
    >>> from aliasfree import Config
    >>> from aliasfree.nn import DownBlock, Layers, time_encoding
    >>> block = DownBlock(Layers(Config.parse("D-hq")), 4, 8, embedding_width=16)
    >>> tuple(block(torch.zeros(1, 4, 8, 8), time_encoding(torch.tensor([10]), 16)).shape)
    (1, 8, 4, 4)
    """

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, embedding_width: int) -> None:
        super().__init__()
        self.resample = layers.downsample()
        self.res = DoubleConv(layers, in_channels, in_channels, residual=True)
        self.conv = DoubleConv(layers, in_channels, out_channels)
        self.emb = nn.Linear(embedding_width, out_channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv(self.res(self.resample(x)))
        return y + self.emb(F.silu(embedding))[:, :, None, None]


class UpBlock(nn.Module):
    """Double, concatenate the skip in front, residual double convolution, double convolution, add the embedding.

    x (N, C, H, W), skip (N, in_channels - C, 2H, 2W) and embedding (N, embedding_width) to (N, out_channels, 2H, 2W).

    >>> import torch
    >>> from aliasfree import Config
    >>> from aliasfree.nn import Layers, UpBlock, time_encoding
    >>> block = UpBlock(Layers(Config.parse("D-hq")), 8, 4, embedding_width=16)  # 8 = 4 of x and 4 of the skip
    >>> x, skip = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 8, 8)
    >>> tuple(block(x, skip, time_encoding(torch.tensor([10]), 16)).shape)
    (1, 4, 8, 8)
    """

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, embedding_width: int) -> None:
        super().__init__()
        self.resample = layers.upsample()
        self.res = DoubleConv(layers, in_channels, in_channels, residual=True)
        self.conv = DoubleConv(layers, in_channels, out_channels, in_channels // 2)
        self.emb = nn.Linear(embedding_width, out_channels)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        y = torch.cat([skip, self.resample(x)], dim=1)
        y = self.conv(self.res(y))
        return y + self.emb(F.silu(embedding))[:, :, None, None]


@cache_constants(maxsize=16)
def _inverse_frequencies(width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        exponents = torch.arange(0, width, 2, device=device).float() / width
        return 1.0 / torch.pow(torch.tensor(10000.0, device=device), exponents)


def time_encoding(t: Tensor, width: int = 256) -> Tensor:
    """Sinusoidal encoding of the timesteps t (N,), float32 (N, width): sines of t 10000^(-2k/width), then cosines.

    >>> import torch
    >>> from aliasfree.nn import time_encoding
    >>> time_encoding(torch.tensor([0, 500]), width=4)[0]
    tensor([0., 0., 1., 1.])
    """
    angle = t.float()[:, None] * _inverse_frequencies(width, t.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
