"""torch's resampling modules, and the upsampling made of them, converted.

Every strided operation is treated alike: carried out at stride 1, low-passed, and every stride-th sample kept.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageUpsample
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from torch import Tensor, nn

from aliasfree.conversion.converted_module import Converted, Rule, register_block
from aliasfree.conversion.plane_filters import Window, on_planes

__all__ = [
    "AliasFreeAvgPool2d",
    "AliasFreeConv2d",
    "AliasFreeConv3d",
    "AliasFreeConvTranspose2d",
    "AliasFreeMaxPool2d",
    "AliasFreePad2d",
    "AliasFreePaddedConv2d",
    "AliasFreePixelShuffle",
    "AliasFreePixelUnshuffle",
    "AliasFreeQwenImageUpsample",
    "AliasFreeReflectionPad2d",
    "AliasFreeReplicationPad2d",
    "AliasFreeUpsample",
    "AliasFreeUpsamplingNearest2d",
    "AliasFreeWanUpsample",
    "AliasFreeZeroPad2d",
    "Local",
    "sides",
    "sides_of",
]


@register_block
class AliasFreeConv2d(Converted, nn.Conv2d):
    """A strided convolution: at stride 1, low-pass, every `decimation`-th sample.

    around   (left, right, top, bottom): the padding of a module before it, which it does itself; None = its own
    """

    rule: ClassVar[Rule] = "convolution"

    decimation: int
    around: tuple[int, int, int, int] | None

    def forward(self, input: Tensor) -> Tensor:
        filters, factor = self._filters, self.decimation
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        left, right, top, bottom = self.around or _around(self.padding)
        axes = [[top, bottom], [left, right]]
        size = [(n + sum(p) - r - 1) // factor + 1 for n, p, r in zip(input.shape[-2:], axes, reach, strict=True)]
        grown = False
        for axis, n in enumerate(input.shape[-2:]):
            before, r = axes[axis][0], reach[axis]
            # on a torus there is a result for each sample
            if filters.wraps[axis] and before <= r and size[axis] <= -(-n // factor):
                axes[axis], grown = [before, r - before], True
        if self.around is None and not grown:
            return filters.decimate(super().forward(input), factor)
        z = filters.pad(input, (*axes[1], *axes[0]), self.padding_mode)
        z = F.conv2d(z, self.weight, self.bias, 1, 0, self.dilation, self.groups)
        return filters.decimate(z, factor)[..., : size[0], : size[1]]


class AliasFreePaddedConv2d(Converted, nn.Conv2d):
    """A convolution of a plane that is tiled: it finds the other side there, and its own padding along other axes."""

    def forward(self, input: Tensor) -> Tensor:
        filters = self._filters
        left, right, top, bottom = self._reversed_padding_repeated_twice
        if self.stride != (1, 1) and any((left, right, top, bottom)):
            filters.check_whole(input, self.stride[0])
        z = filters.pad(input, (left, right, top, bottom), self.padding_mode)
        return F.conv2d(z, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


@register_block
class AliasFreeConv3d(Converted, nn.Conv3d):
    """A convolution of videos (N, C, T, H, W): rows and columns padded as asked, and if it is strided along them, at
    stride 1, low-passed frame by frame, every `decimation`-th sample. Frames are taken as before."""

    rule: ClassVar[Rule] = "video_convolution"

    decimation: int
    outside: bool

    def forward(self, input: Tensor) -> Tensor:
        filters = self._filters
        padding = list(self.padding) if isinstance(self.padding, tuple) else None
        if self.outside and padding is not None:
            input = filters.pad(input, (padding[2], padding[2], padding[1], padding[1]), self.padding_mode)
            padding = [padding[0], 0, 0]
        z = F.conv3d(input, self.weight, self.bias, self.stride, padding or self.padding, self.dilation, self.groups)
        if self.decimation == 1:
            return z
        return on_planes(z, (3, 4), lambda planes: filters.decimate(planes, self.decimation))


class Local(Converted):
    """Resampling that looks at neighbours only: filtered; or in a config that filters none, as it was, on a plane that
    is tiled.

    ratio   by which its result is larger, and smaller
    reach   how far it looks, in pixels of what it is given
    """

    ratio: ClassVar[tuple[int, int]]
    reach: ClassVar[int] = 4

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        filters, stock = self._filters, super().forward
        if filters.config.filters_resampling:
            return self.filtered(input, *args, **kwargs)
        up, down = self.ratio
        filters.check_whole(input, down)
        return filters.on_torus(input, self.reach, lambda x: cast(Tensor, stock(x, *args, **kwargs)), up, down)

    def filtered(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError


@register_block
class AliasFreeConvTranspose2d(Local, nn.ConvTranspose2d):
    """A transposed convolution: band-limited interpolation in place of the zeros between samples, then its kernel."""

    change = "band-limited interpolation, then its kernel"

    @property
    def ratio(self) -> tuple[int, int]:  # type: ignore[override]
        return int(self.stride[0]), 1

    @property
    def reach(self) -> int:  # type: ignore[override]
        return max(d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)) + 1

    def filtered(self, input: Tensor, output_size: Any = None) -> Tensor:
        filters, s = self._filters, int(self.stride[0])
        given: tuple[Any, ...] = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        more = self._output_padding(input, output_size, *given)
        own: tuple[int, ...] = given[1]
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        size = [(n - 1) * s - 2 * p + r + 1 + o for n, p, r, o in zip(input.shape[-2:], own, reach, more, strict=True)]
        u = filters.insert(input, s)
        margin = [0, 0]
        if any(filters.around):
            margin = [r * wraps for r, wraps in zip(reach, filters.around, strict=True)]
            u = filters.pad(u, (margin[1], margin[1], margin[0], margin[0]), "circular")
        padding = tuple(p + m for p, m in zip(own, margin, strict=True))
        weight = self.weight / s**2  # the zeros carried nothing
        y = F.conv_transpose2d(u, weight, self.bias, 1, padding, 0, self.groups, self.dilation)
        return y[..., : size[0], : size[1]]


class Pool(Local):
    """A strided pool."""

    @property
    def ratio(self) -> tuple[int, int]:  # type: ignore[override]
        return 1, int(sides(self.stride)[0])

    @property
    def reach(self) -> int:  # type: ignore[override]
        return int(sides(self.kernel_size)[0]) * int(sides(getattr(self, "dilation", 1))[0])


@register_block
class AliasFreeAvgPool2d(Pool, nn.AvgPool2d):
    """An average pool: the average at stride 1, low-pass, every stride-th sample."""

    change = "average at full rate, low-pass"

    def filtered(self, input: Tensor) -> Tensor:
        k, s, p = (sides(v)[0] for v in (self.kernel_size, self.stride, self.padding))

        def average(x: Tensor, padding: tuple[int, int]) -> Tensor:
            return F.avg_pool2d(x, k, 1, padding, count_include_pad=self.count_include_pad)

        return self._filters.pool(input, s, Window(k, p, ceil=self.ceil_mode), average)


@register_block
class AliasFreeMaxPool2d(Pool, nn.MaxPool2d):
    """A max pool: the maximum at stride 1, low-pass, every stride-th sample."""

    change = "maximum at full rate, low-pass"

    def filtered(self, input: Tensor) -> Tensor:
        k, s, p, d = (sides(v)[0] for v in (self.kernel_size, self.stride, self.padding, self.dilation))

        def maximum(x: Tensor, padding: tuple[int, int]) -> Tensor:
            return F.max_pool2d(x, k, 1, padding, d)

        return self._filters.pool(input, s, Window(k, p, d, self.ceil_mode), maximum)


@register_block
class AliasFreePixelShuffle(Converted, nn.PixelShuffle):
    """Channels to pixels, then without what the lower rate could not carry."""

    change = "low-passed after the shuffle"

    def forward(self, input: Tensor) -> Tensor:
        return self._filters.low_pass(super().forward(input), self.upscale_factor)


@register_block
class AliasFreePixelUnshuffle(Converted, nn.PixelUnshuffle):
    """Planes without what the lower rate cannot carry, then pixels to channels."""

    change = "low-passed before the shuffle"

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self._filters.low_pass(input, self.downscale_factor))


class AliasFreePad2d(Converted):
    """Padding of planes in another way than the stock module's `own`.

    outside   False = the module after it pads
    """

    rule: ClassVar[Rule] = "padding"

    outside: bool
    own: ClassVar[str]

    def forward(self, input: Tensor) -> Tensor:
        return self._filters.pad(input, sides_of(self.padding), self.own) if self.outside else input


@register_block
class AliasFreeZeroPad2d(AliasFreePad2d, nn.ZeroPad2d):
    own = "zeros"


@register_block
class AliasFreeReplicationPad2d(AliasFreePad2d, nn.ReplicationPad2d):
    own = "replicate"


@register_block
class AliasFreeReflectionPad2d(AliasFreePad2d, nn.ReflectionPad2d):
    own = "reflect"


@register_block
class AliasFreeUpsample(Local, nn.Upsample):
    """Nearest-neighbour, bilinear or bicubic upsampling: band-limited interpolation. Signals and volumes pass it as
    before."""

    change = "band-limited interpolation"

    @property
    def ratio(self) -> tuple[int, int]:  # type: ignore[override]
        return int(sides(self.scale_factor)[0]), 1

    def filtered(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            return super(Local, self).forward(input)
        factor = int(sides(self.scale_factor)[0]) if self.size is None else sides(self.size)[0] // input.shape[-2]
        size = None if self.size is None else sides(self.size)
        return self._filters.interpolate(input, factor, size)


@register_block
class AliasFreeUpsamplingNearest2d(AliasFreeUpsample, nn.UpsamplingNearest2d): ...


@register_block
class AliasFreeWanUpsample(AliasFreeUpsample, WanUpsample): ...


@register_block
class AliasFreeQwenImageUpsample(AliasFreeUpsample, QwenImageUpsample): ...


def sides_of(padding: Any) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of a module that pads."""
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    return left, right, top, bottom


def _around(padding: Any) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) of a convolution's `padding`."""
    rows, columns = (0, 0) if padding == "valid" else padding
    return columns, columns, rows, rows


def sides(value: Any) -> tuple[Any, Any]:
    """A value for height and width, given as one or as two."""
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)
