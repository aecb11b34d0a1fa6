"""`tile` and `untile`: images whose opposite edges fit, because the network knows no edge.

Along a tiled axis a plane is one period of a torus: convolutions, pools, filters and everything else that looks at
neighbours find the other side there. Nothing is taken for granted: the tiled model is asked (`rolled_db`), and if a
rolled input does not give the rolled output, it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from aliasfree.conversion.convert import enter_into_config, forget
from aliasfree.conversion.hooks import renew
from aliasfree.conversion.inputs import Inputs, implied_inputs, inputs_from_config, inputs_to_config
from aliasfree.conversion.operation import (
    Conversion,
    check_operable,
    check_undoable,
    conversion_of,
    operate,
    undo,
)
from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.conversion.proof import has_planes, rolled_db
from aliasfree.errors import AliasfreeError, ArgumentError

__all__ = ["prove", "tile", "tiled_axes", "tiled_parts", "untile"]

LEAST = {torch.float32: 60.0, torch.float64: 60.0}
"""dB that a rolled input must give, by the dtype of the weights; `LEAST_HALF` for the others."""
LEAST_HALF = 20.0

INSTEAD = "tile(pipe.vae) and roll the latents while they are sampled (RollCallback): that hides the seam, unproven"

PARTS = ("text_encoder", "image_encoder", "safety_checker", "feature_extractor")
"""What of a pipeline sees no latents, by the beginnings of its names."""

Tileable = TypeVar("Tileable", bound="nn.Module | DiffusionPipeline")


def tile(model: Tileable, axes: str = "xy", inputs: Inputs | None = None, prove: bool = True) -> Tileable:
    """Make what a model or a whole diffusers pipeline generates seamless, in place. Returns it.

    model   a UNet, VAE, ControlNet or other diffusers model, converted or not, any `torch.nn.Module` of known parts, or
            a pipeline, whose parts are all tiled or none
    axes    "x" = the left edge continues at the right (panoramas), "y" = the top at the bottom, "xy" = both
    inputs  arguments of one call, as for `convert`; None = implied. Not for pipelines
    prove   ask the tiled model whether rolled inputs give rolled outputs; it takes a few calls on small planes

    No weight changes; `untile` undoes it, and a tiled model can be tiled along other axes. A diffusers model is saved
    and loaded as a tiled one. Sides of images must be halved as often as the model does it (multiples of 64 do);
    others are refused when it is called. Raises ArgumentError for a model that stays with a seam (position embeddings,
    padding it does in a way of its own), that is given no planes, whose VAE tiling is on, or as `convert` does.

    >>> import torch
    >>> from aliasfree import tile, untile
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> x = torch.randn(1, 3, 16, 16)
    >>> before = model(x)
    >>> y = tile(model, "x")(x)
    >>> torch.allclose(model(x.roll(4, 3)), y.roll(2, 3), atol=1e-6)
    True
    >>> torch.equal(untile(model)(x), before)
    True
    """
    if not isinstance(model, DiffusionPipeline):
        _tile_part(model, axes, inputs, proof=prove)
        return model
    if inputs is not None:
        raise ArgumentError("`inputs` are for one model: tile the parts of the pipeline one by one")
    done: list[tuple[nn.Module, Conversion | None]] = []
    try:
        for name, part in tiled_parts(model):
            before = conversion_of(part)
            try:
                _tile_part(part, axes, None, proof=prove)
            except AliasfreeError as error:
                raise ArgumentError(f"{name}: {error}") from error
            done.append((part, before))
    except AliasfreeError:
        for part, before in done:
            _become(part, before)
        raise
    renew(model)
    return model


def untile(model: Tileable) -> Tileable:
    """Undo `tile` exactly, in place; a conversion of before stays. Returns the model or pipeline.

    Raises ArgumentError for one that is not tiled.

    >>> import torch
    >>> from aliasfree import tile, untile
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1))
    >>> type(tile(model)[0]) is type(untile(model)[0]), type(model[0]).__name__
    (False, 'Conv2d')
    """
    parts = [p for _, p in tiled_parts(model)] if isinstance(model, DiffusionPipeline) else [model]
    tiled = [part for part in parts if tiled_axes(part)]
    if not tiled:
        raise ArgumentError(f"this {type(model).__name__} is not tiled: there is nothing to undo")
    for part in tiled:
        conversion = conversion_of(part)
        if conversion is None:
            continue
        filters = conversion.filters
        plain = not filters.config.traits.is_filtered and filters.padding_mode is None and not conversion.feed_forward
        rest = replace(conversion, filters=PlaneFilters(filters.config, filters.padding_mode))
        _become(part, None if plain else rest)
    if isinstance(model, DiffusionPipeline):
        renew(model)
    return model


def tiled_axes(model: Any) -> str:
    """Along which axes a model is tiled: "", "x", "y" or "xy"."""
    conversion = conversion_of(model)
    return "" if conversion is None else conversion.filters.tile


def tiled_parts(pipeline: DiffusionPipeline) -> Iterator[tuple[str, nn.Module]]:
    """The models of a pipeline that see latents or images, by name; ControlNets one by one."""
    for name, part in pipeline.components.items():
        if not isinstance(part, ModelMixin) or name.startswith(PARTS) or type(part).__name__ == "PriorTransformer":
            continue
        several = getattr(part, "nets", None) or getattr(part, "adapters", None)
        if isinstance(several, nn.ModuleList):
            yield from ((f"{name}[{i}]", one) for i, one in enumerate(several))
        else:
            yield name, part


def _tile_part(model: nn.Module, axes: str, inputs: Inputs | None, *, proof: bool) -> None:
    axes = "".join(sorted(axes)) if isinstance(axes, str) else axes
    if not axes:
        raise ArgumentError("`axes` to tile along are x (columns), y (rows) or xy")
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"expected a model or a pipeline of diffusers, not {type(model).__name__}")
    if type(model).__name__ == "AliasFreeUNet2DModel":
        raise ArgumentError(
            "the paper's network has a padding of its own: "
            "AliasFreeUNet2DModel.from_pretrained(DIR, padding_mode='circular') is seamless along both axes"
        )
    if getattr(model, "use_tiling", False):
        raise ArgumentError(
            "VAE tiling is on, which decodes overlapping pieces and blends them, with a seam: disable_tiling() first"
        )
    before = conversion_of(model)
    if before is None:
        if any(conversion_of(m) is not None for m in model.modules()):
            raise ArgumentError("a part of this model was converted by itself: revert the part, convert the whole")
        check_operable(model)
        after = Conversion.of("A", None, False, inputs_to_config(inputs), tile=axes)
    else:
        filters = before.filters
        checked = Conversion.of(filters.config, filters.padding_mode, before.feed_forward, tile=axes)
        if axes != "xy" and checked.filters.wraps != replace(checked.filters, padding_mode=None).around:
            what = "'ideal' filters" if checked.filters.periodic else "padding_mode 'circular'"
            raise ArgumentError(
                f"it is converted with {what}, for which the plane is periodic along both axes: tile it along xy, or "
                f"convert it to a config as D-hq with another padding"
            )
        remembered = inputs_to_config(inputs) or before.inputs
        after = replace(before, filters=checked.filters, inputs=remembered)
    _check_planes(model, inputs_from_config(after.inputs) if after.inputs is not None else None)
    _become(model, after, inputs)
    if not proof:
        return
    try:
        prove(model, axes, inputs)
    except AliasfreeError:
        _become(model, before)
        raise


def _become(model: nn.Module, conversion: Conversion | None, inputs: Inputs | None = None) -> None:
    """Change a model's conversion to another, or to none."""
    before = conversion_of(model)
    if before is not None:
        check_undoable(model)
        undo(model)
        forget(model, before)
    if conversion is None:
        return
    operate(model, conversion, inputs)
    enter_into_config(model, conversion)


def prove(model: nn.Module, axes: str, inputs: Inputs | None = None) -> float:
    """`rolled_db` of a tiled model. Raises ArgumentError if it is too low for the dtype of the weights."""
    conversion = conversion_of(model)
    if inputs is None and conversion is not None and conversion.inputs is not None:
        inputs = inputs_from_config(conversion.inputs)
    found = rolled_db(model, axes, inputs)
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    if found < LEAST.get(dtype, LEAST_HALF):
        left = () if conversion is None else conversion.left
        own = [f"{kind} {where}".strip() for where, kind, reason in left if "own padding" in reason]
        blame = f"padding of its own in {', '.join(own[:3])}" if own else "position embeddings or windows, probably"
        raise ArgumentError(
            f"a {_name(model)} would keep a seam: tiled, rolled inputs give rolled outputs to {found:.0f} dB only "
            f"({blame}), so it stays as it was; {INSTEAD}"
        )
    return found


def _check_planes(model: nn.Module, inputs: Inputs | None) -> None:
    given = next(iter(implied_inputs(model)), None) if inputs is None else inputs
    if given is None or not has_planes(given):
        raise ArgumentError(f"a {_name(model)} is given no planes but tokens, whose places it knows; {INSTEAD}")


def _name(model: nn.Module) -> str:
    return type(model).__name__.removeprefix("AliasFree")
