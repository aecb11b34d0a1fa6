"""The paper's UNet built the slow way, with the weights of one of ours: what the paper's published code does.

Filters are carried out literally and each attention is an `nn.MultiheadAttention` asked for its weights. Written out
here, not made by surgery on `AliasFreeUNet2DModel`, so that nothing that makes the library faster makes this faster.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.config import Config
from aliasfree.errors import ArgumentError
from aliasfree.models import AliasFreeUNet2DModel
from benchmarks.literal import LiteralDownsample2d, LiteralFilteredGELU2d, LiteralUpsample2d

__all__ = ["SlowUNet"]

EMBEDDING_WIDTH = 256


class _Layers:
    """The layers of a config."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def activation(self) -> nn.Module:
        c = self.config
        if c.filters_activations and c.up and c.down:
            return LiteralFilteredGELU2d(c.up.at_rate(c.oversample), c.down.at_rate(c.oversample), c.oversample)
        return nn.GELU()

    def downsample(self) -> nn.Module:
        c = self.config
        return LiteralDownsample2d(c.down) if c.filters_resampling and c.down else nn.MaxPool2d(2)

    def upsample(self) -> nn.Module:
        c = self.config
        if c.filters_resampling and c.up:
            return LiteralUpsample2d(c.up)
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


class _DoubleConv(nn.Module):
    def __init__(self, layers: _Layers, inner: int, outer: int, mid: int | None = None, residual: bool = False) -> None:
        super().__init__()
        mid = mid or outer
        self.residual = residual
        self.conv1 = nn.Conv2d(inner, mid, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(1, mid)
        self.conv2 = nn.Conv2d(mid, outer, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(1, outer)
        self.act = layers.activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        if self.residual:
            y = self.act(x + y)
        return y


class _DownBlock(nn.Module):
    def __init__(self, layers: _Layers, inner: int, outer: int) -> None:
        super().__init__()
        self.resample = layers.downsample()
        self.res = _DoubleConv(layers, inner, inner, residual=True)
        self.conv = _DoubleConv(layers, inner, outer)
        self.emb = nn.Linear(EMBEDDING_WIDTH, outer)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.conv(self.res(self.resample(x)))
        emb = self.emb(F.silu(t))[:, :, None, None].repeat(1, 1, *y.shape[-2:])
        return y + emb


class _UpBlock(nn.Module):
    def __init__(self, layers: _Layers, inner: int, outer: int) -> None:
        super().__init__()
        self.resample = layers.upsample()
        self.res = _DoubleConv(layers, inner, inner, residual=True)
        self.conv = _DoubleConv(layers, inner, outer, inner // 2)
        self.emb = nn.Linear(EMBEDDING_WIDTH, outer)

    def forward(self, x: Tensor, skip: Tensor, t: Tensor) -> Tensor:
        y = self.conv(self.res(torch.cat([skip, self.resample(x)], dim=1)))
        emb = self.emb(F.silu(t))[:, :, None, None].repeat(1, 1, *y.shape[-2:])
        return y + emb


class _SelfAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(channels, 4, batch_first=True)
        self.norm = nn.LayerNorm(channels)
        self.ff_norm = nn.LayerNorm(channels)
        self.ff1 = nn.Linear(channels, channels)
        self.ff2 = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.reshape(n, c, h * w).transpose(1, 2)
        normed = self.norm(tokens)
        # the weights (N, HW, HW) are computed, averaged over the heads and dropped
        attended, _ = self.mha(normed, normed, normed, need_weights=True)
        y = attended + tokens
        y = self.ff2(F.gelu(self.ff1(self.ff_norm(y)))) + y
        return y.transpose(1, 2).reshape(n, c, h, w)


class SlowUNet(nn.Module):
    """The slow build of `model`, with a copy of its weights, on its device.

    Zero padding and no classes, as in the published code. Raises ArgumentError for a model that has either otherwise.
    """

    def __init__(self, model: AliasFreeUNet2DModel) -> None:
        super().__init__()
        self.config: dict[str, Any] = dict(model.config)
        if self.config["padding_mode"] != "zeros" or self.config["num_class_embeds"] is not None:
            raise ArgumentError("the published code has zero padding and no classes: compare with such a model")
        layers = _Layers(Config.parse(self.config["alias_free"]))
        c = model.outc.in_channels
        self.inc = _DoubleConv(layers, self.config["in_channels"], c)
        self.down1, self.attn1 = _DownBlock(layers, c, 2 * c), _SelfAttention(2 * c)
        self.down2, self.attn2 = _DownBlock(layers, 2 * c, 4 * c), _SelfAttention(4 * c)
        self.down3, self.attn3 = _DownBlock(layers, 4 * c, 4 * c), _SelfAttention(4 * c)
        self.bot1 = _DoubleConv(layers, 4 * c, 8 * c)
        self.bot2 = _DoubleConv(layers, 8 * c, 8 * c)
        self.bot3 = _DoubleConv(layers, 8 * c, 4 * c)
        self.up1, self.attn4 = _UpBlock(layers, 8 * c, 2 * c), _SelfAttention(2 * c)
        self.up2, self.attn5 = _UpBlock(layers, 4 * c, c), _SelfAttention(c)
        self.up3, self.attn6 = _UpBlock(layers, 2 * c, c), _SelfAttention(c)
        self.outc = nn.Conv2d(c, self.config["out_channels"], 1)
        self.load_state_dict({_slow_name(name): value for name, value in model.state_dict().items()})
        self.to(model.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.outc.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.outc.weight.dtype

    def forward(self, sample: Tensor, timestep: Tensor | float) -> UNet2DOutput:
        """Predict the noise in `sample` (N, C, H, W) at `timestep`, a number or (N,)."""
        t = self._time_encoding(torch.as_tensor(timestep, device=sample.device).expand(len(sample)))
        x1 = self.inc(sample)
        x2 = self.attn1(self.down1(x1, t))
        x3 = self.attn2(self.down2(x2, t))
        x4 = self.attn3(self.down3(x3, t))
        x4 = self.bot3(self.bot2(self.bot1(x4)))
        y = self.attn4(self.up1(x4, x3, t))
        y = self.attn5(self.up2(y, x2, t))
        y = self.attn6(self.up3(y, x1, t))
        return UNet2DOutput(sample=self.outc(y))

    def _time_encoding(self, t: Tensor) -> Tensor:
        k = torch.arange(0, EMBEDDING_WIDTH, 2, device=t.device).float()
        angle = t.float()[:, None] / 10000 ** (k / EMBEDDING_WIDTH)
        return torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.dtype)


def _slow_name(name: str) -> str:
    """The slow build's name of one of our parameters."""
    name = re.sub(r"^(attn\d)\.qkv\.", r"\1.mha.in_proj_", name)
    return re.sub(r"^(attn\d)\.out\.", r"\1.mha.out_proj.", name)
