"""What a run will take of memory and disk, told before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError

if TYPE_CHECKING:
    from aliasfree.data import ImageData
    from aliasfree.training.settings import RunSettings

__all__ = ["check_disk", "check_memory", "check_resources", "step_bytes"]

_STATE = 20
"""Bytes a parameter: weight, gradient, average and two moments of AdamW, float32 each."""
_ROUGH_PARAMETERS, _ROUGH_ACTIVATIONS = 5600, 1000
"""Parameters over the squared width, and bytes a step keeps for an image pixel and channel of the first layer, of the
paper's network."""
_KERNELS = 3
"""The kernels keep about a third of what the operations keep that a model without data runs (2.33 of 7.05 MB)."""
_ROW = 30
"""Bytes of a step in losses.csv, at least."""


def check_resources(settings: RunSettings, data: ImageData | None = None, processes: int = 1) -> None:
    """Raise ArgumentError where a run takes more memory or disk than there is.

    data  the images, for what depends on them; None = not opened yet
    """
    if data is not None:
        check_disk(settings.total_steps(len(data), processes), settings.out)
    size = settings.image_size if data is None else data.image_size
    if settings.model is None and size is not None:
        sides = (size, size) if isinstance(size, int) else size
        _check_training_memory(settings, sides, (settings.channels or 1) if data is None else data.channels)


def _check_training_memory(settings: RunSettings, size: tuple[int, int], channels: int) -> None:
    """A step of the paper's network, with a rough estimate first, and an exact one only if that is not small."""
    height, width = size
    base = settings.base_channels or max(size)
    frames = settings.frame_features or 0
    rough = _STATE * (_ROUGH_PARAMETERS * base**2 + 36 * frames * base)
    rough += settings.batch_size * height * width * (_ROUGH_ACTIVATIONS * base + 16 * frames)
    if rough > _memory(settings.device) / 8:
        needed = _paper_bytes(settings, size, channels)
        smaller = "`batch_size`, `image_size`, `base_channels` or `frame_features`"
        check_memory(needed, settings.device, smaller)


def check_memory(needed: int, device: str, smaller: str) -> None:
    """Raise ArgumentError where more bytes are needed than the device has; `smaller` names what to make smaller."""
    there = _memory(device)
    if needed > there:
        many = f"about {needed / 1e9:,.0f}" if needed < 1e15 else "more than a million"
        raise ArgumentError(
            f"A step would take {many} GB of memory and this machine has {there / 1e9:,.0f} GB; "
            f"choose a smaller {smaller}."
        )


def check_disk(steps: int, out: Path) -> None:
    """Raise ArgumentError where the log of so many steps alone would not fit on the disk."""
    place = next((p for p in out.absolute().parents if p.exists()), Path("/"))
    needed, there = _ROW * steps, shutil.disk_usage(place).free
    if needed > there:
        many = f"{needed / 1e9:,.0f}" if needed < 1e15 else "more than a million"
        raise ArgumentError(
            f"{float(steps):.3g} steps would write {many} GB of losses.csv and {place} has {there / 1e9:,.0f} GB "
            f"free; choose fewer `steps` or `epochs`."
        )


def step_bytes(model: Any, *inputs: Any) -> int:
    """About the bytes that a training step of a model on the meta device takes: what the backward pass reads again, and
    the state of its parameters. Raises RuntimeError where a tensor is larger than any memory."""
    import torch

    storages: dict[int, Any] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        storages[storage._cdata] = storage
        return x

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model(*inputs)
    state = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = sum(storage.nbytes() for key, storage in storages.items() if key not in state)
    return kept // _KERNELS + _STATE * sum(p.numel() for p in model.parameters())


def _paper_bytes(settings: RunSettings, size: tuple[int, int], channels: int) -> int:
    import torch

    from aliasfree.models import AliasFreeUNet2DModel

    n = settings.batch_size
    try:
        with torch.device("meta"):
            model = AliasFreeUNet2DModel(
                settings.config, size, channels, channels, settings.base_channels, padding_mode=settings.padding_mode,
                preconditioning="none", frame_features=settings.frame_features or 0,
            )  # fmt: skip
            times = torch.zeros(n, dtype=torch.long)
            needed = step_bytes(model, torch.empty(n, channels, *size), times)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        return 2**63  # beyond what an address can say
    return needed // 2 if settings.mixed_precision == "bf16" or settings.compile else needed


def _memory(device: str) -> int:
    import torch

    from aliasfree.devices import find_device

    chosen = find_device(device)
    if chosen != "cpu":
        return int(torch.cuda.get_device_properties(chosen).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
