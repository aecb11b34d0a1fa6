"""What conversion did to a model, module by module, and what it costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from aliasfree.config import Config
from aliasfree.conversion.blocks import Filter
from aliasfree.conversion.decisions import decide
from aliasfree.conversion.inputs import Inputs, examine, implied_inputs, inputs_from_config
from aliasfree.conversion.meta_copy import meta_copy, meta_inputs
from aliasfree.conversion.operation import conversion_of, undo
from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.errors import ArgumentError
from aliasfree.filters import FilterSpec, separable_terms

__all__ = ["ConversionReport", "Entry", "conversion_report"]


@dataclass(frozen=True)
class Entry:
    """A module: its name in the model, its stock class, and what was done to it or why it was left."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class ConversionReport:
    """What `conversion_report` finds; `str` makes a table of it.

    config, padding_mode         of the conversion; "A" and None for a stock model, "A, D-hq in mid_block" if a part is
    touched, left                every module that was changed; every spatial module that was not, with the reason
    parameters                   numbers, the same before and after
    flops_before, flops_after    of one call, a multiply-add counting as 2; None = no inputs to call it with
    tile                         axes along which the planes are seamless: "", "x", "y" or "xy"
    traced                       whether one call of the model was watched; else the kind of a module decided

    >>> import torch
    >>> from aliasfree import conversion_report, convert
    >>> report = conversion_report(convert(torch.nn.Sequential(torch.nn.SiLU(), torch.nn.MaxPool2d(2)), "C-hq"))
    >>> [(entry.name, entry.kind) for entry in report.touched]
    [('0', 'SiLU')]
    >>> [(entry.kind, entry.text) for entry in report.left]
    [('MaxPool2d', 'config C')]
    """

    config: str
    padding_mode: str | None
    touched: tuple[Entry, ...]
    left: tuple[Entry, ...]
    parameters: int
    flops_before: int | None
    flops_after: int | None
    traced: bool = True
    tile: str = ""

    def __str__(self) -> str:
        padding = f", {self.padding_mode} padding" if self.padding_mode else ""
        padding += f", tiled along {self.tile}" if self.tile else ""
        lines = [f"Config {self.config}{padding}: {self.parameters:,} parameters, as before."]
        if self.flops_before is not None and self.flops_after is not None:
            lines.append(
                f"{self.flops_after / 1e9:.4g} GFLOP a call, {self.flops_before / 1e9:.4g} before "
                f"({self.flops_after / self.flops_before:.2f}x)."
            )
        width = max((len(e.name) for e in self.touched), default=0)
        lines.append(f"\nTouched ({len(self.touched)}):")
        lines += [f"  {e.name:{width}}  {e.kind}: {e.text}" for e in self.touched]
        lines.append(f"\nLeft ({len(self.left)}), by reason:")
        for (kind, text), number in Counter((e.kind, e.text) for e in self.left).items():
            names = [e.name for e in self.left if (e.kind, e.text) == (kind, text)]
            lines.append(f"  {number} {kind}: {text} ({', '.join(names[:3])}{' ...' if number > 3 else ''})")
        if not self.traced:
            lines.append(
                "  No call was watched: the kind of a module decided, and tensors of four axes are planes to it."
            )
        return "\n".join(lines)


def conversion_report(model: nn.Module, inputs: Inputs | None = None) -> ConversionReport:
    """Every module that `convert` touched and every spatial module it left; parameters and FLOPs before and after.

    model   converted or not
    inputs  arguments of one call, for the FLOPs (shapes count, values do not); None = those it was converted with, or
            what the config of a diffusers model implies, batch 1; no FLOPs for other models

    Filters count what a separable polyphase filter needs, whatever backend carries them out; an "ideal" filter counts
    as a Fourier transform of each line. LoRA layers added since count nowhere: fused, they cost nothing. The weights
    are neither used nor copied, and the model may be compiled or offloaded. Raises ArgumentError for inputs the model
    does not take.

    >>> import torch
    >>> from aliasfree import conversion_report, convert
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.SiLU())
    >>> report = conversion_report(convert(model, "D-hq"), inputs=[torch.zeros(1, 3, 16, 16)])
    >>> for entry in report.touched:
    ...     print(entry.name, entry.kind, entry.text, sep=" | ")
    0 | Conv2d | stride 1, low-pass, decimation by 2
    1 | SiLU | filtered on planes
    >>> report.flops_after > report.flops_before
    True
    """
    bare = meta_copy(model)
    conversions = {name: c for name, m in bare.named_modules() if (c := conversion_of(m)) is not None}
    touched = tuple(
        Entry(name, record.stock.__name__, record.done)
        for name, module in bare.named_modules()
        if (record := module.__dict__.get("_stock_state")) is not None
    )
    left, traced = _left(bare, inputs)
    parameters = sum(p.numel() for p in bare.parameters())
    whole = conversions.get("")
    implied = inputs is None
    if inputs is None and whole is not None and whole.inputs is not None:
        inputs, implied = inputs_from_config(whole.inputs), False
    if inputs is None and isinstance(bare, ConfigMixin):
        inputs = next(iter(implied_inputs(bare)), None)
    flops = _flops(bare, inputs, implied=implied)
    parts = [f"{c.filters.config} in {name}" for name, c in conversions.items() if name]
    return ConversionReport(
        config=str(whole.filters.config) if whole else ", ".join(["A", *parts]),
        padding_mode=whole.filters.padding_mode if whole else None,
        touched=touched,
        left=left,
        parameters=parameters,
        flops_before=flops[0],
        flops_after=flops[1],
        traced=traced,
        tile=whole.filters.tile if whole else "",
    )


def _left(model: nn.Module, inputs: Inputs | None) -> tuple[tuple[Entry, ...], bool]:
    """What was not changed and why, by the conversion of the whole, or of the part that a module is in; and whether a
    call was watched."""
    conversion = conversion_of(model)
    if conversion is not None:
        return tuple(Entry(*entry) for entry in conversion.left), conversion.traced
    found: dict[tuple[str, str], Entry] = {}
    parts = {name: c for name, m in model.named_modules() if (c := conversion_of(m)) is not None}
    try:
        seen = examine(model, inputs)
    except ArgumentError:
        if inputs is not None:
            raise
        seen = None
    for f in decide(model, PlaneFilters(Config("A")), False, seen):
        within = any(f.name == part or f.name.startswith(f"{part}.") for part in parts)
        if f.reason and not within and "_stock_state" not in f.module.__dict__:
            found[f.name, f.kind] = Entry(f.name, f.kind, f.reason)
    for part, c in parts.items():
        for name, kind, reason in c.left:
            found[f"{part}.{name}" if name else part, kind] = Entry(f"{part}.{name}" if name else part, kind, reason)
    return tuple(found.values()), seen is not None


def _flops(bare: nn.Module, inputs: Inputs | None, *, implied: bool) -> tuple[int | None, int | None]:
    """FLOPs of the stock model and of the converted one; None without arguments, or if the call needs data.
    Undoes the conversion of `bare`."""
    if inputs is None:
        return None, None
    tally = _Tally()
    for module in bare.modules():
        if "_filters" in module.__dict__:
            filters = module.__dict__["_filters"]
            module.__dict__["_filters"] = _Counting(filters.config, filters.padding_mode, filters.tile, tally)
        for name, value in list(module.__dict__.items()):
            if isinstance(value, Filter):
                counting = _Counting(value.filters.config, value.filters.padding_mode, value.filters.tile, tally)
                module.__dict__[name] = Filter(counting, value.up, value.line)
    try:
        after = _count(bare, inputs) + 2 * tally.macs
        undo(bare)
        return _count(bare, inputs), after
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        # a call that needs data: it counts, it sorts
        if implied or any(word in str(error) for word in ("meta", "Meta", "unsupported scalarType")):
            return None, None
        raise ArgumentError(f"the model does not take the inputs given for the report: {error}") from error


def _count(model: nn.Module, inputs: Inputs) -> int:
    arguments = meta_inputs(inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**arguments) if isinstance(arguments, Mapping) else model(*arguments)
    return int(counter.get_total_flops())


@dataclass
class _Tally:
    macs: int = 0


@dataclass(frozen=True)
class _Counting(PlaneFilters):
    """Filters that makes empty results of the right shape and counts the multiply-adds they would have cost."""

    tally: _Tally = field(default_factory=_Tally)

    def interpolate(self, x: Tensor, factor: int = 2, size: Sequence[int] | None = None) -> Tensor:
        high = (factor * x.shape[-2], factor * x.shape[-1])
        self._add(x, high, self.specs["interpolate"][factor], factor, up=True)
        return x.new_empty(*x.shape[:2], *(high if size is None else size))

    def decimate(self, z: Tensor, factor: int) -> Tensor:
        low = z.new_empty(*z.shape[:2], *(-(-n // factor) for n in z.shape[-2:]))
        self._add(low, tuple(z.shape[-2:]), self.specs["decimate"][factor], factor, up=False)
        return low

    def insert(self, x: Tensor, factor: int) -> Tensor:
        high = (factor * x.shape[-2], factor * x.shape[-1])
        self._add(x, high, self.specs["insert"][factor], factor, up=True)
        return x.new_empty(*x.shape[:2], *high)

    def low_pass(self, x: Tensor, factor: int) -> Tensor:
        spec = self.specs["decimate"][factor]
        self._add(x, tuple(x.shape[-2:]), spec, 1 if spec.kind != "ideal" else factor, up=False, terms_of=factor)
        return x

    def activate(
        self,
        x: Tensor,
        activation: str | Callable[[Tensor], Tensor],  # noqa: ARG002
        *,
        training: bool = True,
    ) -> Tensor:
        self._both_ways(x, x, self.rate(training=training))
        return x

    def gate(self, x: Tensor, function: Callable[[Tensor], Tensor], *, training: bool = True) -> Tensor:  # noqa: ARG002
        y = x[:, : x.shape[1] // 2]
        self._both_ways(x, y, self.rate(training=training))
        return y

    def at_rate(self, x: Tensor, rate: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        self._both_ways(x, x, rate)
        function(x.new_empty(*x.shape[:2], rate * x.shape[-2], rate * x.shape[-1]))
        return x

    def _both_ways(self, x: Tensor, y: Tensor, rate: int) -> None:
        high = (rate * x.shape[-2], rate * x.shape[-1])
        self._add(x, high, self.specs["up"][rate], rate, up=True)
        self._add(y, high, self.specs["down"][rate], rate, up=False)

    def _add(
        self,
        low: Tensor,
        high: tuple[int, ...],
        spec: FilterSpec,
        factor: int,
        *,
        up: bool,
        terms_of: int | None = None,
    ) -> None:
        """Between a plane `low` and one of size `high`: for each term of the kernel (`separable_terms`) taps / factor
        multiply-adds for each sample of the line at the higher rate, first along one axis, then along the other."""
        if spec.kind == "ideal":
            line = [n * max(1.0, math.log2(n)) for n in high]
            per_plane = line[1] * low.shape[-2] + line[0] * high[1]
        else:
            terms = len(separable_terms(spec, terms_of or factor, up=up))
            per_plane = terms * (low.shape[-2] * high[1] + high[0] * high[1]) * spec.taps / factor
        self.tally.macs += round(low.shape[0] * low.shape[1] * per_plane)
