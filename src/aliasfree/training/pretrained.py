"""A saved network in the place of a new one, `aliasfree train --model DIR`: of diffusers, or of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.loading import DAMAGE, load_model, model_class, read_json
from aliasfree.training.settings import RunSettings

__all__ = ["load_unet"]

OURS, CONVERTED, STOCK = "AliasFreeUNet2DModel", "AliasFreeStockUNet2DModel", "UNet2DModel"
OF_OURS = ("base_channels", "class_conditional", "preconditioning", "frame_features", "coarse_steps")
"""Settings of networks of ours only."""


def load_unet(
    given: Path | dict[str, Any],
    settings: RunSettings,
    sample_size: tuple[int, int],
    channels: int,
    classes: int | None,
) -> Any:
    """The network in a folder, in the config that is asked for; with random weights when the folder holds a config.json
    only.

    given        the folder of a network, or of a pipeline with one in unet/; or the content of its config.json
    sample_size  (height, width) of the images to train on; channels: 1 or 3; classes: of a class-conditional run
    Raises ArgumentError for a folder with another model, or one that does not fit the images or settings, and
    CheckpointError for weights that do not fit.
    """
    if isinstance(given, dict):
        saved, folder = given, None
    else:
        folder = given / "unet" if (given / "unet" / "config.json").is_file() else given
        try:
            saved = read_json(folder / "config.json")
        except OSError as error:
            raise ArgumentError(
                f"`model` {folder} is no folder of a diffusers model, which has a config.json ({error}); save one with "
                f"model.save_pretrained."
            ) from error
    kind = saved.get("_class_name")
    place = folder or settings.out
    if kind not in (STOCK, CONVERTED, OURS):
        raise ArgumentError(
            f"`model` {place} holds a {kind}; only a UNet2DModel, or a network of ours, can be trained here."
        )
    if kind == OURS:
        return _ours(saved, folder, settings, sample_size, channels, classes)
    for name in OF_OURS:
        if getattr(settings, name) not in (None, False, 0, "none"):
            raise ArgumentError(f"`{name}` is of the paper's network; leave it out with `model`, which holds a {kind}.")
    padding = settings.padding_mode
    options = {
        "alias_free": settings.config,
        "alias_free_padding_mode": None if padding in (None, "zeros") else padding,
        "sample_size": sample_size[0] if sample_size[0] == sample_size[1] else sample_size,
    }
    _check_fit(saved, place, sample_size, channels)
    if folder is not None and any(folder.glob("diffusion_pytorch_model*")):
        return load_model(folder, as_class=CONVERTED, **options)
    return _built(saved | {"_class_name": CONVERTED}, place, options)


def _ours(
    saved: dict[str, Any], folder: Path | None, settings: RunSettings, size: tuple[int, int], channels: int,
    classes: int | None,
) -> Any:  # fmt: skip
    """A network of ours with its weights, in the config asked for, whose filters may be others."""
    from aliasfree.training.run_folder import WEIGHTS

    place = folder or settings.out
    asked = {
        "in_channels": ("channels", channels),
        "base_channels": ("base_channels", settings.base_channels),
        "preconditioning": ("preconditioning", settings.preconditioning),
        "frame_features": ("frame_features", settings.frame_features),
        "num_train_timesteps": ("num_train_timesteps", settings.num_train_timesteps),
    }
    for name, (argument, wanted) in asked.items():
        if wanted is not None and saved.get(name, wanted) not in (wanted, None):
            raise ArgumentError(
                f"The network in {place} has `{argument}` {saved[name]}, not {wanted}; give that, or train a new one "
                f"without `model`."
            )
    if saved.get("num_class_embeds") != classes:
        there = saved.get("num_class_embeds")
        raise ArgumentError(
            f"The network in {place} knows {there or 'no'} classes and this run {classes or 'none'}; give "
            f"`class_conditional={there is not None}` and data of as many classes, or train a new one without `model`."
        )
    options: dict[str, Any] = {"alias_free": settings.config, "sample_size": size[0] if size[0] == size[1] else size}
    if saved.get("base_channels") is None:  # as wide as the images that it was made for
        was = saved.get("sample_size", 32)
        options["base_channels"] = was if isinstance(was, int) else max(was)
    if settings.padding_mode is not None:
        options["padding_mode"] = settings.padding_mode
    model = _built(saved, place, options)
    if folder is not None and (folder / WEIGHTS).is_file():
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"The weights in {folder} do not fit config {settings.config} "
                f"({' '.join(str(error).split())[:200]}); give the config of their training, or other weights."
            ) from error
    return model


def _built(saved: dict[str, Any], place: Path, options: dict[str, Any]) -> Any:
    try:
        return model_class(saved, place / "config.json").from_config(saved, **options)
    except DAMAGE as error:
        why = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise CheckpointError(f"The network in {place} cannot be built ({why}); give another `model`.") from error


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
