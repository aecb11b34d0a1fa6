"""Known parts of diffusion models and what each becomes: the stock class with another `forward`.

A module is converted in place, by `__class__`; the stock class and the attributes that changed are noted in a
`Record`, so that they can be put back. No parameter and no buffer is added: state-dict keys stay.

Every strided operation is treated alike: carried out at stride 1, low-passed, and every stride-th sample kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch.nn.functional as F
from diffusers.models.activations import GEGLU, FP32SiLU
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import Tensor, nn

from aliasfree.conversion.treatment import Treatment, is_plane

__all__ = ["ACTIVATIONS", "CONVERTED", "Converted", "Filter", "Record", "sides"]


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


class AliasFreeConv2d(Converted, nn.Conv2d):
    """A strided convolution: at stride 1, low-pass, every `decimation`-th sample."""

    decimation: int

    def forward(self, input: Tensor) -> Tensor:
        return self._treatment.decimate(super().forward(input), self.decimation)


class AliasFreeAvgPool2d(Converted, nn.AvgPool2d):
    """An average pool whose windows touch: the average at stride 1, low-pass, every stride-th sample."""

    def forward(self, input: Tensor) -> Tensor:
        k = sides(self.kernel_size)[0]
        z = F.avg_pool2d(self._treatment.extend(input, k - 1), k, stride=1)
        out = [-(-n // k) if self.ceil_mode else n // k for n in input.shape[-2:]]
        return self._treatment.decimate(z, k)[..., : out[0], : out[1]]


class AliasFreeUpsample(Converted, nn.Upsample):
    """Nearest-neighbour or bilinear upsampling: band-limited interpolation. Signals and volumes pass it as before."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            return super().forward(input)
        return self._treatment.interpolate(input, int(sides(self.scale_factor)[0]))


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
            return cast(Tensor, self.conv(how.extend(hidden_states, 1)))
        if self.padding != 0:
            return how.decimate(self.conv(hidden_states), 2)
        h, w = hidden_states.shape[-2:]
        if how.padding_mode is None:
            more = 2 if how.periodic else 1
            padded = F.pad(hidden_states, (0, more, 0, more))
        else:
            padded = how.extend(hidden_states, 2)
        return how.decimate(self.conv(padded), 2)[..., : h // 2, : w // 2]


class AliasFreeFirDownsample2D(Converted, FirDownsample2D):
    """diffusers' 4-tap FIR downsampling: its filter at full rate, low-pass, every second sample."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return fir_downsample(self._treatment, hidden_states, self.fir_kernel)


class AliasFreeFirUpsample2D(Converted, FirUpsample2D):
    """diffusers' 4-tap FIR upsampling: band-limited interpolation."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self._treatment.interpolate(hidden_states)


class AliasFreeKDownsample2D(Converted, KDownsample2D):
    """The same of the k-upscaler's UNet."""

    def forward(self, inputs: Tensor) -> Tensor:
        return fir_downsample(self._treatment, inputs, (1, 3, 3, 1))


class AliasFreeKUpsample2D(Converted, KUpsample2D):
    """The same of the k-upscaler's UNet."""

    def forward(self, inputs: Tensor) -> Tensor:
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
        return self._treatment.activate(x, "silu") if self._treatment.config.filters_activations else F.silu(x)


class AliasFreeGEGLU(Converted, GEGLU):
    """The gated GELU of a transformer's feed-forward layer over the tokens of a plane, evaluated as planes.

    plane   (H, W), told by the transformer at every call
    """

    plane: tuple[int, int]

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        planes = self.proj(hidden_states).mT.unflatten(2, self.plane)
        return self._treatment.gate(planes, F.gelu).flatten(2).mT


class AliasFreeTransformer2DModel(Converted, Transformer2DModel):
    """Tells its feed-forward layers the shape of the plane whose pixels are its tokens."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        plane = (hidden_states.shape[-2], hidden_states.shape[-1])
        for block in self.transformer_blocks:
            if isinstance(block.ff.net[0], AliasFreeGEGLU):
                block.ff.net[0].plane = plane
        return super().forward(hidden_states, *args, **kwargs)


class FilteredActivation(Converted):
    """A nonlinearity filtered on planes; vectors (a time embedding) pass it as before."""

    kernel: str | None = None  # name of the fused kernel; None = the module's own function

    def forward(self, input: Tensor) -> Tensor:
        if not is_plane(input):
            return cast(Tensor, super().forward(input))
        return self._treatment.activate(input, self.kernel or super().forward)


class AliasFreeSiLU(FilteredActivation, nn.SiLU):
    kernel = "silu"


class AliasFreeReLU(FilteredActivation, nn.ReLU):
    kernel = "relu"


class AliasFreeGELU(FilteredActivation, nn.GELU):
    """Exact or, with `approximate="tanh"`, approximate."""

    def forward(self, input: Tensor) -> Tensor:
        if not is_plane(input):
            return F.gelu(input, approximate=self.approximate)
        exact = self.approximate == "none"
        return self._treatment.activate(input, "gelu" if exact else lambda x: F.gelu(x, approximate=self.approximate))


class AliasFreeFP32SiLU(FilteredActivation, FP32SiLU): ...


class AliasFreeMish(FilteredActivation, nn.Mish): ...


class AliasFreeLeakyReLU(FilteredActivation, nn.LeakyReLU): ...


class AliasFreeELU(FilteredActivation, nn.ELU): ...


class AliasFreeHardswish(FilteredActivation, nn.Hardswish): ...


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


def fir_downsample(treatment: Treatment, x: Tensor, line: tuple[int, ...]) -> Tensor:
    """Filter planes with the symmetric taps `line` (scaled to sum 1) of even length, output i centred at 2 i + 0.5,
    at full rate; then low-pass and decimate. (N, C, H, W) to (N, C, H // 2, W // 2)."""
    c, h, w = x.shape[1:]
    before, after = len(line) // 2 - 1, len(line) // 2
    z = treatment.surround(x, before, after)
    taps = x.new_tensor(line) / sum(line)
    z = F.conv2d(z, taps.reshape(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    z = F.conv2d(z, taps.reshape(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)
    return treatment.decimate(z, 2)[..., : h // 2, : w // 2]


def sides(value: Any) -> tuple[Any, Any]:
    """A value for height and width, given as one or as two."""
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)


ACTIVATIONS: dict[type[nn.Module], type[FilteredActivation]] = {
    cls.__bases__[1]: cls
    for cls in (
        AliasFreeSiLU,
        AliasFreeReLU,
        AliasFreeGELU,
        AliasFreeFP32SiLU,
        AliasFreeMish,
        AliasFreeLeakyReLU,
        AliasFreeELU,
        AliasFreeHardswish,
        AliasFreeSoftplus,
        AliasFreeTanh,
        AliasFreeSigmoid,
    )
}
"""stock class -> its filtered counterpart. Another activation takes one class above and one line here."""

CONVERTED: dict[type[nn.Module], type[Converted]] = {
    nn.Conv2d: AliasFreeConv2d,
    nn.AvgPool2d: AliasFreeAvgPool2d,
    nn.Upsample: AliasFreeUpsample,
    nn.UpsamplingNearest2d: AliasFreeUpsample,
    Upsample2D: AliasFreeUpsample2D,
    Downsample2D: AliasFreeDownsample2D,
    FirDownsample2D: AliasFreeFirDownsample2D,
    FirUpsample2D: AliasFreeFirUpsample2D,
    KDownsample2D: AliasFreeKDownsample2D,
    KUpsample2D: AliasFreeKUpsample2D,
    ControlNetConditioningEmbedding: AliasFreeControlNetConditioningEmbedding,
    GEGLU: AliasFreeGEGLU,
    Transformer2DModel: AliasFreeTransformer2DModel,
    **ACTIVATIONS,
}
"""stock class -> what it becomes. Subclasses are not in it: their `forward` may be another."""
