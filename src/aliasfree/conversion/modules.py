"""Known parts of diffusion models and what each becomes: the stock class with another `forward`.

A module is converted in place, by `__class__`; the stock class and the attributes that changed are noted in a
`Record`, so that they can be put back. No parameter and no buffer is added: state-dict keys stay.

Every strided operation is treated alike: carried out at stride 1, low-passed, and every stride-th sample kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch.nn.functional as F
from diffusers.models.activations import GEGLU, FP32SiLU
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageUpsample
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import Tensor, nn

from aliasfree.conversion.treatment import Axes, Treatment, Window, is_plane, on_planes

__all__ = [
    "ACTIVATIONS",
    "CONVERTED",
    "OWN",
    "AliasFreePaddedConv2d",
    "Converted",
    "Filter",
    "Local",
    "OnTorus",
    "Record",
    "sides",
    "sides_of",
]


@dataclass(frozen=True)
class Record:
    """How a touched module was before, and what was done to it."""

    stock: type[nn.Module]
    done: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Converted(nn.Module):
    """A module with filters."""

    _treatment: Treatment
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # diffusers' classes are untyped


OWN = ("decimation", "decimations", "plane", "axes", "around", "outside", "attention_rate")
"""Attributes that conversion adds to modules, and takes away again."""


class AliasFreeConv2d(Converted, nn.Conv2d):
    """A strided convolution: at stride 1, low-pass, every `decimation`-th sample.

    around   (left, right, top, bottom): the padding of a module before it, which it does itself; None = its own
    """

    decimation: int
    around: tuple[int, int, int, int] | None

    def forward(self, input: Tensor) -> Tensor:
        how, factor = self._treatment, self.decimation
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        left, right, top, bottom = self.around or _around(self.padding)
        axes = [[top, bottom], [left, right]]
        size = [(n + sum(p) - r - 1) // factor + 1 for n, p, r in zip(input.shape[-2:], axes, reach, strict=True)]
        grown = False
        for axis, n in enumerate(input.shape[-2:]):
            before, r = axes[axis][0], reach[axis]
            # on a torus there is a result for each sample
            if how.wraps[axis] and before <= r and size[axis] <= -(-n // factor):
                axes[axis], grown = [before, r - before], True
        if self.around is None and not grown:
            return how.decimate(super().forward(input), factor)
        z = how.pad(input, (*axes[1], *axes[0]), self.padding_mode)
        z = F.conv2d(z, self.weight, self.bias, 1, 0, self.dilation, self.groups)
        return how.decimate(z, factor)[..., : size[0], : size[1]]


class AliasFreePaddedConv2d(Converted, nn.Conv2d):
    """A convolution of a plane that is tiled: it finds the other side there, and its own padding along other axes."""

    def forward(self, input: Tensor) -> Tensor:
        how = self._treatment
        left, right, top, bottom = self._reversed_padding_repeated_twice
        if self.stride != (1, 1) and any((left, right, top, bottom)):
            how.check_whole(input, self.stride[0])
        z = how.pad(input, (left, right, top, bottom), self.padding_mode)
        return F.conv2d(z, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class AliasFreeConv3d(Converted, nn.Conv3d):
    """A convolution of videos (N, C, T, H, W): rows and columns padded as asked, and if it is strided along them, at
    stride 1, low-passed frame by frame, every `decimation`-th sample. Frames are taken as before."""

    decimation: int
    outside: bool

    def forward(self, input: Tensor) -> Tensor:
        how = self._treatment
        padding = list(self.padding) if isinstance(self.padding, tuple) else None
        if self.outside and padding is not None:
            input = how.pad(input, (padding[2], padding[2], padding[1], padding[1]), self.padding_mode)
            padding = [padding[0], 0, 0]
        z = F.conv3d(input, self.weight, self.bias, self.stride, padding or self.padding, self.dilation, self.groups)
        if self.decimation == 1:
            return z
        return on_planes(z, (3, 4), lambda planes: how.decimate(planes, self.decimation))


class Local(Converted):
    """Resampling that looks at neighbours only: filtered; or in a config that filters none, as it was, on a plane that
    is tiled.

    ratio   by which its result is larger, and smaller
    reach   how far it looks, in pixels of what it is given
    """

    ratio: tuple[int, int]
    reach: int = 4

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        how, stock = self._treatment, super().forward
        if how.config.filters_resampling:
            return self.filtered(input, *args, **kwargs)
        up, down = self.ratio
        how.check_whole(input, down)
        return how.on_torus(input, self.reach, lambda x: cast(Tensor, stock(x, *args, **kwargs)), up, down)

    def filtered(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError


class AliasFreeConvTranspose2d(Local, nn.ConvTranspose2d):
    """A transposed convolution: band-limited interpolation in place of the zeros between samples, then its kernel."""

    @property
    def ratio(self) -> tuple[int, int]:  # type: ignore[override]
        return int(self.stride[0]), 1

    @property
    def reach(self) -> int:  # type: ignore[override]
        return max(d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)) + 1

    def filtered(self, input: Tensor, output_size: Any = None) -> Tensor:
        how, s = self._treatment, int(self.stride[0])
        given: tuple[Any, ...] = (self.stride, self.padding, self.kernel_size, 2, self.dilation)
        more = self._output_padding(input, output_size, *given)
        own: tuple[int, ...] = given[1]
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        size = [(n - 1) * s - 2 * p + r + 1 + o for n, p, r, o in zip(input.shape[-2:], own, reach, more, strict=True)]
        u = how.insert(input, s)
        margin = [0, 0]
        if any(how.around):
            margin = [r * wraps for r, wraps in zip(reach, how.around, strict=True)]
            u = how.pad(u, (margin[1], margin[1], margin[0], margin[0]), "circular")
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


class AliasFreeAvgPool2d(Pool, nn.AvgPool2d):
    """An average pool: the average at stride 1, low-pass, every stride-th sample."""

    def filtered(self, input: Tensor) -> Tensor:
        k, s, p = (sides(v)[0] for v in (self.kernel_size, self.stride, self.padding))

        def average(x: Tensor, padding: tuple[int, int]) -> Tensor:
            return F.avg_pool2d(x, k, 1, padding, count_include_pad=self.count_include_pad)

        return self._treatment.pool(input, s, Window(k, p, ceil=self.ceil_mode), average)


class AliasFreeMaxPool2d(Pool, nn.MaxPool2d):
    """A max pool: the maximum at stride 1, low-pass, every stride-th sample."""

    def filtered(self, input: Tensor) -> Tensor:
        k, s, p, d = (sides(v)[0] for v in (self.kernel_size, self.stride, self.padding, self.dilation))

        def maximum(x: Tensor, padding: tuple[int, int]) -> Tensor:
            return F.max_pool2d(x, k, 1, padding, d)

        return self._treatment.pool(input, s, Window(k, p, d, self.ceil_mode), maximum)


class AliasFreePixelShuffle(Converted, nn.PixelShuffle):
    """Channels to pixels, then without what the lower rate could not carry."""

    def forward(self, input: Tensor) -> Tensor:
        return self._treatment.low_pass(super().forward(input), self.upscale_factor)


class AliasFreePixelUnshuffle(Converted, nn.PixelUnshuffle):
    """Planes without what the lower rate cannot carry, then pixels to channels."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self._treatment.low_pass(input, self.downscale_factor))


class AliasFreePad2d(Converted):
    """Padding of planes in another way than the stock module's `own`.

    outside   False = the module after it pads
    """

    outside: bool
    own: str

    def forward(self, input: Tensor) -> Tensor:
        return self._treatment.pad(input, sides_of(self.padding), self.own) if self.outside else input


class AliasFreeZeroPad2d(AliasFreePad2d, nn.ZeroPad2d):
    own = "zeros"


class AliasFreeReplicationPad2d(AliasFreePad2d, nn.ReplicationPad2d):
    own = "replicate"


class AliasFreeReflectionPad2d(AliasFreePad2d, nn.ReflectionPad2d):
    own = "reflect"


class AliasFreeUpsample(Local, nn.Upsample):
    """Nearest-neighbour, bilinear or bicubic upsampling: band-limited interpolation. Signals and volumes pass it as
    before."""

    @property
    def ratio(self) -> tuple[int, int]:  # type: ignore[override]
        return int(sides(self.scale_factor)[0]), 1

    def filtered(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            return super(Local, self).forward(input)
        factor = int(sides(self.scale_factor)[0]) if self.size is None else sides(self.size)[0] // input.shape[-2]
        size = None if self.size is None else sides(self.size)
        return self._treatment.interpolate(input, factor, size)


class AliasFreeUpsamplingNearest2d(AliasFreeUpsample, nn.UpsamplingNearest2d): ...


class AliasFreeWanUpsample(AliasFreeUpsample, WanUpsample): ...


class AliasFreeQwenImageUpsample(AliasFreeUpsample, QwenImageUpsample): ...


class AliasFreeUpsample2D(Converted, Upsample2D):
    """diffusers' upsampling: band-limited interpolation, then its convolution."""

    def forward(self, hidden_states: Tensor, output_size: Any = None, *_: Any, **__: Any) -> Tensor:
        if self.norm is not None:
            hidden_states = self.norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        hidden_states = self._treatment.interpolate(hidden_states, 2, output_size)
        if not self.use_conv:
            return hidden_states
        return cast(Tensor, (self.conv if self.name == "conv" else self.Conv2d_0)(hidden_states))


class AliasFreeDownsample2D(Converted, Downsample2D):
    """diffusers' strided convolution (its stride is 1 now), low-pass, every second sample.

    With `padding=0` (encoders of autoencoders) the stock module puts a row and a column of zeros behind the plane.
    """

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        if self.norm is not None:
            hidden_states = self.norm(hidden_states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        how = self._treatment
        if not how.config.filters_resampling:  # only the padding is another
            how.check_whole(hidden_states, 2)
            return cast(Tensor, self.conv(how.pad(hidden_states, (0, 1, 0, 1), "zeros")))
        if self.padding != 0:
            return how.decimate(self.conv(hidden_states), 2)
        h, w = hidden_states.shape[-2:]
        rows, columns = (2 if how.padding_mode or wraps else 1 for wraps in how.wraps)
        padded = how.pad(hidden_states, (0, columns, 0, rows), "zeros")
        return how.decimate(self.conv(padded), 2)[..., : h // 2, : w // 2]


class AliasFreeFirDownsample2D(Local, FirDownsample2D):
    """diffusers' 4-tap FIR downsampling: its filter at full rate, low-pass, every second sample."""

    ratio = (1, 2)

    def filtered(self, hidden_states: Tensor) -> Tensor:
        return fir_downsample(self._treatment, hidden_states, self.fir_kernel)


class AliasFreeFirUpsample2D(Local, FirUpsample2D):
    """diffusers' 4-tap FIR upsampling: band-limited interpolation."""

    ratio = (2, 1)

    def filtered(self, hidden_states: Tensor) -> Tensor:
        return self._treatment.interpolate(hidden_states)


class AliasFreeKDownsample2D(Local, KDownsample2D):
    """The same of the k-upscaler's UNet."""

    ratio = (1, 2)

    def filtered(self, inputs: Tensor) -> Tensor:
        return fir_downsample(self._treatment, inputs, (1, 3, 3, 1))


class AliasFreeKUpsample2D(Local, KUpsample2D):
    """The same of the k-upscaler's UNet."""

    ratio = (2, 1)

    def filtered(self, inputs: Tensor) -> Tensor:
        return self._treatment.interpolate(inputs)


class AliasFreeControlNetConditioningEmbedding(Converted, ControlNetConditioningEmbedding):
    """The condition's encoder: strided convolutions and functional SiLUs.

    decimations   what the stride of each of its `blocks` was
    """

    decimations: tuple[int, ...]

    def forward(self, conditioning: Tensor) -> Tensor:
        x = self._activate(self.conv_in(conditioning))
        for block, factor in zip(self.blocks, self.decimations, strict=True):
            x = block(x)
            if factor > 1:
                x = self._treatment.decimate(x, factor)
            x = self._activate(x)
        return cast(Tensor, self.conv_out(x))

    def _activate(self, x: Tensor) -> Tensor:
        if not (self._treatment.config.filters_activations and is_plane(x)):
            return F.silu(x)
        return self._treatment.activate(x, "silu", training=self.training)


class AliasFreeGEGLU(Converted, GEGLU):
    """The gated GELU of a transformer's feed-forward layer over the tokens of a plane, evaluated as planes.

    plane   (H, W), told by the transformer at every call
    """

    plane: tuple[int, int]

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        planes = self.proj(hidden_states).mT.unflatten(2, self.plane)
        return self._treatment.gate(planes, F.gelu, training=self.training).flatten(2).mT


class AliasFreeAttention(Converted, Attention):
    """Attention over the pixels of a plane, carried out at a higher rate: a softmax over grid points is a sum that
    stands for an integral, and its integrand has more bandwidth than the keys.

    attention_rate   2 or 4
    plane            (H, W) of tokens, told by the transformer at every call; None = it is given planes
    """

    attention_rate: int
    plane: tuple[int, int] | None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        stock, rate, plane = super().forward, self.attention_rate, self.plane
        if hidden_states.ndim == 4:
            return self._treatment.at_rate(hidden_states, rate, lambda x: cast(Tensor, stock(x, *args, **kwargs)))
        if plane is None:
            return cast(Tensor, stock(hidden_states, *args, **kwargs))
        size = (rate * plane[0], rate * plane[1])

        def attend(planes: Tensor) -> Tensor:
            return cast(Tensor, stock(planes.flatten(2).mT, *args, **kwargs)).mT.unflatten(2, size)

        return self._treatment.at_rate(hidden_states.mT.unflatten(2, plane), rate, attend).flatten(2).mT


class AliasFreeTransformer2DModel(Converted, Transformer2DModel):
    """Tells its feed-forward and attention layers the shape of the plane whose pixels are its tokens."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        plane = (hidden_states.shape[-2], hidden_states.shape[-1])
        for block in self.transformer_blocks:
            for layer in (block.ff.net[0], block.attn1, block.attn2):
                if isinstance(layer, AliasFreeGEGLU | AliasFreeAttention):
                    layer.plane = plane
        return super().forward(hidden_states, *args, **kwargs)


class FilteredActivation(Converted):
    """A nonlinearity filtered on planes; what is none (a time embedding) passes it as before.

    axes   where rows and columns lie, by the number of axes of the tensor
    """

    axes: Axes
    kernel: str | None = None  # name of the fused kernel; None = the module's own function

    def forward(self, input: Tensor) -> Tensor:
        axes = self.axes.get(input.ndim)
        if axes is None or (input.shape[axes[0]], input.shape[axes[1]]) == (1, 1):
            return cast(Tensor, super().forward(input))
        return on_planes(input, axes, self._filtered)

    def _filtered(self, planes: Tensor) -> Tensor:
        return self._treatment.activate(planes, self.kernel or super().forward, training=self.training)


class AliasFreeSiLU(FilteredActivation, nn.SiLU):
    kernel = "silu"


class AliasFreeReLU(FilteredActivation, nn.ReLU):
    kernel = "relu"


class AliasFreeGELU(FilteredActivation, nn.GELU):
    """Exact or, with `approximate="tanh"`, approximate."""

    def _filtered(self, planes: Tensor) -> Tensor:
        how = "gelu" if self.approximate == "none" else lambda x: F.gelu(x, approximate=self.approximate)
        return self._treatment.activate(planes, how, training=self.training)


class AliasFreeGLU(FilteredActivation, nn.GLU):
    """a sigmoid(b), of the two halves of the channels."""

    def _filtered(self, planes: Tensor) -> Tensor:
        return self._treatment.gate(planes, F.sigmoid, training=self.training)


class AliasFreeFP32SiLU(FilteredActivation, FP32SiLU): ...


class AliasFreeMish(FilteredActivation, nn.Mish): ...


class AliasFreeLeakyReLU(FilteredActivation, nn.LeakyReLU): ...


class AliasFreePReLU(FilteredActivation, nn.PReLU): ...


class AliasFreeELU(FilteredActivation, nn.ELU): ...


class AliasFreeSELU(FilteredActivation, nn.SELU): ...


class AliasFreeCELU(FilteredActivation, nn.CELU): ...


class AliasFreeReLU6(FilteredActivation, nn.ReLU6): ...


class AliasFreeHardtanh(FilteredActivation, nn.Hardtanh): ...


class AliasFreeHardswish(FilteredActivation, nn.Hardswish): ...


class AliasFreeHardsigmoid(FilteredActivation, nn.Hardsigmoid): ...


class AliasFreeSoftplus(FilteredActivation, nn.Softplus): ...


class AliasFreeTanh(FilteredActivation, nn.Tanh): ...


class AliasFreeSigmoid(FilteredActivation, nn.Sigmoid): ...


@dataclass(frozen=True)
class Filter:
    """What replaces the functions `upsample` and `downsample` that a residual block holds instead of modules.

    up     upsample (else downsample)
    line   taps of the stock filter before decimation
    """

    treatment: Treatment
    up: bool
    line: tuple[int, ...] = (1, 3, 3, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.treatment.interpolate(x) if self.up else fir_downsample(self.treatment, x, self.line)


@dataclass(frozen=True)
class OnTorus:
    """The same functions on a plane that is tiled, in a config that filters no resampling."""

    treatment: Treatment
    function: Callable[[Tensor], Tensor]
    up: bool

    def __call__(self, x: Tensor) -> Tensor:
        up, down = (2, 1) if self.up else (1, 2)
        self.treatment.check_whole(x, down)
        return self.treatment.on_torus(x, 4, self.function, up, down)


def fir_downsample(treatment: Treatment, x: Tensor, line: tuple[int, ...]) -> Tensor:
    """Filter planes with the symmetric taps `line` (scaled to sum 1) of even length, output i centred at 2 i + 0.5,
    at full rate; then low-pass and decimate. (N, C, H, W) to (N, C, H // 2, W // 2)."""
    c, h, w = x.shape[1:]
    before, after = len(line) // 2 - 1, len(line) // 2
    z = treatment.extend(x, after, before)
    taps = x.new_tensor(line) / sum(line)
    z = F.conv2d(z, taps.reshape(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    z = F.conv2d(z, taps.reshape(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    return treatment.decimate(z, 2)[..., : h // 2, : w // 2]


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


ACTIVATIONS: dict[type[nn.Module], type[FilteredActivation]] = {
    cls.__bases__[1]: cls
    for cls in (
        AliasFreeSiLU,
        AliasFreeReLU,
        AliasFreeGELU,
        AliasFreeGLU,
        AliasFreeFP32SiLU,
        AliasFreeMish,
        AliasFreeLeakyReLU,
        AliasFreePReLU,
        AliasFreeELU,
        AliasFreeSELU,
        AliasFreeCELU,
        AliasFreeReLU6,
        AliasFreeHardtanh,
        AliasFreeHardswish,
        AliasFreeHardsigmoid,
        AliasFreeSoftplus,
        AliasFreeTanh,
        AliasFreeSigmoid,
    )
}
"""stock class -> its filtered counterpart. Another activation takes one class above and one line here."""

PADS: dict[type[nn.Module], type[AliasFreePad2d]] = {
    cls.__bases__[1]: cls for cls in (AliasFreeZeroPad2d, AliasFreeReplicationPad2d, AliasFreeReflectionPad2d)
}
"""stock padding of planes -> its counterpart with another padding."""

CONVERTED: dict[type[nn.Module], type[Converted]] = {
    nn.Conv2d: AliasFreeConv2d,
    nn.Conv3d: AliasFreeConv3d,
    nn.ConvTranspose2d: AliasFreeConvTranspose2d,
    nn.AvgPool2d: AliasFreeAvgPool2d,
    nn.MaxPool2d: AliasFreeMaxPool2d,
    nn.PixelShuffle: AliasFreePixelShuffle,
    nn.PixelUnshuffle: AliasFreePixelUnshuffle,
    nn.Upsample: AliasFreeUpsample,
    nn.UpsamplingNearest2d: AliasFreeUpsamplingNearest2d,
    WanUpsample: AliasFreeWanUpsample,
    QwenImageUpsample: AliasFreeQwenImageUpsample,
    Upsample2D: AliasFreeUpsample2D,
    Downsample2D: AliasFreeDownsample2D,
    FirDownsample2D: AliasFreeFirDownsample2D,
    FirUpsample2D: AliasFreeFirUpsample2D,
    KDownsample2D: AliasFreeKDownsample2D,
    KUpsample2D: AliasFreeKUpsample2D,
    ControlNetConditioningEmbedding: AliasFreeControlNetConditioningEmbedding,
    GEGLU: AliasFreeGEGLU,
    Attention: AliasFreeAttention,
    Transformer2DModel: AliasFreeTransformer2DModel,
    **PADS,
    **ACTIVATIONS,
}
"""stock class -> what it becomes. Subclasses are not in it: their `forward` may be another."""
