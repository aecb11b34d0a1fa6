"""Whether a model's planes have no edge: rolled inputs give rolled outputs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from aliasfree.conversion.inputs import Inputs, examine, implied_inputs
from aliasfree.conversion.meta_copy import zero_inputs
from aliasfree.conversion.trace import plane_axes
from aliasfree.errors import ArgumentError

__all__ = ["has_planes", "rolled_db"]

CELLS = 4
"""How many of the coarsest pixels a side of the planes has that the model is asked about."""


def rolled_db(model: nn.Module, axes: str = "xy", inputs: Inputs | None = None) -> float:
    """How well `model(roll(x)) == roll(model(x))` holds, in dB: the power of the output, less its mean, over that of
    the difference; the worst of the axes, and for an autoencoder of `encode` and `decode`.

    axes    "x" (columns), "y" (rows) or "xy"
    inputs  arguments of one call (shapes count, values do not); None = those the config of a diffusers model implies

    Asked once on small noise planes, rolled by one of the coarsest pixels (decoders: by one latent). With zero padding
    the result is some 0 to 30 dB, in float32 on a torus above 100. Raises ArgumentError for a model without planes.

    >>> import torch
    >>> from aliasfree import tile
    >>> from aliasfree.conversion import rolled_db
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.SiLU())
    >>> rolled_db(model) < 20, rolled_db(tile(model, "x"), "x") > 100
    (True, True)
    """
    given = next(iter(implied_inputs(model)), None) if inputs is None else inputs
    if given is None or not has_planes(given):
        raise ArgumentError(
            f"a {type(model).__name__} is given no planes, so there is nothing to roll; it works on tokens or vectors"
        )
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.is_meta:
        raise ArgumentError("the model has no weights yet (meta device): load them first, or say prove=False")
    was = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            return min(_db(f, x, axis, up) for f, x, up in _questions(model, given) for axis in axes)
    finally:
        for module, training in was.items():
            module.training = training


def has_planes(inputs: Inputs) -> bool:
    """Whether one of the arguments has rows and columns."""
    return any(map(_is_planar, tree_leaves(inputs)))


def _is_planar(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim in (4, 5) and max(x.shape[-2:]) > 1


def _questions(model: Any, given: Inputs) -> Iterator[tuple[Callable[[Any], Any], Any, int]]:
    """Functions to ask, an argument for each, and how many pixels it is to be rolled by."""
    period = _period(model, given)
    arguments = _noise(model, given, CELLS * period)
    if hasattr(model, "encode") and hasattr(model, "decode"):
        image = next(v for v in tree_leaves(arguments) if _is_planar(v))

        def encode(x: Tensor) -> Tensor:
            found: Any = model.encode(x, return_dict=False)[0]
            return found if isinstance(found, Tensor) else found.mode()

        more = {"num_frames": 1} if "num_frames" in inspect.signature(type(model).decode).parameters else {}
        yield encode, image, period
        yield (lambda z: model.decode(z, **more, return_dict=False)[0]), torch.randn_like(encode(image)), 1
    elif isinstance(arguments, dict):
        more = {"return_dict": False} if "return_dict" in inspect.signature(type(model).forward).parameters else {}
        yield (lambda kwargs: model(**kwargs, **more)), arguments, period
    else:
        yield (lambda args: model(*args)), arguments, period


def _period(model: nn.Module, given: Inputs) -> int:
    """How many pixels of the input the coarsest pixel of the model stands for."""
    side = next(v.shape[-1] for v in tree_leaves(given) if _is_planar(v))
    seen, period = examine(model, given), 1
    for call in [] if seen is None else [c for calls in seen.calls.values() for c in calls]:
        place = plane_axes(call.layout)
        shapes = [s for s in (call.given, call.returned) if place is not None and len(s) == len(call.layout)]
        for shape in shapes if place == (len(call.layout) - 2, len(call.layout) - 1) else shapes[:1]:
            if place is not None and 1 < shape[place[1]] < side:
                period = max(period, math.ceil(side / shape[place[1]]))
    return 2 ** math.ceil(math.log2(period))


def _noise(model: nn.Module, given: Inputs, side: int) -> Any:
    """The arguments with noise for planes, `side` pixels wide, and zeros for the rest."""
    parameter = next(model.parameters(), torch.zeros(()))
    first = next(v for v in tree_leaves(given) if _is_planar(v))

    def filled(v: Any) -> Any:
        if not isinstance(v, Tensor):
            return v
        if _is_planar(v):
            size = [max(1, n * side // m) for n, m in zip(v.shape[-2:], first.shape[-2:], strict=True)]
            v = torch.randn(*v.shape[:-2], *size)
        return v.to(parameter.device, parameter.dtype if v.is_floating_point() else None)

    return tree_map(filled, zero_inputs(given))


def _db(function: Callable[[Any], Any], x: Any, axis: str, by: int) -> float:
    dim = -1 if axis == "x" else -2
    side = next(v.shape[dim] for v in tree_leaves(x) if _is_planar(v))

    def rolled(v: Any) -> Any:
        if not _is_planar(v):
            return v
        return v.roll(round(by * v.shape[dim] / side), dim)

    expected, found = (_planes(y) for y in (tree_map(rolled, function(x)), function(tree_map(rolled, x))))
    power = sum(float((a - a.mean((-2, -1), keepdim=True)).square().sum()) for a in expected)
    error = sum(float((a - b).square().sum()) for a, b in zip(expected, found, strict=True))
    return 10 * math.log10(power / error) if error and power else math.inf


def _planes(y: Any) -> list[Tensor]:
    return [v.double() for v in tree_leaves(y) if _is_planar(v)]
