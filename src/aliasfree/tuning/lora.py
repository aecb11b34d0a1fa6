"""LoRA layers on a converted model, as diffusers adds them (by peft), and their merging."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from aliasfree.errors import ArgumentError, DataError

__all__ = ["add_lora", "merged"]


def add_lora(model: nn.Module, rank: int) -> nn.Module:
    """LoRA layers of that rank on every linear layer and convolution that conversion left; nothing else is trained.

    A converted convolution computes at another stride than it says, which a LoRA branch beside it would not follow.
    Raises DataError without peft, ArgumentError where no layer is left.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DataError("LoRA layers are peft's; install it with `pip install peft`, or leave `lora` out.") from error
    kinds = (nn.Linear, nn.Conv2d)
    targets = [name for name, m in model.named_modules() if name and isinstance(m, kinds) and not _is_replaced(m)]
    if not targets:
        raise ArgumentError("The model has no layer that LoRA could be added to; train all weights with `lora=0`.")
    model.requires_grad_(False)
    # only the exact names: peft takes a name for every layer whose own name ends in it
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="|".join(n.replace(".", r"\.") for n in targets))
    inject_adapter_in_model(config, model)
    for layer in _layers(model):
        base = layer.get_base_layer()
        if isinstance(base, nn.Conv2d):  # peft pads with zeros whatever the layer does
            for branch in layer.lora_A.values():
                branch.padding_mode = base.padding_mode
    return model


def merged(model: nn.Module) -> Any:
    """A copy with the LoRA layers taken into the weights, with the plain model's keys; else the model itself."""
    if not _layers(model):
        return model
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if _is_lora(module):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, module.get_base_layer())
    plain.__dict__.pop("peft_config", None)
    return plain


def _layers(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if _is_lora(m)]


def _is_lora(module: nn.Module) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "get_base_layer")


def _is_replaced(module: nn.Module) -> bool:
    """Whether conversion made it compute something else, and not pad otherwise only."""
    record = module.__dict__.get("_stock_state")
    return record is not None and (
        type(module) is not record.stock or set(record.attributes) - {"padding_mode"} != set()
    )
