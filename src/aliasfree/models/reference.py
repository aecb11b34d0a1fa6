"""Checkpoints of the paper's published code: reading them safely and translating their names.

The published code has four UNet classes whose parameters are the same in order and shape but differ in name
(`double_conv.0` or `conv1`, `maxpool_conv` or `conv`).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from aliasfree.errors import CheckpointError

__all__ = ["read_reference", "translate_name"]

_RULES: tuple[tuple[str, str], ...] = (
    (r"^module\.", ""),
    (r"\.maxpool_conv\.1\.", ".conv.0."),
    (r"\.maxpool_conv\.2\.", ".conv.1."),
    (r"\.double_conv\.0\.", ".conv1."),
    (r"\.double_conv\.1\.", ".norm1."),
    (r"\.double_conv\.3\.", ".conv2."),
    (r"\.double_conv\.4\.", ".norm2."),
    (r"^((?:down|up)\d)\.conv\.0\.", r"\1.res."),
    (r"^((?:down|up)\d)\.conv\.1\.", r"\1.conv."),
    (r"\.emb_layer\.1\.", ".emb."),
    (r"^sa(\d)\.mha\.in_proj_", r"attn\1.qkv."),
    (r"^sa(\d)\.mha\.out_proj\.", r"attn\1.out."),
    (r"^sa(\d)\.ln\.", r"attn\1.norm."),
    (r"^sa(\d)\.ff_self\.0\.", r"attn\1.ff_norm."),
    (r"^sa(\d)\.ff_self\.1\.", r"attn\1.ff1."),
    (r"^sa(\d)\.ff_self\.3\.", r"attn\1.ff2."),
)


def translate_name(name: str) -> str:
    """Our name of a parameter of the published code, whichever of its four UNets it comes from."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def read_reference(checkpoint: Path | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict under our names. Raises CheckpointError when it is no such checkpoint; never unpickles code."""
    state = _load(checkpoint) if isinstance(checkpoint, Path) else checkpoint
    where = checkpoint if isinstance(checkpoint, Path) else "the state dict"
    translated = {translate_name(name): value for name, value in state.items()}
    for needed in ("inc.conv1.weight", "down1.res.conv1.weight", "attn6.qkv.weight", "outc.weight"):
        if needed not in translated:
            raise CheckpointError(
                f"{where} is not a UNet checkpoint of the paper's published code: nothing there becomes {needed!r}"
            )
    return translated


def _load(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(
            f"cannot read {path} as weights only ({type(error).__name__}); save its state_dict() again and load that"
        ) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise CheckpointError(f"{path} is damaged or not a safetensors file; download it again") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} holds no plain state dict; save model.state_dict() with the published code")
    return state
