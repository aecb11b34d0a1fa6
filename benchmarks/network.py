"""The UNet: ours against the faithful slow build (and the published code), forward, training step and peak memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

from aliasfree.models import AliasFreeUNet2DModel
from benchmarks.builds import forward_call, make_network, slow_build, training_call
from benchmarks.memory import PeakTask, measure_peak
from benchmarks.peer import published_unet
from benchmarks.results import Row, Settings
from benchmarks.timing import Function, Samples, alternate

__all__ = ["CONFIGS", "SHAPE", "measure", "measure_mode", "measure_peaks"]

CONFIGS = ("A", "D-2N", "D-hq")
PUBLISHED = ("A", "D-2N")
SHAPE = (16, 3, 32, 32)
GPU_SHAPE = (64, 3, 32, 32)
SECONDS = {"forward": 60.0, "training step": 100.0}

Mode = Literal["forward", "training step"]
Shape = tuple[int, int, int, int]


def measure(settings: Settings, report: Callable[[str], None]) -> Iterator[Row]:
    """Both modes in float32 and under bfloat16 autocast, then the memory of each."""
    shape = GPU_SHAPE if settings.device.type == "cuda" else SHAPE
    modes: tuple[Mode, ...] = ("forward", "training step")
    for mode in modes:
        for dtype in ("float32", "bfloat16"):
            report(f"UNet {mode} {dtype} {shape}")
            yield from measure_mode(mode, dtype, shape, settings)
    if settings.bars:
        return
    for mode in modes:
        for config in CONFIGS[1:2] if settings.extent == "quick" else CONFIGS:
            report(f"peak memory of UNet {config} {mode}")
            yield measure_peaks(config, mode, shape, settings)


def measure_mode(mode: Mode, dtype: str, shape: Shape, settings: Settings) -> list[Row]:
    """One row a config: all networks of all configs in turn, so that configs compare as fairly as builds do.

    Each reading follows a call of the same network, as steps follow steps.

    Under autocast D-2N is compared with the slow build in float32 too, the only precision the published code uses.
    """
    networks: dict[str, Any] = {}
    for config in CONFIGS:
        ours = make_network(config, shape, settings.device)
        networks[f"slow {config}"] = slow_build(config, shape, settings.device)
        if settings.peer and config in PUBLISHED:
            networks[f"published {config}"] = published_unet(settings.peer, ours)
        networks[f"ours {config}"] = _compiled(ours, settings)
    call = forward_call if mode == "forward" else training_call
    autocast = dtype == "bfloat16"
    # the published code trains and samples in float32
    calls: dict[str, Function] = {
        name: call(network, shape, settings.device, autocast and not name.startswith("published"))
        for name, network in networks.items()
    }
    if autocast:
        in_float32 = slow_build("D-2N", shape, settings.device)
        calls["slow float32 D-2N"] = call(in_float32, shape, settings.device, False)
    samples = alternate(calls, settings.budget(SECONDS[mode]), settings.device, least=settings.least, settle=1)
    return [_row(config, mode, dtype, shape, samples, settings) for config in CONFIGS]


def _row(config: str, mode: Mode, dtype: str, shape: Shape, samples: Samples, settings: Settings) -> Row:
    ours = f"ours {config}"
    others = [name for name in ("slow", "slow float32", "published") if f"{name} {config}" in samples]
    ratios = {f"{name} / ours": samples.ratio(f"{name} {config}", ours) for name in others}
    if config != "A":
        ratios["ours / A"] = samples.ratio(ours, "ours A")
    published_in_float32 = "published" in others and dtype != "float32"
    return Row(
        section="network",
        what="UNet",
        variant=config,
        shape=shape,
        dtype=dtype,
        mode=mode,
        seconds={name: samples.seconds(f"{name} {config}") for name in ("ours", *others)},
        ratios=ratios,
        rounds=samples.rounds,
        note="; ".join(
            text
            for text, holds in (
                ("ours compiled", settings.compile),
                ("the published code in float32", published_in_float32),
            )
            if holds
        ),
    )


def _compiled(model: AliasFreeUNet2DModel, settings: Settings) -> Any:
    return torch.compile(model) if settings.compile else model


def measure_peaks(config: str, mode: Mode, shape: Shape, settings: Settings) -> Row:
    """Memory of one run beside the weights, in float32; a training step's holds gradients and optimizer state."""
    task = PeakTask(mode, config, shape, settings.backend, "float32", str(settings.device))
    ours, slow = (measure_peak(task.by(contender)) for contender in ("ours", "literal"))
    return Row(
        section="network",
        what="UNet",
        variant=config,
        shape=shape,
        dtype="float32",
        mode=f"peak memory, {mode}",
        values={"ours bytes": ours, "slow bytes": slow, "slow / ours": slow / max(ours, 1)},
        rounds=1,
        note="beside the weights; of a training step with gradients and optimizer state",
    )
