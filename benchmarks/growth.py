"""How the cost grows: seconds over those of the smallest size, against size over the smallest, as a log-log slope.

1 is proportional; below 1 something fixed is being shared out; attention over H W tokens tends to 4 in the side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from aliasfree.filters import FilterSpec
from benchmarks.builds import forward_call, make_network
from benchmarks.contenders import Module, literal_op, op_call, our_op
from benchmarks.results import Row, Settings, dtype_name
from benchmarks.timing import Function, Quartiles, Readings, Samples, alternate

__all__ = ["Axis", "measure", "measure_network", "measure_op", "slopes"]

Axis = Literal["batch", "channels", "side"]
Sizes = dict[Axis, tuple[int, ...]]

OP_SIZES: Sizes = {"batch": (2, 4, 8, 16, 32), "channels": (16, 32, 64, 128, 256), "side": (16, 32, 64, 128)}
NETWORK_SIZES: Sizes = {"batch": (1, 2, 4, 8, 16), "channels": (16, 32, 64), "side": (16, 32, 64)}
FEW = 3
"""Sizes of each axis in a quick run, the smallest."""


def measure(settings: Settings, report: Callable[[str], None]) -> Iterator[Row]:
    """Filtered GELUs and the UNet along each axis; none of it is needed for the bars."""
    if settings.bars:
        return
    count = FEW if settings.extent == "quick" else None
    for axis, sizes in OP_SIZES.items():
        for name in ("2N", "hq"):
            report(f"growth of filtered GELU {name} with {axis}")
            yield measure_op(name, axis, sizes[:count], settings)
    for axis, sizes in NETWORK_SIZES.items():
        report(f"growth of UNet D-2N with {axis}")
        yield measure_network("D-2N", axis, sizes[: 2 if count else None], settings)


def slopes(samples: Samples, names: Sequence[str], sizes: Sequence[int]) -> Readings:
    """Least-squares slope of log seconds over log size in each round, (rounds,); `names[i]` was read at `sizes[i]`."""
    seconds = np.stack([samples[name] for name in names])
    slope: Readings = np.polyfit(np.log(sizes), np.log(seconds / seconds[0]), 1)[0]
    return slope


def measure_op(name: str, axis: Axis, sizes: Sequence[int], settings: Settings) -> Row:
    """Filtered GELU, forward, ours and literal; batch 4, 64 channels and side 32 where they do not vary."""
    spec = FilterSpec.named(name)
    modules: dict[str, Module] = {
        "ours": our_op("filtered GELU", spec, settings.backend),
        "literal": literal_op("filtered GELU", spec).to(settings.device, settings.dtype),
    }
    calls: dict[str, Function] = {}
    for size in sizes:
        n, c, side = _with(axis, size, batch=4, channels=64, side=32)
        x = torch.randn(n, c, side, side, device=settings.device, dtype=settings.dtype)
        calls |= {f"{who} {size}": op_call(module, x, False) for who, module in modules.items()}
    samples = alternate(calls, settings.budget(5.0), settings.device, least=settings.least)
    base = _with(axis, sizes[0], batch=4, channels=64, side=32)
    shape = (*base, base[-1])
    return _row("filtered GELU", name, axis, sizes, shape, dtype_name(settings.dtype), samples, tuple(modules))


def measure_network(config: str, axis: Axis, sizes: Sequence[int], settings: Settings) -> Row:
    """A UNet's forward pass; batch 4, 32 base channels and side 32 where they do not vary."""
    calls: dict[str, Function] = {}
    for size in sizes:
        n, c, side = _with(axis, size, batch=4, channels=32, side=32)
        network = make_network(config, (n, 3, side, side), settings.device, base_channels=c)
        calls[f"ours {size}"] = forward_call(network, (n, 3, side, side), settings.device, False)
    samples = alternate(calls, settings.budget(15.0), settings.device, least=settings.least)
    n, _, side = _with(axis, sizes[0], batch=4, channels=32, side=32)
    return _row("UNet", config, axis, sizes, (n, 3, side, side), "float32", samples, ("ours",))


def _with(axis: Axis, size: int, **base: int) -> tuple[int, int, int]:
    """(batch, channels, side) with one of them replaced."""
    base[axis] = size
    return base["batch"], base["channels"], base["side"]


def _row(
    what: str,
    variant: str,
    axis: Axis,
    sizes: Sequence[int],
    shape: tuple[int, ...],
    dtype: str,
    samples: Samples,
    contenders: tuple[str, ...],
) -> Row:
    ratios = {}
    for who in contenders:
        names = [f"{who} {size}" for size in sizes]
        ratios[f"slope {who}"] = Quartiles.of(slopes(samples, names, sizes))
        ratios |= {f"{name} / {names[0]}": samples.ratio(name, names[0]) for name in names[1:]}
    return Row(
        section="growth",
        what=what,
        variant=variant,
        shape=shape,
        dtype=dtype,
        mode=f"with {axis}",
        seconds={name: samples.seconds(name) for name in samples},
        ratios=ratios,
        rounds=samples.rounds,
        note=f"{axis} {', '.join(map(str, sizes))}",
    )
