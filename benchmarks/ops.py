"""Ops alone: ours, the literal algorithm, the plain activation, a 3x3 convolution, and the two floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from aliasfree.filters import FilterSpec
from benchmarks import floors
from benchmarks.contenders import Module, literal_op, op_call, our_op
from benchmarks.memory import PeakTask, measure_peak
from benchmarks.results import Row, Settings, dtype_name
from benchmarks.timing import Quartiles, Samples, alternate

__all__ = ["BAR_SHAPE", "GPU_BAR_SHAPE", "OpCase", "cases", "measure", "measure_case", "measure_peaks"]

FILTERS = ("2N", "hq", "radial")
BAR_SHAPE = (16, 64, 32, 32)
GPU_BAR_SHAPE = (64, 256, 64, 64)
SIZES = (16, 32, 64, 128, 256)
WIDTHS = (32, 64, 128, 256)
EQUAL_WORK = ((16, 256, 16, 16), BAR_SHAPE, (4, 64, 64, 64), (2, 32, 128, 128), (1, 32, 256, 256))
"""Every size once; about a million numbers each, as many as a level of the UNet has."""
PEAK_SHAPE = (16, 64, 128, 128)
"""Large enough that the input outweighs whatever else a process allocates."""


@dataclass(frozen=True)
class OpCase:
    """One op on one input, forward, or forward and backward."""

    operation: floors.Operation
    filter: str
    shape: tuple[int, int, int, int]
    backward: bool

    @property
    def mode(self) -> str:
        """In words."""
        return "forward + backward" if self.backward else "forward"


def cases(settings: Settings) -> Iterator[OpCase]:
    """What to measure: the shapes of the bars, every size once, or every size and width."""
    main = GPU_BAR_SHAPE if settings.device.type == "cuda" else BAR_SHAPE
    shapes = {main} if settings.bars or settings.extent == "quick" else {main, *EQUAL_WORK}
    if settings.extent == "full" and not settings.bars:
        shapes |= {(_batch(size, width), width, size, size) for size, width in product(SIZES, WIDTHS)}
    filters = ("2N", "hq") if settings.bars else FILTERS
    for shape, name, backward in product(sorted(shapes, key=lambda s: s[2:]), filters, (False, True)):
        yield OpCase("filtered GELU", name, shape, backward)
    if settings.bars:
        return
    operations: tuple[floors.Operation, ...] = ("upsampling", "downsampling")
    for operation, name, backward in product(operations, filters, (False, True)):
        yield OpCase(operation, name, main, backward)


def _batch(size: int, width: int) -> int:
    """As many images as make about 2^20 numbers, 1 to 16."""
    return min(16, max(1, 2**20 // (width * size * size)))


def measure(settings: Settings, report: Callable[[str], None]) -> Iterator[Row]:
    """All cases, then the peak memory of the filtered activations."""
    for case in cases(settings):
        report(f"{case.operation} {case.filter} {case.shape} {case.mode}")
        yield measure_case(case, settings)
    for name in ("2N", "hq"):
        report(f"peak memory of filtered GELU {name}")
        yield measure_peaks(name, PEAK_SHAPE, settings)


def measure_case(case: OpCase, settings: Settings) -> Row:
    """One row: all contenders in turn, the floors from the same rounds."""
    device, dtype = settings.device, settings.dtype
    spec = FilterSpec.named(case.filter)
    x = torch.randn(case.shape, device=device, dtype=dtype)
    conv = nn.Conv2d(case.shape[1], case.shape[1], 3, padding=1, bias=False).to(device, dtype)
    modules: dict[str, Module] = {
        "ours": our_op(case.operation, spec, settings.backend),
        "literal": literal_op(case.operation, spec).to(device, dtype),
        "conv": conv,
    }
    if case.operation == "filtered GELU":
        modules["plain"] = F.gelu
    functions = {name: op_call(module, x, case.backward) for name, module in modules.items()}
    least = floors.work(case.operation, spec, case.shape, backward=case.backward)
    functions |= floors.probes(least, x.numel(), dtype, device)
    samples = alternate(functions, settings.budget(2.0), device, least=settings.least)
    samples["arithmetic floor"] = floors.arithmetic_floor(samples, least, device)
    return Row(
        section="ops",
        what=case.operation,
        variant=case.filter,
        shape=case.shape,
        dtype=dtype_name(dtype),
        mode=case.mode,
        seconds={name: samples.seconds(name) for name in (*modules, "memory floor", "arithmetic floor")},
        ratios=_ratios(samples),
        rounds=samples.rounds,
    )


def _ratios(samples: Samples) -> dict[str, Quartiles]:
    ratios = {"literal / ours": samples.ratio("literal", "ours")}
    for name in ("plain", "conv", "memory floor", "arithmetic floor"):
        if name in samples:
            ratios[f"ours / {name}"] = samples.ratio("ours", name)
    return ratios


def measure_peaks(name: str, shape: tuple[int, int, int, int], settings: Settings) -> Row:
    """Memory a filtered activation takes beside its input, result included, as a multiple of the input."""
    task = PeakTask("activation", name, shape, settings.backend, dtype_name(settings.dtype), str(settings.device))
    ours, literal = (measure_peak(task.by(contender)) for contender in ("ours", "literal"))
    size = int(torch.Size(shape).numel()) * settings.dtype.itemsize
    return Row(
        section="ops",
        what="filtered GELU",
        variant=name,
        shape=shape,
        dtype=dtype_name(settings.dtype),
        mode="peak memory",
        values={
            "ours bytes": ours,
            "literal bytes": literal,
            "ours over input": ours / size,
            "literal over input": literal / size,
            "literal / ours": literal / max(ours, 1),
        },
        rounds=1,
        note="beside the input, the result included",
    )
