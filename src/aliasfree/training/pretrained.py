"""A UNet2DModel of diffusers in the place of the paper's network: `aliasfree train --model DIR`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aliasfree.errors import ArgumentError

__all__ = ["load_unet", "model_class"]


def load_unet(
    given: Path | dict[str, Any], config: str, padding_mode: str | None, sample_size: tuple[int, int], channels: int
) -> Any:
    """The model in a folder, converted; with random weights when the folder holds a config.json only.

    given         the folder of a UNet2DModel, or of a pipeline with one in unet/; or the content of its config.json
    config        config name; what an earlier conversion of the saved model said is overridden
    padding_mode  "zeros" or None = convolutions keep theirs and filters reflect; else of both
    sample_size   (height, width) of the images to train on; channels: 1 or 3
    Raises ArgumentError for a folder with another model, or one that does not fit the images.
    """
    from aliasfree.conversion import AliasFreeStockUNet2DModel

    if isinstance(given, dict):
        return AliasFreeStockUNet2DModel.from_config(given, **_options(config, padding_mode, sample_size))
    folder = given / "unet" if (given / "unet" / "config.json").is_file() else given
    try:
        saved = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"`model` {folder} is no folder of a diffusers model, which has a config.json ({error}); save one with "
            f"model.save_pretrained."
        ) from error
    kind = saved.get("_class_name")
    if kind not in ("UNet2DModel", AliasFreeStockUNet2DModel.__name__):
        raise ArgumentError(f"`model` {folder} holds a {kind}; only a UNet2DModel can be trained here.")
    _check_fit(saved, folder, sample_size, channels)
    options = _options(config, padding_mode, sample_size)
    if any(folder.glob("diffusion_pytorch_model*")):
        return AliasFreeStockUNet2DModel.from_pretrained(folder, local_files_only=True, **options)
    return AliasFreeStockUNet2DModel.from_config(saved, **options)


def _options(config: str, padding_mode: str | None, sample_size: tuple[int, int]) -> dict[str, Any]:
    return {
        "alias_free": config,
        "alias_free_padding_mode": None if padding_mode in (None, "zeros") else padding_mode,
        "sample_size": sample_size[0] if sample_size[0] == sample_size[1] else sample_size,
    }


def model_class(description: dict[str, Any]) -> Any:
    """The class of a saved network, from its config."""
    from aliasfree.conversion import AliasFreeStockUNet2DModel
    from aliasfree.conversion.multi_model import class_named
    from aliasfree.models import AliasFreeUNet2DModel

    name = str(description.get("_class_name"))
    if name == AliasFreeStockUNet2DModel.__name__:
        return AliasFreeStockUNet2DModel
    return class_named(name) or AliasFreeUNet2DModel


def _check_fit(saved: dict[str, Any], folder: Path, sample_size: tuple[int, int], channels: int) -> None:
    for name in ("in_channels", "out_channels"):
        if saved.get(name, 3) != channels:
            raise ArgumentError(
                f"The model in {folder} has {name} {saved.get(name, 3)} and the data have {channels} channels; choose "
                f"`channels` or another model."
            )
    if saved.get("num_class_embeds") is not None or saved.get("class_embed_type") is not None:
        raise ArgumentError(
            f"The model in {folder} is class-conditional, which diffusers' UNet2DModel cannot learn here."
        )
    factor = 2 ** (len(saved.get("block_out_channels", (1,) * 4)) - 1)
    if any(side % factor for side in sample_size):
        raise ArgumentError(
            f"The model in {folder} halves images {factor.bit_length() - 1} times: `image_size` must be a multiple of "
            f"{factor}, not {sample_size[0]}x{sample_size[1]}."
        )
