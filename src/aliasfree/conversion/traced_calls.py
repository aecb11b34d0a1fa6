"""What modules received in the call that was watched."""

from __future__ import annotations

from torch import nn

from aliasfree.conversion.converted_module import CONVERTED, Converted
from aliasfree.conversion.plane_filters import Axes
from aliasfree.conversion.trace import Call, Trace, plane_axes
from aliasfree.conversion.unsupported import NEVER, whole

__all__ = ["TracedCalls"]


class TracedCalls:
    """What was seen of the modules of a model, by their names.

    seen   one call of the model; None = it could not be called
    """

    def __init__(self, seen: Trace | None) -> None:
        self.seen = seen
        self.vectors: set[nn.Module] = set()  # modules that see no planes, by their kind

    def calls(self, name: str) -> list[Call]:
        return [] if self.seen is None else self.seen.calls.get(name, [])

    def makes_tokens(self, name: str) -> bool:
        return self.seen is not None and name in self.seen.patches

    def not_reached(self, name: str, module: nn.Module) -> str:
        """Why a resampling module has no plane to work on; "" = it has, or nothing was seen."""
        if (
            self.seen is None
            or CONVERTED.get(type(module), Converted).rule == "activation"
            or isinstance(module, NEVER)
        ):
            return ""
        calls = self.calls(name)
        if not calls:
            return "not called in the traced call"
        return "" if any(len(call.given) == 4 for call in calls) else "acts on signals or volumes, not planes"

    def unsupported_upsampling(self, name: str, module: nn.Module) -> str:
        """Why an `nn.Upsample` to a given size is left."""
        if not isinstance(module, nn.Upsample) or module.size is None:
            return ""
        factors = {(c.returned[-2] / c.given[-2], c.returned[-1] / c.given[-1]) for c in self.calls(name)}
        return "" if factors and all(map(whole, factors)) else "upsampling to a size that is no multiple"

    def axes(self, name: str, module: nn.Module) -> tuple[Axes, str]:
        """Where an activation finds planes, and if it finds none, what it sees instead."""
        if self.seen is None:
            return ({}, "sees embeddings, not planes") if module in self.vectors else ({4: (2, 3)}, "")
        calls = self.calls(name)
        if not calls:
            return {}, "not called in the traced call"
        found: dict[int, set[tuple[int, int] | None]] = {}
        for call in calls:
            found.setdefault(len(call.layout), set()).add(plane_axes(call.layout))
        axes: Axes = {}
        for ndim, places in found.items():
            (place, *others) = places
            if others:
                return {}, "sees planes along different axes from call to call"
            if place is not None:
                axes[ndim] = place
        return axes, "" if axes else _instead_of_planes(calls)


def _instead_of_planes(calls: list[Call]) -> str:
    layouts = {call.layout for call in calls}
    if any(len(letters) > 1 for layout in layouts for letters in layout):
        return "acts on tokens"
    ndims = {len(layout) for layout in layouts}
    if max(ndims) <= 2:
        return "sees embeddings, not planes"
    if max(ndims) == 3:
        return "acts on tokens or signals"
    return "no axes of its input are rows and columns of a plane"
