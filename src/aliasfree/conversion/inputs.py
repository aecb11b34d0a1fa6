"""Arguments of one call of a model, as its config and its `forward` imply them; tensors without data, batch 1."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map

from aliasfree.conversion.meta_copy import meta_copy, meta_inputs, zero_inputs
from aliasfree.conversion.resampling import sides
from aliasfree.conversion.trace import Trace, trace
from aliasfree.errors import ArgumentError

__all__ = ["Inputs", "call_on_images", "examine", "implied_inputs", "inputs_from_config", "inputs_to_config"]

Inputs = Sequence[Any] | Mapping[str, Any]

FRAMES, TOKENS, SIDE = 9, 8, 64


def examine(model: nn.Module, inputs: Inputs | None) -> Trace | None:
    """Watch one call of a copy of the model. None = it is no diffusers model, and what it takes could not be guessed.

    The copy has no data; where a call needs some (it counts, it sorts), zeros.

    Raises ArgumentError if the model does not take `inputs`, or if a diffusers model does not take those its config
    implies.
    """
    tried = [inputs] if inputs is not None else list(implied_inputs(model))
    problem: Exception | None = None
    for arguments in tried:
        for attempt in (_without_data, _with_zeros):
            try:
                return attempt(model, arguments)
            except Exception as error:
                problem = error if problem is None or attempt is _with_zeros else problem
    if inputs is not None:
        raise ArgumentError(f"the model does not take the `inputs` given: {_first_line(problem)}") from problem
    if isinstance(model, ConfigMixin):
        raise ArgumentError(
            f"what a {type(model).__name__} is called with could not be told from its config"
            f"{f' ({_first_line(problem)})' if problem and str(problem) else ''}; give the arguments of one call as "
            f"`inputs`"
        ) from problem
    return None


def _first_line(problem: Exception | None) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]


def _without_data(model: nn.Module, inputs: Inputs) -> Trace:
    return trace(meta_copy(model), meta_inputs(inputs))


def _with_zeros(model: nn.Module, inputs: Inputs) -> Trace:
    real = meta_copy(model).to_empty(device="cpu")
    for tensor in (*real.parameters(), *real.buffers()):
        tensor.zero_()
    return trace(real, zero_inputs(inputs))


def implied_inputs(model: nn.Module) -> Iterator[Inputs]:
    """Arguments to try, the likeliest first."""
    if isinstance(model, ConfigMixin):
        named = _named(model)
        if named is not None:
            yield named
        return
    first = next((m for m in model.modules() if isinstance(m, _ConvNd)), None)
    channels = 4 if first is None else first.in_channels
    if isinstance(first, nn.Conv1d | nn.ConvTranspose1d):
        yield [_planes(channels, SIDE)]
    elif isinstance(first, nn.Conv3d | nn.ConvTranspose3d):
        yield [_planes(channels, FRAMES, SIDE, SIDE)]
    else:
        for side in (SIDE, 224):  # vision transformers take one size only
            yield [_planes(channels, side, side)]


def _planes(*shape: int) -> Tensor:
    return torch.empty(1, *shape, device="meta")


def _named(model: Any) -> dict[str, Any] | None:
    """Arguments by name, for a diffusers model."""
    config, parameters = model.config, inspect.signature(type(model).forward).parameters
    main = next((name for name in parameters if name != "self"), "")
    first = next((m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)), None)
    channels = config.get("in_channels") or getattr(first, "in_channels", None)
    if isinstance(channels, tuple | list):
        channels = channels[0]
    if channels is None:
        return None
    height, width = sides(config.get("sample_size") or SIDE)
    if hasattr(model, "encode") and hasattr(model, "decode"):
        if isinstance(first, nn.Conv1d):
            return {main: _planes(channels, 4096)}
        if isinstance(first, nn.Conv3d):
            return {
                main: _planes(first.in_channels if config.get("in_channels") is None else channels, FRAMES, SIDE, SIDE)
            }
        return {main: _planes(channels, height, width)}
    given: dict[str, Any] = {main: _main(model, int(channels), int(height), int(width))}
    for name, parameter in parameters.items():
        if name in ("self", main) or name in given:
            continue
        value = _OTHERS[name](model, height, width) if name in _OTHERS else None
        if value is not None:
            given[name] = value
        elif parameter.default is inspect.Parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            return None
    return given


def _main(model: Any, channels: int, height: int, width: int) -> Tensor:
    kind, config = type(model).__name__.removeprefix("AliasFree").removeprefix("Stock"), model.config
    if kind == "UNet1DModel":
        return _planes(channels, 256)
    if kind == "UNetSpatioTemporalConditionModel":
        return _planes(FRAMES - 1, channels, height, width)  # frames before channels
    if kind == "CogVideoXTransformer3DModel":
        return _planes(FRAMES, channels, config["sample_height"], config["sample_width"])
    if "3D" in kind or kind in ("UNetMotionModel", "I2VGenXLUNet"):
        return _planes(channels, FRAMES - 1, height, width)
    if "img_ids" in inspect.signature(type(model).forward).parameters:  # packed: tokens
        return _planes(TOKENS * TOKENS, channels)
    return _planes(channels, height, width)


Other = Callable[[Any, int, int], Any]


def _number(model: Any, _h: int, _w: int) -> Tensor:
    discrete = "DiT" in type(model).__name__ or model.config.get("time_embedding_type") == "embedding"
    return torch.zeros(1, device="meta", dtype=torch.long if discrete else None)


def _width(model: Any, *names: str) -> int | None:
    for name in names:
        value = model.config.get(name)
        if value is not None:
            return int(sides(value)[0])
    return None


def _text(model: Any, _h: int, _w: int) -> Tensor | None:
    width = _width(
        model, "joint_attention_dim", "caption_channels", "text_embed_dim", "cap_feat_dim", "cross_attention_dim",
        "text_dim", "encoder_hid_dim", "caption_projection_dim",
    )  # fmt: skip
    if width is None:
        return None
    frames = FRAMES - 1 if "UNetMotionModel" in type(model).__name__ else 1  # it wants the text of every frame
    return torch.empty(frames, TOKENS, width, device="meta")


def _classes(model: Any, h: int, w: int) -> Tensor | None:  # noqa: ARG001
    config = model.config
    if config.get("class_embed_type") in ("timestep", "identity", "projection", "simple_projection"):
        return _planes(
            config.get("projection_class_embeddings_input_dim") or 4 * sides(config["block_out_channels"])[0]
        )
    count = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    return None if count is None else torch.zeros(1, dtype=torch.long, device="meta")


def _added(model: Any, h: int, w: int) -> dict[str, Any] | None:  # noqa: ARG001
    config, kind = model.config, model.config.get("addition_embed_type")
    if kind == "text_time":
        text = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        return {"text_embeds": _planes(text), "time_ids": _planes(6)}
    if kind == "image" or config.get("encoder_hid_dim_type") == "image_proj":
        width = _width(model, "encoder_hid_dim", "cross_attention_dim")
        return {"image_embeds": _planes(int(width or 0))}
    return {"resolution": None, "aspect_ratio": None} if "PixArt" in type(model).__name__ else None


def _condition(model: Any, h: int, w: int) -> Tensor:
    config = model.config
    own = "ctrl_" if "ctrl_conditioning_channels" in config else ""  # a UNetControlNetXSModel's are its UNet's others
    widths = config.get(f"{own}conditioning_embedding_out_channels") or (0,)
    factor = 2 ** (len(widths) - 1)
    channels = config.get(f"{own}conditioning_channels") or 3
    return _planes(channels, factor * h, factor * w)


def _pooled(model: Any, _h: int, _w: int) -> Tensor | None:
    width = _width(model, "pooled_projection_dim")
    return None if width is None else _planes(width)


def _places(model: Any, count: int) -> Tensor:
    return torch.zeros(count, len(model.config.get("axes_dims_rope") or (0,) * 3), device="meta")


def _times(model: Any, _h: int, _w: int) -> Tensor:
    config = model.config
    return _planes(config["projection_class_embeddings_input_dim"] // config["addition_time_embed_dim"])


def _size(_model: Any, _h: int, _w: int) -> Tensor:
    return torch.zeros(1, 2, device="meta")


_OTHERS: dict[str, Other] = {
    "timestep": _number,
    "t": _number,
    "encoder_hidden_states": _text,
    "class_labels": _classes,
    "added_cond_kwargs": _added,
    "controlnet_cond": _condition,
    "pooled_projections": _pooled,
    "img_ids": lambda model, h, w: _places(model, TOKENS * TOKENS),  # noqa: ARG005
    "txt_ids": lambda model, h, w: _places(model, TOKENS),  # noqa: ARG005
    "guidance": lambda model, h, w: _number(model, h, w) if model.config.get("guidance_embeds") else None,
    "added_time_ids": _times,
    "original_size": _size,
    "target_size": _size,
    "crop_coords": _size,
    "encoder_attention_mask": lambda model, h, w: torch.ones(1, TOKENS, dtype=torch.long, device="meta"),  # noqa: ARG005
}
"""What else a forward asks for, by name; None = nothing."""


def call_on_images(model: Any, n: int, timestep: int) -> tuple[Callable[[Tensor], Tensor], int, tuple[int, int]]:
    """A diffusers model as a function of n images (n, C, H, W), C, and (H, W); whatever else it asks for is zeros.

    Raises ArgumentError for a model that takes no images, or whose config does not tell what it takes.
    """
    given = next(iter(implied_inputs(model)), None)
    if not isinstance(given, dict):
        raise ArgumentError(f"what a {type(model).__name__} is called with could not be told from its config")
    (main, image), *_ = given.items()
    if image.ndim != 4:
        raise ArgumentError(
            f"a {type(model).__name__} takes {'videos' if image.ndim == 5 else 'no images'}, not images"
        )
    others = {k: _repeated(v, n) for k, v in zero_inputs({k: v for k, v in given.items() if k != main}).items()}
    others |= {name: torch.full((n,), timestep) for name in ("timestep", "t") if name in others}

    def call(x: Tensor) -> Tensor:
        out: Tensor = next(v for v in tree_leaves(model(**{main: x}, **others, return_dict=False)) if v.ndim == 4)
        return out

    return call, int(image.shape[1]), (int(image.shape[2]), int(image.shape[3]))


def _repeated(value: Any, n: int) -> Any:
    return tree_map(lambda v: v.repeat(n, *[1] * (v.ndim - 1)) if isinstance(v, Tensor) else v, value)


def inputs_to_config(inputs: Inputs | None) -> Any:
    """The shapes of arguments as plain values, for a model's config."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        if isinstance(value, Mapping):
            return {"arguments": {k: plain(v) for k, v in value.items()}}
        if isinstance(value, tuple | list):
            return [plain(v) for v in value]
        return value if isinstance(value, int | float | str | bool | None) else None

    return None if inputs is None else plain(inputs)


def inputs_from_config(entry: Any) -> Any:
    """Arguments of those shapes, without data."""
    if isinstance(entry, Mapping):
        if "shape" in entry:
            return torch.empty(*entry["shape"], dtype=getattr(torch, entry["dtype"]), device="meta")
        return {k: inputs_from_config(v) for k, v in entry["arguments"].items()}
    return [inputs_from_config(v) for v in entry] if isinstance(entry, list | tuple) else entry
