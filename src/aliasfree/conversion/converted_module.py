"""What a converted module is: the stock class with another `forward`; which stock class becomes what; how it was.

A module is converted in place, by `__class__`; the stock class and the attributes that changed are noted in a
`StockState`, so that they can be put back. No parameter and no buffer is added: state-dict keys stay.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from torch import nn

from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.errors import ArgumentError

__all__ = ["CONVERTED", "Converted", "Rule", "StockState", "own_attributes", "register_block"]

Rule = Literal[
    "block",
    "activation",
    "padding",
    "condition_encoder",
    "convolution",
    "video_convolution",
    "transformer",
    "by_functions",
    "pads_by_functions",
]
"""What decides about a module and says what is done: a method of that name in `decisions`."""


@dataclass(frozen=True)
class StockState:
    """How a touched module was before, and what was done to it."""

    stock: type[nn.Module]
    done: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Converted(nn.Module):
    """A module with filters. Subclasses name their stock class last: `class AliasFreeMine(Converted, Mine)`.

    change    what is done, as the report says it
    acts_in   in configs with one of these traits (`aliasfree.config.Traits`) it is converted
    rule      what decides whether an instance can be converted

    Attributes that conversion sets on a module are annotated in the class; they go when it is reverted.

    >>> from diffusers import UNet2DModel
    >>> from aliasfree.conversion import Converted, convert
    >>> blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16}
    >>> kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    >>> any(isinstance(m, Converted) for m in convert(UNet2DModel(**blocks, **kinds), "B-hq").modules())
    True
    """

    change: ClassVar[str] = ""
    acts_in: ClassVar[tuple[str, ...]] = ("resampling",)
    rule: ClassVar[Rule] = "block"
    _filters: PlaneFilters
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # diffusers' classes are untyped


CONVERTED: dict[type[nn.Module], type[Converted]] = {}
"""stock class -> what it becomes; `register_block` adds one. Subclasses of a stock class are not in it: their `forward`
may be another."""

Block = TypeVar("Block", bound=type[Converted])


def register_block(converted: Block) -> Block:
    """Let conversion turn the stock class that `converted` names last into it; a decorator. Returns it.

    Raises ArgumentError for a class that could not stand in for the stock one, or would be converted without a word.

    >>> from torch import Tensor, nn
    >>> from aliasfree import convert
    >>> from aliasfree.conversion import Converted, register_block
    >>> class Half(nn.Module):
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return x[..., ::2, ::2]
    >>> @register_block
    ... class AliasFreeHalf(Converted, Half):
    ...     change = "low-pass, decimation by 2"
    ...     def forward(self, x: Tensor) -> Tensor:
    ...         return self._filters.decimate(x, 2)
    >>> type(convert(nn.Sequential(nn.Conv2d(3, 8, 3), Half()), "B-hq")[1]).__name__
    'AliasFreeHalf'
    """
    name = converted.__name__
    if not issubclass(converted, Converted) or issubclass(converted.__bases__[-1], Converted):
        raise ArgumentError(f"{name} names no stock class: write class {name}(Converted, TheStockClass)")
    stock: Any = converted.__bases__[-1]
    if stock in CONVERTED:
        raise ArgumentError(
            f"{stock.__name__} becomes {CONVERTED[stock].__name__} already: only one class can stand for it"
        )
    if converted.__init__ is not stock.__init__ or converted.__dict__.get("__slots__"):
        raise ArgumentError(f"{name} has an __init__ or slots of its own, which existing modules never run")
    if converted.rule == "block":
        if not converted.change:
            raise ArgumentError(f"{name} does not say what it does: give it `change`, one line for the report")
        unknown = set(converted.acts_in) - {"resampling", "activations"}
        if unknown or not converted.acts_in:
            raise ArgumentError(f"{name}.acts_in is made of resampling and activations, not {converted.acts_in!r}")
        if converted.forward is stock.forward:
            raise ArgumentError(f"{name} has the forward of {stock.__name__}: it would change nothing")
        _check_arguments(converted, stock)
    CONVERTED[stock] = converted
    return converted


def _check_arguments(converted: type[Converted], stock: type[nn.Module]) -> None:
    parameters = inspect.signature(stock.forward).parameters.values()
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(converted.forward).bind(*by_position, **dict.fromkeys(by_name))
    except TypeError as error:
        raise ArgumentError(
            f"{converted.__name__}.forward does not take what {stock.__name__}.forward takes: {error}"
        ) from error


def own_attributes(module: nn.Module) -> set[str]:
    """Names of what conversion set on a converted module: what its classes annotate."""
    classes = [cls for cls in type(module).__mro__ if issubclass(cls, Converted)]
    annotated = {name: str(kind) for cls in classes for name, kind in inspect.get_annotations(cls).items()}
    return {name for name, kind in annotated.items() if "ClassVar" not in kind}
