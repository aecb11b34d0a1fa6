"""Parts of diffusers that resample or act on tokens of planes, converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import Tensor

from aliasfree.conversion.converted_module import Converted, Rule, register_block
from aliasfree.conversion.plane_filters import PlaneFilters, is_plane
from aliasfree.conversion.resampling import Local

__all__ = [
    "AliasFreeAttention",
    "AliasFreeControlNetConditioningEmbedding",
    "AliasFreeDownsample2D",
    "AliasFreeFirDownsample2D",
    "AliasFreeFirUpsample2D",
    "AliasFreeGEGLU",
    "AliasFreeKDownsample2D",
    "AliasFreeKUpsample2D",
    "AliasFreeTransformer2DModel",
    "AliasFreeUpsample2D",
    "Filter",
    "OnTorus",
]


@register_block
class AliasFreeUpsample2D(Converted, Upsample2D):
    """diffusers' upsampling: band-limited interpolation, then its convolution."""

    change = "band-limited interpolation"

    def forward(self, hidden_states: Tensor, output_size: Any = None, *_: Any, **__: Any) -> Tensor:
        if self.norm is not None:
            hidden_states = self.norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        hidden_states = self._filters.interpolate(hidden_states, 2, output_size)
        if not self.use_conv:
            return hidden_states
        return cast(Tensor, (self.conv if self.name == "conv" else self.Conv2d_0)(hidden_states))


@register_block
class AliasFreeDownsample2D(Converted, Downsample2D):
    """diffusers' strided convolution (its stride is 1 now), low-pass, every second sample.

    With `padding=0` (encoders of autoencoders) the stock module puts a row and a column of zeros behind the plane.
    """

    change = "low-pass and decimation by 2 after its convolution"

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.norm is not None:
            hidden_states = self.norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        filters = self._filters
        if not filters.config.filters_resampling:  # only the padding is another
            filters.check_whole(hidden_states, 2)
            return cast(Tensor, self.conv(filters.pad(hidden_states, (0, 1, 0, 1), "zeros")))
        if self.padding != 0:
            return filters.decimate(self.conv(hidden_states), 2)
        h, w = hidden_states.shape[-2:]
        rows, columns = (2 if filters.padding_mode or wraps else 1 for wraps in filters.wraps)
        padded = filters.pad(hidden_states, (0, columns, 0, rows), "zeros")
        return filters.decimate(self.conv(padded), 2)[..., : h // 2, : w // 2]


@register_block
class AliasFreeFirDownsample2D(Local, FirDownsample2D):
    """diffusers' 4-tap FIR downsampling: its filter at full rate, low-pass, every second sample."""

    change = "its filter at full rate, low-pass, decimation by 2"

    ratio = (1, 2)

    def filtered(self, hidden_states: Tensor) -> Tensor:
        return fir_downsample(self._filters, hidden_states, self.fir_kernel)


@register_block
class AliasFreeFirUpsample2D(Local, FirUpsample2D):
    """diffusers' 4-tap FIR upsampling: band-limited interpolation."""

    change = "band-limited interpolation"

    ratio = (2, 1)

    def filtered(self, hidden_states: Tensor) -> Tensor:
        return self._filters.interpolate(hidden_states)


@register_block
class AliasFreeKDownsample2D(Local, KDownsample2D):
    """The same of the k-upscaler's UNet."""

    change = "its filter at full rate, low-pass, decimation by 2"

    ratio = (1, 2)

    def filtered(self, inputs: Tensor) -> Tensor:
        return fir_downsample(self._filters, inputs, (1, 3, 3, 1))


@register_block
class AliasFreeKUpsample2D(Local, KUpsample2D):
    """The same of the k-upscaler's UNet."""

    change = "band-limited interpolation"

    ratio = (2, 1)

    def filtered(self, inputs: Tensor) -> Tensor:
        return self._filters.interpolate(inputs)


@register_block
class AliasFreeControlNetConditioningEmbedding(Converted, ControlNetConditioningEmbedding):
    """The condition's encoder: strided convolutions and functional SiLUs.

    decimations   what the stride of each of its `blocks` was
    """

    rule: ClassVar[Rule] = "condition_encoder"

    decimations: tuple[int, ...]

    def forward(self, conditioning: Tensor) -> Tensor:
        x = self._activate(self.conv_in(conditioning))
        for block, factor in zip(self.blocks, self.decimations, strict=True):
            x = block(x)
            if factor > 1:
                x = self._filters.decimate(x, factor)
            x = self._activate(x)
        return cast(Tensor, self.conv_out(x))

    def _activate(self, x: Tensor) -> Tensor:
        if not (self._filters.config.filters_activations and is_plane(x)):
            return F.silu(x)
        return self._filters.activate(x, "silu", training=self.training)


@register_block
class AliasFreeGEGLU(Converted, GEGLU):
    """The gated GELU of a transformer's feed-forward layer over the tokens of a plane, evaluated as planes.

    plane   (H, W), told by the transformer at every call
    """

    rule: ClassVar[Rule] = "transformer"

    plane: tuple[int, int]

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        planes = self.proj(hidden_states).mT.unflatten(2, self.plane)
        return self._filters.gate(planes, F.gelu, training=self.training).flatten(2).mT


@register_block
class AliasFreeAttention(Converted, Attention):
    """Attention over the pixels of a plane, carried out at a higher rate: a softmax over grid points is a sum that
    stands for an integral, and its integrand has more bandwidth than the keys.

    attention_rate   2 or 4
    plane            (H, W) of tokens, told by the transformer at every call; None = it is given planes
    """

    rule: ClassVar[Rule] = "transformer"

    attention_rate: int
    plane: tuple[int, int] | None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        stock, rate, plane = super().forward, self.attention_rate, self.plane
        if hidden_states.ndim == 4:
            return self._filters.at_rate(hidden_states, rate, lambda x: cast(Tensor, stock(x, *args, **kwargs)))
        if plane is None:
            return cast(Tensor, stock(hidden_states, *args, **kwargs))
        size = (rate * plane[0], rate * plane[1])

        def attend(planes: Tensor) -> Tensor:
            return cast(Tensor, stock(planes.flatten(2).mT, *args, **kwargs)).mT.unflatten(2, size)

        return self._filters.at_rate(hidden_states.mT.unflatten(2, plane), rate, attend).flatten(2).mT


@register_block
class AliasFreeTransformer2DModel(Converted, Transformer2DModel):
    """Tells its feed-forward and attention layers the shape of the plane whose pixels are its tokens."""

    rule: ClassVar[Rule] = "transformer"

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        plane = (hidden_states.shape[-2], hidden_states.shape[-1])
        for block in self.transformer_blocks:
            for layer in (block.ff.net[0], block.attn1, block.attn2):
                if isinstance(layer, AliasFreeGEGLU | AliasFreeAttention):
                    layer.plane = plane
        return super().forward(hidden_states, *args, **kwargs)


@dataclass(frozen=True)
class Filter:
    """What replaces the functions `upsample` and `downsample` that a residual block holds instead of modules.

    up     upsample (else downsample)
    line   taps of the stock filter before decimation
    """

    filters: PlaneFilters
    up: bool
    line: tuple[int, ...] = (1, 3, 3, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.filters.interpolate(x) if self.up else fir_downsample(self.filters, x, self.line)


@dataclass(frozen=True)
class OnTorus:
    """The same functions on a plane that is tiled, in a config that filters no resampling."""

    filters: PlaneFilters
    function: Callable[[Tensor], Tensor]
    up: bool

    def __call__(self, x: Tensor) -> Tensor:
        up, down = (2, 1) if self.up else (1, 2)
        self.filters.check_whole(x, down)
        return self.filters.on_torus(x, 4, self.function, up, down)


def fir_downsample(filters: PlaneFilters, x: Tensor, line: tuple[int, ...]) -> Tensor:
    """Filter planes with the symmetric taps `line` (scaled to sum 1) of even length, output i centred at 2 i + 0.5,
    at full rate; then low-pass and decimate. (N, C, H, W) to (N, C, H // 2, W // 2)."""
    c, h, w = x.shape[1:]
    before, after = len(line) // 2 - 1, len(line) // 2
    z = filters.extend(x, after, before)
    taps = x.new_tensor(line) / sum(line)
    z = F.conv2d(z, taps.reshape(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    z = F.conv2d(z, taps.reshape(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    return filters.decimate(z, 2)[..., : h // 2, : w // 2]
