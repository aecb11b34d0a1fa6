"""Nonlinearities, filtered where they act on planes."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from diffusers.models.activations import FP32SiLU
from torch import Tensor, nn

from aliasfree.conversion.converted_module import Converted
from aliasfree.conversion.plane_filters import Axes, on_planes

__all__ = ["ACTIVATIONS", "FilteredActivation"]


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
        return self._filters.activate(planes, self.kernel or super().forward, training=self.training)


class AliasFreeSiLU(FilteredActivation, nn.SiLU):
    kernel = "silu"


class AliasFreeReLU(FilteredActivation, nn.ReLU):
    kernel = "relu"


class AliasFreeGELU(FilteredActivation, nn.GELU):
    """Exact or, with `approximate="tanh"`, approximate."""

    def _filtered(self, planes: Tensor) -> Tensor:
        function = "gelu" if self.approximate == "none" else lambda x: F.gelu(x, approximate=self.approximate)
        return self._filters.activate(planes, function, training=self.training)


class AliasFreeGLU(FilteredActivation, nn.GLU):
    """a sigmoid(b), of the two halves of the channels."""

    def _filtered(self, planes: Tensor) -> Tensor:
        return self._filters.gate(planes, F.sigmoid, training=self.training)


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
