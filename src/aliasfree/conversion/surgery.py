"""`convert` and `revert`: change a model in place, and change it back."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args

from diffusers import ConfigMixin
from diffusers.configuration_utils import FrozenDict
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from aliasfree.config import Config
from aliasfree.conversion.hooks import install
from aliasfree.conversion.inputs import Inputs, examine, inputs_from_config, inputs_to_config
from aliasfree.conversion.record import OWN, Record
from aliasfree.conversion.survey import Finding, survey
from aliasfree.conversion.treatment import TILED, Treatment
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.ops.resample import Padding

__all__ = [
    "ROUND_TRIP",
    "Conversion",
    "check_operable",
    "check_undoable",
    "conversion_of",
    "convert",
    "enter_into_config",
    "forget",
    "operate",
    "revert",
    "undo",
]

ATTENTION_RATES = (1, 2, 4)

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Conversion:
    """What a model was converted with, kept on the model itself."""

    treatment: Treatment
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
        if parsed.is_radial:
            raise ArgumentError(
                "config R has no 3x3 convolutions, so no network can be converted to it; choose T or D-hq"
            )
        if parsed.is_equivariant:
            padding_mode, feed_forward = padding_mode or "circular", True
        if attention_rate not in ATTENTION_RATES:
            raise ArgumentError(f"attention_rate is 1, 2 or 4, not {attention_rate!r}")
        if attention_rate > 1 and parsed.letter == "A":
            raise ArgumentError("config A has no filters to carry attention to a higher rate: use B, C, D or T")
        return cls(Treatment(parsed, padding_mode, tile), feed_forward, inputs, attention_rate=attention_rate)

    def to_config(self) -> dict[str, Any]:
        """The entries of a diffusers model's config; plain diffusers warns of them when it loads the model."""
        return {
            "alias_free": self.treatment.config.to_config(),
            "alias_free_padding_mode": self.treatment.padding_mode,
            "alias_free_feed_forward": self.feed_forward,
            "alias_free_inputs": self.inputs,
            "alias_free_attention_rate": self.attention_rate,
            "alias_free_tile": self.treatment.tile,
        }


ROUND_TRIP: dict[type[nn.Module], type[nn.Module]] = {}
"""stock model -> its subclass that is converted when it is built; filled by `aliasfree.conversion.models`."""


def convert(
    model: Model,
    config: str | Config = "D-hq",
    padding_mode: Padding | None = None,
    feed_forward: bool = False,
    inputs: Inputs | None = None,
    attention_rate: int = 1,
) -> Model:
    """Make every resampling step and nonlinearity of planes alias-free, in place. Returns the model.

    model         a diffusers model (UNet2DModel, UNet2DConditionModel, AutoencoderKL, ControlNetModel ...) or any
                  module built of known parts: strided convolutions, average pools, nearest-neighbour and bilinear
                  upsampling, activation modules
    config        letter: B resampling, C nonlinearities, D both, A neither; after the dash the filter. "T" = D with
                  filters that keep nothing at the Nyquist frequency, nonlinearities at twice the rate in training and
                  four times outside, feed_forward, and circular padding unless `padding_mode` says otherwise
    padding_mode  "zeros", "circular" or "reflect" for convolutions and filters alike; None = convolutions keep
                  theirs and filters find the plane reflected
    feed_forward  also filter the GEGLU of transformer blocks, which acts on tokens
    inputs        arguments of one call, in which the model is watched: a list, or by name (shapes count, values do
                  not). None = what the config of a diffusers model implies, or one image
    attention_rate   2 or 4 = attention over the pixels of planes is carried out at so many times their rate, with
                  16 or 256 times as many pairs of pixels; 1 = as it is

    Parameters, buffers and state-dict keys stay as they are: weights may be loaded before or after. `conversion_report`
    says what was done. A saved model remembers a conversion of the whole, not of a part: convert the whole model.
    Raises ArgumentError for a model that is converted, compiled, carries LoRA layers, or has modules whose `forward`
    was replaced on the object (by offloading, device maps, layerwise casting).

    >>> import torch
    >>> from aliasfree import convert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> x = torch.randn(1, 3, 16, 16)
    >>> before = model(x)
    >>> after = convert(model, "D-hq")(x)
    >>> tuple(after.shape), torch.equal(after, before)
    ((1, 8, 8, 8), False)
    """
    conversion = Conversion.of(config, padding_mode, feed_forward, inputs_to_config(inputs), attention_rate)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"expected a module, not {type(model).__name__}; of a pipeline convert the parts: convert(pipe.unet)"
        )
    if any("_record" in m.__dict__ or conversion_of(m) is not None for m in model.modules()):
        raise ArgumentError(
            "this model, or a part of it, is converted already; revert(model) first (and tile it again afterwards, if "
            "it is tiled)"
        )
    check_operable(model)
    operate(model, conversion, inputs)
    if not any("_record" in m.__dict__ for m in model.modules()) and conversion.treatment.config.letter != "A":
        warnings.warn(
            f"convert changed nothing in this {type(model).__name__}; str(conversion_report(model)) says why",
            stacklevel=2,
        )
    enter_into_config(model, conversion)
    return model


def revert(model: Model) -> Model:
    """Undo `convert` exactly, in place. Returns the model.

    Raises ArgumentError for a model that is not converted, or as `convert` does.

    >>> import torch
    >>> from aliasfree import convert, revert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> x = torch.randn(1, 3, 16, 16)
    >>> before = model(x)
    >>> torch.equal(revert(convert(model, "D-hq"))(x), before)
    True
    """
    conversion = conversion_of(model)
    if conversion is None:
        part = next((name for name, m in model.named_modules() if conversion_of(m) is not None), None)
        instead = "there is nothing to revert" if part is None else f"revert its part {part}, which is"
        raise ArgumentError(f"this model is not converted: {instead}")
    check_undoable(model)
    undo(model)
    forget(model, conversion)
    return model


def forget(model: nn.Module, conversion: Conversion) -> None:
    """Take a conversion out of a diffusers model's config."""
    if isinstance(model, ConfigMixin):
        entries = conversion.to_config()
        model._internal_dict = FrozenDict({k: v for k, v in model.config.items() if k not in entries})


def check_undoable(model: nn.Module) -> None:
    """Raise ArgumentError if the modules of a converted model cannot be given their classes back."""
    check_operable(model)
    for name, module in model.named_modules():
        record: Record | None = module.__dict__.get("_record")
        if record is not None and type(module) is not record.stock:
            _check_forward(name, module)


def undo(model: nn.Module) -> None:
    """Give every module below its stock class and attributes back. Touches no tensor and no config."""
    install()
    for module in model.modules():
        for key, hook in list(module._state_dict_pre_hooks.items()):
            if isinstance(hook, _Lost):
                del module._state_dict_pre_hooks[key]
        if getattr(module.__dict__.get("save_pretrained"), "func", None) is _refuse_to_save:
            del module.__dict__["save_pretrained"]
        if module.__dict__.pop("_conversion", None) is not None:
            for stock, subclass in ROUND_TRIP.items():
                if type(module) is subclass:
                    module.__class__ = stock
        record: Record | None = module.__dict__.pop("_record", None)
        if record is None:
            continue
        module.__class__ = record.stock
        module.__dict__.pop("_treatment", None)
        for name in OWN:
            module.__dict__.pop(name, None)
        for name, value in record.attributes.items():
            setattr(module, name, value)


def conversion_of(model: nn.Module) -> Conversion | None:
    """What the model was converted with, or None."""
    return model.__dict__.get("_conversion")


def operate(model: nn.Module, conversion: Conversion, inputs: Inputs | None = None) -> None:
    """Change the modules of a stock model. Touches no tensor, so it works on the meta device."""
    install()
    seen = examine(model, inputs_from_config(conversion.inputs) if inputs is None else inputs)
    found = list(survey(model, conversion.treatment, conversion.feed_forward, seen, conversion.attention_rate))
    for finding in found:
        if finding.become is not None:
            _check_forward(finding.name, finding.module)
    for finding in found:
        if finding.done:
            _change(finding, conversion.treatment)
    left = tuple((f.name, f.kind, f.reason) for f in found if f.reason)
    model.__dict__["_conversion"] = replace(conversion, left=left, traced=seen is not None)


def _change(finding: Finding, treatment: Treatment) -> None:
    module, new = finding.module, finding.attributes
    before = {name: getattr(module, name) for name in new if hasattr(module, name)}
    module.__dict__["_record"] = Record(type(module), finding.done, before)
    if finding.become is not None:
        module.__class__ = finding.become
        module.__dict__["_treatment"] = treatment
    for name, value in new.items():
        setattr(module, name, value)


def enter_into_config(model: nn.Module, conversion: Conversion) -> None:
    """Let a diffusers model know what it is, so that saving and loading it keeps the conversion."""
    if not isinstance(model, ConfigMixin):
        model.register_state_dict_pre_hook(_Lost())
        return
    from aliasfree.conversion.models import counterpart

    found = counterpart(type(model))
    if found is not None:
        model.__class__ = found
    else:  # from_pretrained of its class would give it back stock
        model.__dict__["save_pretrained"] = partial(_refuse_to_save, type(model).__name__)
    model.register_to_config(**conversion.to_config())


def _refuse_to_save(name: str, *_: Any, **__: Any) -> None:
    raise ArgumentError(
        f"{name} is no class of diffusers, so {name}.from_pretrained would load it as a stock model. The weights are "
        "the stock model's: save revert(model), and convert what from_pretrained gives."
    )


class _Lost:
    """A word when a whole is saved of which only a part was converted: the file knows nothing of that."""

    def __call__(self, module: nn.Module, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        if prefix:
            warnings.warn(
                f"{prefix.rstrip('.')} was converted by itself, which is not saved with the weights of the whole: "
                f"convert the whole model, or convert the part again after loading",
                stacklevel=2,
            )


def check_operable(model: nn.Module) -> None:
    """Raise ArgumentError if modules are wrapped in ways that surgery would break, or several models are given."""
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
