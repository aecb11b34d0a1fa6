"""What a model is converted with, and the change of its modules and back; no tensor is touched."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from diffusers import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from aliasfree.config import Config
from aliasfree.conversion.converted_module import StockState, own_attributes
from aliasfree.conversion.decisions import Decision, decide
from aliasfree.conversion.inputs import Inputs, examine, inputs_from_config
from aliasfree.conversion.plane_filters import TILED, PlaneFilters
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.ops.resample import Padding

__all__ = [
    "BEFORE_CHANGES",
    "Conversion",
    "PartIsLost",
    "check_operable",
    "check_undoable",
    "conversion_of",
    "operate",
    "refuse_to_save",
    "undo",
]

ATTENTION_RATES = (1, 2, 4)


@dataclass(frozen=True)
class Conversion:
    """What a model was converted with, kept on the model itself."""

    filters: PlaneFilters
    feed_forward: bool = False
    inputs: Any = None  # shapes of the arguments of the call that was watched, as plain values; None = implied ones
    left: tuple[tuple[str, str, str], ...] = ()  # name, kind and reason of what was not changed
    traced: bool = True  # whether a call could be watched
    attention_rate: int = 1

    @classmethod
    def of(
        cls,
        config: str | dict[str, Any] | Config,
        padding_mode: Padding | None,
        feed_forward: bool,
        inputs: Any = None,
        attention_rate: int = 1,
        tile: str = "",
    ) -> Conversion:
        """Checked. Raises ConfigError, ArgumentError."""
        modes = get_args(Padding)
        if padding_mode is not None and padding_mode not in modes:
            raise ArgumentError(f"unknown padding_mode {padding_mode!r}{did_you_mean(str(padding_mode), modes)}")
        if tile not in TILED:
            raise ArgumentError(f"`axes` to tile along are x (columns), y (rows) or xy, not {tile!r}")
        parsed = Config.parse(config)
        if not parsed.traits.convertible:
            lacks = "no 3x3 convolutions" if parsed.is_radial else "layers that stock networks do not have"
            raise ArgumentError(
                f"config {parsed.letter} has {lacks}, so no network can be converted to it; choose T or D-hq"
            )
        if parsed.traits.periodic:
            padding_mode = padding_mode or "circular"
        feed_forward = feed_forward or parsed.traits.attention
        if attention_rate not in ATTENTION_RATES:
            raise ArgumentError(f"attention_rate is 1, 2 or 4, not {attention_rate!r}")
        if attention_rate > 1 and parsed.up is None:
            raise ArgumentError(
                f"config {parsed.letter} has no filters to carry attention to a higher rate: use B, C, D or T"
            )
        return cls(PlaneFilters(parsed, padding_mode, tile), feed_forward, inputs, attention_rate=attention_rate)

    def to_config(self) -> dict[str, Any]:
        """The entries of a diffusers model's config; plain diffusers warns of them when it loads the model."""
        return {
            "alias_free": self.filters.config.to_config(),
            "alias_free_padding_mode": self.filters.padding_mode,
            "alias_free_feed_forward": self.feed_forward,
            "alias_free_inputs": self.inputs,
            "alias_free_attention_rate": self.attention_rate,
            "alias_free_tile": self.filters.tile,
        }


BEFORE_CHANGES: list[Callable[[], None]] = []
"""Called before the modules of a model are changed or changed back."""


def _tell_listeners() -> None:
    for listener in BEFORE_CHANGES:
        listener()


def check_undoable(model: nn.Module) -> None:
    """Raise ArgumentError if the modules of a converted model cannot be given their classes back."""
    check_operable(model)
    for name, module in model.named_modules():
        record: StockState | None = module.__dict__.get("_stock_state")
        if record is not None and type(module) is not record.stock:
            _check_forward(name, module)


def undo(model: nn.Module) -> None:
    """Give every module below its stock class and attributes back. Touches no tensor and no config."""
    _tell_listeners()
    for module in model.modules():
        for key, hook in list(module._state_dict_pre_hooks.items()):
            if isinstance(hook, PartIsLost):
                del module._state_dict_pre_hooks[key]
        if getattr(module.__dict__.get("save_pretrained"), "func", None) is refuse_to_save:
            del module.__dict__["save_pretrained"]
        if module.__dict__.pop("_conversion", None) is not None:
            module.__class__ = vars(type(module)).get("_stock_class", type(module))
        record: StockState | None = module.__dict__.pop("_stock_state", None)
        if record is None:
            continue
        added = own_attributes(module)
        module.__class__ = record.stock
        for name in added:
            module.__dict__.pop(name, None)
        for name, value in record.attributes.items():
            setattr(module, name, value)


def conversion_of(model: nn.Module) -> Conversion | None:
    """What the model was converted with, or None."""
    return model.__dict__.get("_conversion")


def operate(model: nn.Module, conversion: Conversion, inputs: Inputs | None = None) -> None:
    """Change the modules of a stock model. Touches no tensor, so it works on the meta device."""
    _tell_listeners()
    seen = examine(model, inputs_from_config(conversion.inputs) if inputs is None else inputs)
    if seen is None:
        warnings.warn(
            f"no call of this {type(model).__name__} could be watched, so tensors of four axes are taken for planes "
            f"(N, C, H, W), which is wrong for channels that come last: give the arguments of one call as `inputs`",
            stacklevel=3,
        )
    found = list(decide(model, conversion.filters, conversion.feed_forward, seen, conversion.attention_rate))
    for finding in found:
        if finding.become is not None:
            _check_forward(finding.name, finding.module)
    for finding in found:
        if finding.done:
            _change(finding, conversion.filters)
    left = tuple((f.name, f.kind, f.reason) for f in found if f.reason)
    model.__dict__["_conversion"] = replace(conversion, left=left, traced=seen is not None)


def _change(finding: Decision, filters: PlaneFilters) -> None:
    module, new = finding.module, finding.attributes
    before = {name: getattr(module, name) for name in new if hasattr(module, name)}
    module.__dict__["_stock_state"] = StockState(type(module), finding.done, before)
    if finding.become is not None:
        module.__class__ = finding.become
        module.__dict__["_filters"] = filters
    for name, value in new.items():
        setattr(module, name, value)


def refuse_to_save(name: str, *_: Any, **__: Any) -> None:
    raise ArgumentError(
        f"{name} is no class of diffusers, so {name}.from_pretrained would load it as a stock model. The weights are "
        "the stock model's: save revert(model), and convert what from_pretrained gives."
    )


class PartIsLost:
    """A hook on `state_dict` that warns when a whole is saved of which only a part was converted."""

    def __call__(self, module: nn.Module, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        if prefix:
            warnings.warn(
                f"{prefix.rstrip('.')} was converted by itself, which is not saved with the weights of the whole: "
                f"convert the whole model, or convert the part again after loading",
                stacklevel=2,
            )


def check_operable(model: nn.Module) -> None:
    """Raise ArgumentError if modules are wrapped in ways that a conversion would break, or several models are given."""
    if isinstance(model, ModelMixin) and not isinstance(model, ConfigMixin):
        raise ArgumentError(
            f"a {type(model).__name__} holds several models, each of which is saved by itself: take them one by one"
        )
    for module in model.modules():
        kind = type(module).__module__
        if kind.startswith("peft.") or hasattr(module, "lora_A"):
            raise ArgumentError(
                "the model carries LoRA layers, which remember the strides they were made for; fuse and unload them "
                "(pipe.fuse_lora(); pipe.unload_lora_weights()), convert, and add new ones afterwards"
            )
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ArgumentError("the model is compiled; convert first and compile afterwards")
        if kind.startswith("torch.jit"):
            raise ArgumentError("the model is scripted; convert first and script or export afterwards")


def _check_forward(name: str, module: nn.Module) -> None:
    """Raise ArgumentError if an object has a `forward` of its own, which another class would not change."""
    if "forward" in module.__dict__:
        raise ArgumentError(
            f"the forward of {name or 'the model'} was replaced, as offloading, device maps and layerwise casting do; "
            f"remove that (pipe.remove_all_hooks()) or load the model without it, convert, and put it on afterwards"
        )
