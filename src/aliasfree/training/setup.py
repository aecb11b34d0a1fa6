"""What happens before the first step: the network, the checks of the run folder, and its config.json."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aliasfree.config import Config
from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.loading import DAMAGE
from aliasfree.training.pretrained import load_unet
from aliasfree.training.run_folder import RunFolder
from aliasfree.training.settings import RunSettings

if TYPE_CHECKING:
    from aliasfree.data import ImageData
    from aliasfree.models import AliasFreeUNet2DModel

_LIBRARIES = ("aliasfree", "torch", "diffusers", "accelerate", "numpy", "safetensors")
_ARGUMENTS = {"alias_free": "`config`", "sample_size": "`image_size`", "in_channels": "`channels`",
              "base_channels": "`base_channels`", "num_class_embeds": "`class_conditional`",
              "padding_mode": "`padding_mode`", "preconditioning": "`preconditioning`",
              "frame_features": "`frame_features`"}  # fmt: skip
# of networks saved before these could be chosen
_DEFAULTS = {"preconditioning": "none", "frame_features": 0, "spectrum": None, "num_train_timesteps": 1000}
# settings that may differ on resume without changing what is computed; a falling learning rate depends on the length
_FREE = {"out", "epochs", "steps", "checkpoint_every", "keep_checkpoints", "sample_every", "sample_num", "sample_steps",
         "save_training_images", "device", "data", "split", "num_images", "skip_bad", "image_size",
         "channels"}  # fmt: skip


def settled(settings: RunSettings) -> RunSettings:
    """The same settings from wherever they are read again: relative paths made absolute."""
    from aliasfree.data.registry import absolute

    model = None if settings.model is None else settings.model.expanduser().absolute()
    return settings.replace(data=absolute(settings.data), model=model)


def open_data(settings: RunSettings, progress: Any = None, before: Path | None = None) -> ImageData:
    """The images the settings name. Raises `DataError` and `ArgumentError` as `aliasfree.data.open_images` does.

    before  where a run that goes on found them, taken when their name says nothing here ("mnist" in ./data)
    """
    from aliasfree.data import open_images
    from aliasfree.data.registry import source_names, where

    moved = before is not None and settings.data in source_names() and where(settings.data) is None and before.exists()
    data = open_images(
        before if moved and before is not None else settings.data,
        image_size=settings.image_size,
        channels=settings.channels,
        split=settings.split,
        labels=settings.labels,
        skip_bad=settings.skip_bad,
        progress=progress,
    )
    return data if settings.num_images is None else data.some(settings.num_images)


def num_classes(settings: RunSettings, data: ImageData) -> int | None:
    """Classes of a class-conditional run, None of an unconditional one. Raises `ArgumentError` without labels."""
    if not settings.class_conditional:
        return None
    if data.num_classes is None:
        raise ArgumentError(f"The data {settings.data!r} have no labels, so leave out `class_conditional`.")
    return data.num_classes


def build_model(settings: RunSettings, data: ImageData, known: dict[str, Any] | None = None) -> Any:
    """The network to train on the data: the paper's, untrained, or the one `settings.model` names.

    known  the network's description in a run that goes on from a checkpoint, in place of the folder `settings.model`

    The same for the same seed; the global generator is left as it was.
    """
    from aliasfree.data import check_image_size
    from aliasfree.models import AliasFreeUNet2DModel
    from aliasfree.nn import measure_spectrum
    from aliasfree.nn.preconditioning import Spectrum

    height, width = check_image_size(data.image_size)
    if len(data) == 0:
        raise ArgumentError(f"The data {settings.data!r} hold no images; give another source.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.model is not None:
            size = (height, width)
            given = settings.model if known is None else known
            return load_unet(given, settings, size, data.channels, num_classes(settings, data))
        config = Config.parse(settings.config)
        spectral = settings.preconditioning or ("spectral" if config.traits.spectral else "none")
        spectrum = None
        if spectral == "spectral":  # measured once: another number of threads sums in another order
            spectrum = (known or {}).get("spectrum") or measure_spectrum(some_images(data), radial=config.is_radial)
            try:
                Spectrum.of(spectrum)
            except DAMAGE as error:
                raise CheckpointError(
                    f"The spectrum in the config.json of the run is damaged ({type(error).__name__}); restore the file "
                    f"from a copy."
                ) from error
        return AliasFreeUNet2DModel(
            alias_free=settings.config,
            sample_size=height if height == width else (height, width),
            in_channels=data.channels,
            out_channels=data.channels,
            base_channels=settings.base_channels,
            num_class_embeds=num_classes(settings, data),
            padding_mode=settings.padding_mode,
            preconditioning=spectral,
            frame_features=settings.frame_features,
            spectrum=spectrum,
            num_train_timesteps=settings.num_train_timesteps,
        )


def some_images(data: ImageData, most: int = 4096) -> torch.Tensor:
    """At most `most` evenly spaced images of the data, uint8 (N, C, H, W)."""
    return torch.from_numpy(np.array(data.images[:: -(-len(data) // most)]))  # a copy: torch wants it writable


def describe(settings: RunSettings, data: ImageData, model: AliasFreeUNet2DModel, processes: int) -> dict[str, Any]:
    """The content of config.json."""
    from aliasfree.data.registry import where

    place = where(settings.data)
    return {
        "settings": settings.to_dict(),
        "model": json.loads(model.to_json_string()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": {
            "source": data.source,
            "path": None if place is None else str(place),
            "split": data.split,
            "fingerprint": data.fingerprint,
            "images": len(data),
            "image_size": list(data.image_size),
            "channels": data.channels,
            "class_names": list(data.class_names) if data.class_names else None,
            "skipped": list(data.skipped),
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "environment": {"processes": processes, "threads": torch.get_num_threads(), "platform": platform.platform()},
        "resumed": [],
    }


def check_resume(folder: RunFolder, now: dict[str, Any]) -> list[str]:
    """Compare a run's config.json with what is asked for now; the list says what changed and may change.

    Raises `CheckpointError` when network, schedule or data differ, naming both.
    """
    before = folder.config
    where = f"The run in {folder.path}"
    for name in sorted(_network(before) | _network(now)):
        old, new = _network(before).get(name), _network(now).get(name)
        if old != new:
            argument = _ARGUMENTS.get(name, f"`{name}`")
            raise CheckpointError(
                f"{where} is of another architecture ({argument}: {_brief(old)} there, {_brief(new)} asked for); leave "
                f"out {argument} to go on with it, or choose another `out`."
            )
    old_t, new_t = (c["settings"].get("num_train_timesteps") for c in (before, now))
    if old_t != new_t:
        raise CheckpointError(
            f"{where} was begun with `num_train_timesteps` {_brief(old_t)}, not {new_t}; leave it out or choose "
            f"another `out`."
        )
    old_data, new_data = before.get("data", {}), now["data"]
    if old_data.get("fingerprint") != new_data["fingerprint"]:
        raise CheckpointError(
            f"{where} was begun on other data ({old_data.get('images')} images of {_brief(old_data.get('source'))}, "
            f"now {new_data['images']} images of {new_data['source']}); give the same `data` or choose another `out`."
        )
    free = _FREE if now["settings"]["lr_schedule"] == "constant" else _FREE - {"steps", "epochs"}
    changes = []
    for part in ("settings", "versions", "environment"):
        for name, new in now[part].items():
            old = before.get(part, {}).get(name, new)  # a setting that came later changes nothing
            if old != new and name not in free:
                changes.append(f"{name} {old} -> {new}")
    return changes


def _brief(value: Any) -> str:
    """A value of a file, in a sentence."""
    return str(value)[:80]


def _network(config: dict[str, Any]) -> dict[str, Any]:
    ours = _DEFAULTS if config["model"].get("_class_name") == "AliasFreeUNet2DModel" else {}
    return ours | {name: value for name, value in config["model"].items() if not name.startswith("_")}
