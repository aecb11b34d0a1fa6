"""Modules over the resampling ops, and the baseline's upsampling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.filters import FilterSpec
from aliasfree.ops.activation import filtered_activation2d
from aliasfree.ops.resample import Padding, downsample2d, upsample2d

__all__ = ["BilinearUpsample2d", "Downsample2d", "FilteredActivation2d", "Upsample2d"]


class Upsample2d(nn.Module):
    """`upsample2d` as a module: (N, C, H, W) to (N, C, 2H, 2W). Holds no parameter and no state.

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import Upsample2d
    >>> tuple(Upsample2d(FilterSpec.named("hq"))(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 16, 16)
    """

    def __init__(self, filter: FilterSpec, padding: Padding = "zeros") -> None:
        super().__init__()
        self.filter, self.padding = filter, padding

    def forward(self, x: Tensor) -> Tensor:
        return upsample2d(x, self.filter, 2, self.padding)


class Downsample2d(nn.Module):
    """`downsample2d` as a module: (N, C, H, W) to (N, C, H/2, W/2). Holds no parameter and no state.

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import Downsample2d
    >>> tuple(Downsample2d(FilterSpec.named("hq"))(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 4, 4)
    """

    def __init__(self, filter: FilterSpec, padding: Padding = "zeros") -> None:
        super().__init__()
        self.filter, self.padding = filter, padding

    def forward(self, x: Tensor) -> Tensor:
        return downsample2d(x, self.filter, 2, self.padding)


class BilinearUpsample2d(nn.Module):
    """The baseline's upsampling, (N, C, H, W) to (N, C, 2H, 2W): bilinear with corners aligned.

    Source: arXiv 2411.09174, Config A.

    >>> import torch
    >>> from aliasfree.nn import BilinearUpsample2d
    >>> tuple(BilinearUpsample2d()(torch.zeros(1, 4, 8, 8)).shape)
    (1, 4, 16, 16)
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class FilteredActivation2d(nn.Module):
    """`filtered_activation2d` as a module, same shape out. Holds no parameter and no state.

    running_factor   the rate in `eval()`; None = `factor`, that of training

    >>> import torch
    >>> from aliasfree import FilterSpec
    >>> from aliasfree.nn import FilteredActivation2d
    >>> hq = FilterSpec.named("hq")
    >>> act = FilteredActivation2d("silu", hq, hq, padding="circular", running_factor=4)
    >>> tuple(act.eval()(torch.zeros(1, 4, 8, 8)).shape)  # at 4 times the rate
    (1, 4, 8, 8)
    """

    def __init__(
        self,
        activation: str,
        up: FilterSpec,
        down: FilterSpec,
        factor: int = 2,
        padding: Padding = "zeros",
        running_factor: int | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.factor, self.padding = activation, factor, padding
        self.running_factor = running_factor or factor
        self._filters = {rate: (up.at_rate(rate), down.at_rate(rate)) for rate in (factor, self.running_factor)}

    def forward(self, x: Tensor) -> Tensor:
        rate = self.factor if self.training else self.running_factor
        return filtered_activation2d(x, self.activation, *self._filters[rate], rate, self.padding)
