"""A model without its weights, to be called for what happens in it and what it costs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

__all__ = ["meta_copy", "meta_inputs", "zero_inputs"]

HOOKS = ("_hf_hook", "_diffusers_hook")
"""Attributes under which accelerate and diffusers keep what they put in front of a module's `forward`."""


def to_meta(x: Tensor) -> Tensor:
    """x without data. Layerwise casting mixes floating types, which count alike: they become one."""
    return x.to("meta", torch.float32 if x.is_floating_point() else None)


def meta_inputs(inputs: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Arguments whose tensors have no data."""
    return tree_map(lambda v: to_meta(v) if isinstance(v, Tensor) else v, inputs)


def zero_inputs(inputs: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Arguments on the CPU; tensors without data are zeros."""

    def real(v: Any) -> Any:
        if not isinstance(v, Tensor):
            return v
        v = v.float() if v.is_floating_point() else v
        return torch.zeros(v.shape, dtype=v.dtype, device="cpu") if v.is_meta else v.detach().cpu()

    return tree_map(real, inputs)


def meta_copy(model: Any) -> Any:
    """A copy on the meta device without compilation, offloading and LoRA layers.

    What deepcopy would copy of parameters, buffers and hooks (which hold weights) is put into its memo instead.
    """
    model = getattr(model, "_orig_mod", model)
    memo: dict[int, Any] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(to_meta(p.detach()), requires_grad=False)
    for b in model.buffers():
        memo[id(b)] = to_meta(b)
    for module in model.modules():
        memo |= {id(module.__dict__[name]): None for name in HOOKS if name in module.__dict__}
    bare = copy.deepcopy(model, memo)
    for name, module in list(bare.named_modules()):
        if any(hook in module.__dict__ for hook in HOOKS):
            for attribute in (*HOOKS, "forward"):
                module.__dict__.pop(attribute, None)
        if type(module).__module__.startswith("peft."):
            stock = getattr(module, "base_layer", None)
            if isinstance(stock, nn.Module):
                bare.set_submodule(name, stock)
    return bare
