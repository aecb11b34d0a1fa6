"""Nonlinearities, filtered where they act on planes. Another one takes one class here."""

from __future__ import annotations

from typing import ClassVar, cast

import torch.nn.functional as F
from diffusers.models.activations import FP32SiLU
from torch import Tensor, nn

from aliasfree.conversion.converted_module import Converted, Rule, register_block
from aliasfree.conversion.plane_filters import Axes, on_planes

__all__ = ["FilteredActivation"]


class FilteredActivation(Converted):
    """A nonlinearity filtered on planes; what is none (a time embedding) passes it as before.

    axes   where rows and columns lie, by the number of axes of the tensor
    """

    rule: ClassVar[Rule] = "activation"
    axes: Axes
    kernel: ClassVar[str | None] = None  # name of the fused kernel; None = the module's own function

    def forward(self, input: Tensor) -> Tensor:
        axes = self.axes.get(input.ndim)
        if axes is None or (input.shape[axes[0]], input.shape[axes[1]]) == (1, 1):
            return cast(Tensor, super().forward(input))
        return on_planes(input, axes, self._filtered)

    def _filtered(self, planes: Tensor) -> Tensor:
        return self._filters.activate(planes, self.kernel or super().forward, training=self.training)


@register_block
class AliasFreeSiLU(FilteredActivation, nn.SiLU):
    kernel = "silu"


@register_block
class AliasFreeReLU(FilteredActivation, nn.ReLU):
    kernel = "relu"


@register_block
class AliasFreeGELU(FilteredActivation, nn.GELU):
    """Exact or, with `approximate="tanh"`, approximate."""

    def _filtered(self, planes: Tensor) -> Tensor:
        function = "gelu" if self.approximate == "none" else lambda x: F.gelu(x, approximate=self.approximate)
        return self._filters.activate(planes, function, training=self.training)


@register_block
class AliasFreeGLU(FilteredActivation, nn.GLU):
    """a sigmoid(b), of the two halves of the channels."""

    def _filtered(self, planes: Tensor) -> Tensor:
        return self._filters.gate(planes, F.sigmoid, training=self.training)


@register_block
class AliasFreeFP32SiLU(FilteredActivation, FP32SiLU): ...


@register_block
class AliasFreeMish(FilteredActivation, nn.Mish): ...


@register_block
class AliasFreeLeakyReLU(FilteredActivation, nn.LeakyReLU): ...


@register_block
class AliasFreePReLU(FilteredActivation, nn.PReLU): ...


@register_block
class AliasFreeELU(FilteredActivation, nn.ELU): ...


@register_block
class AliasFreeSELU(FilteredActivation, nn.SELU): ...


@register_block
class AliasFreeCELU(FilteredActivation, nn.CELU): ...


@register_block
class AliasFreeReLU6(FilteredActivation, nn.ReLU6): ...


@register_block
class AliasFreeHardtanh(FilteredActivation, nn.Hardtanh): ...


@register_block
class AliasFreeHardswish(FilteredActivation, nn.Hardswish): ...


@register_block
class AliasFreeHardsigmoid(FilteredActivation, nn.Hardsigmoid): ...


@register_block
class AliasFreeSoftplus(FilteredActivation, nn.Softplus): ...


@register_block
class AliasFreeTanh(FilteredActivation, nn.Tanh): ...


@register_block
class AliasFreeSigmoid(FilteredActivation, nn.Sigmoid): ...
