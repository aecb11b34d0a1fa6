"""What conversion did to a model, module by module, and what it costs."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from aliasfree.config import Config
from aliasfree.conversion.modules import Filter, sides
from aliasfree.conversion.surgery import conversion_of, undo
from aliasfree.conversion.survey import survey
from aliasfree.conversion.treatment import Treatment
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

    >>> import torch
    >>> from aliasfree import conversion_report, convert
    >>> report = conversion_report(convert(torch.nn.Sequential(torch.nn.SiLU(), torch.nn.MaxPool2d(2)), "C-hq"))
    >>> [(entry.name, entry.kind) for entry in report.touched]
    [('0', 'SiLU')]
    >>> [(entry.kind, entry.text) for entry in report.left]
    [('MaxPool2d', 'takes maxima: no linear filter equals it')]
    """

    config: str
    padding_mode: str | None
    touched: tuple[Entry, ...]
    left: tuple[Entry, ...]
    parameters: int
    flops_before: int | None
    flops_after: int | None

    def __str__(self) -> str:
        padding = f", {self.padding_mode} padding" if self.padding_mode else ""
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
        lines.append("  What a module does through functions of torch.nn.functional is not seen.")
        return "\n".join(lines)


def conversion_report(model: nn.Module, inputs: Sequence[Any] | Mapping[str, Any] | None = None) -> ConversionReport:
    """Every module that `convert` touched and every spatial module it left; parameters and FLOPs before and after.

    model   converted or not
    inputs  arguments of one call, for the FLOPs (shapes count, values do not); None = what the config of a UNet2DModel,
            UNet2DConditionModel, AutoencoderKL or ControlNetModel implies, batch 1; no FLOPs for other models

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
    1 | SiLU | filtered on planes; vectors pass
    >>> report.flops_after > report.flops_before
    True
    """
    bare = _bare_copy(model)
    conversions = {name: c for name, m in bare.named_modules() if (c := conversion_of(m)) is not None}
    touched = tuple(
        Entry(name, record.stock.__name__, record.done)
        for name, module in bare.named_modules()
        if (record := module.__dict__.get("_record")) is not None
    )
    left = _left(bare, {e.name for e in touched})
    parameters = sum(p.numel() for p in bare.parameters())
    arguments = _implied_inputs(bare) if inputs is None else inputs
    flops = (None, None) if arguments is None else _flops(bare, arguments)
    whole = conversions.get("")
    parts = [f"{c.treatment.config} in {name}" for name, c in conversions.items() if name]
    return ConversionReport(
        config=str(whole.treatment.config) if whole else ", ".join(["A", *parts]),
        padding_mode=whole.treatment.padding_mode if whole else None,
        touched=touched,
        left=left,
        parameters=parameters,
        flops_before=flops[0],
        flops_after=flops[1],
    )


def _left(model: nn.Module, touched: set[str]) -> tuple[Entry, ...]:
    """What was not changed and why: by the conversion of the whole, or of the part that a module is in."""
    found: dict[str, Entry] = {}
    for root, part in model.named_modules():
        conversion = conversion_of(part)
        if root and conversion is None:
            continue
        treatment = conversion.treatment if conversion else Treatment(Config("A"))
        for f in survey(part, treatment, conversion.feed_forward if conversion else False):
            name = ".".join(filter(None, (root, f.name)))
            if f.reason and name not in touched:
                found[name] = Entry(name, type(f.module).__name__, f.reason)
    return tuple(found.values())


def _flops(ghost: nn.Module, inputs: Sequence[Any] | Mapping[str, Any]) -> tuple[int, int]:
    """FLOPs of the stock model and of the converted one. Undoes the conversion of `ghost`."""
    tally = _Tally()
    for module in ghost.modules():
        if "_treatment" in module.__dict__:
            how = module.__dict__["_treatment"]
            module.__dict__["_treatment"] = _Counting(how.config, how.padding_mode, tally)
        for name, value in list(module.__dict__.items()):
            if isinstance(value, Filter):
                counting = _Counting(value.treatment.config, value.treatment.padding_mode, tally)
                module.__dict__[name] = Filter(counting, value.up, value.line)
    after = _count(ghost, inputs) + 2 * tally.macs
    undo(ghost)
    return _count(ghost, inputs), after


def _count(model: nn.Module, inputs: Sequence[Any] | Mapping[str, Any]) -> int:
    def ghost(value: Any) -> Any:
        return _ghost(value) if isinstance(value, Tensor) else value

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            if isinstance(inputs, Mapping):
                model(**{k: ghost(v) for k, v in inputs.items()})
            else:
                model(*[ghost(v) for v in inputs])
        except (RuntimeError, TypeError, ValueError) as error:
            raise ArgumentError(f"the model does not take the inputs given for the report: {error}") from error
    return int(counter.get_total_flops())


def _ghost(x: Tensor) -> Tensor:
    """x without data. Layerwise casting mixes floating types, which count alike: they become one."""
    return x.to("meta", torch.float32 if x.is_floating_point() else None)


HOOKS = ("_hf_hook", "_diffusers_hook")
"""Attributes under which accelerate and diffusers keep what they put in front of a module's `forward`."""


def _bare_copy(model: Any) -> Any:
    """A copy on the meta device without compilation, offloading and LoRA layers.

    What deepcopy would copy of parameters, buffers and hooks (which hold weights) is put into its memo instead.
    """
    model = getattr(model, "_orig_mod", model)
    memo: dict[int, Any] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(_ghost(p.detach()), requires_grad=False)
    for b in model.buffers():
        memo[id(b)] = _ghost(b)
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


@dataclass
class _Tally:
    macs: int = 0


@dataclass(frozen=True)
class _Counting(Treatment):
    """A treatment that makes empty results of the right shape and counts the multiply-adds they would have cost."""

    tally: _Tally = field(default_factory=_Tally)

    def interpolate(self, x: Tensor, factor: int = 2, size: Sequence[int] | None = None) -> Tensor:
        high = (factor * x.shape[-2], factor * x.shape[-1])
        self._add(x, high, self.specs["interpolate"][factor], factor, up=True)
        return x.new_empty(*x.shape[:2], *(high if size is None else size))

    def decimate(self, z: Tensor, factor: int) -> Tensor:
        low = z.new_empty(*z.shape[:2], *(-(-n // factor) for n in z.shape[-2:]))
        self._add(low, tuple(z.shape[-2:]), self.specs["decimate"][factor], factor, up=False)
        return low

    def activate(self, x: Tensor, activation: str | Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        self._both_ways(x, x)
        return x

    def gate(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG002
        y = x[:, : x.shape[1] // 2]
        self._both_ways(x, y)
        return y

    def _both_ways(self, x: Tensor, y: Tensor) -> None:
        rate = self.config.oversample
        high = (rate * x.shape[-2], rate * x.shape[-1])
        self._add(x, high, self.specs["up"][rate], rate, up=True)
        self._add(y, high, self.specs["down"][rate], rate, up=False)

    def _add(self, low: Tensor, high: tuple[int, ...], spec: FilterSpec, factor: int, *, up: bool) -> None:
        """Between a plane `low` and one of size `high`: for each term of the kernel (`separable_terms`) taps / factor
        multiply-adds for each sample of the line at the higher rate, first along one axis, then along the other."""
        if spec.kind == "ideal":
            line = [n * max(1.0, math.log2(n)) for n in high]
            per_plane = line[1] * low.shape[-2] + line[0] * high[1]
        else:
            terms = len(separable_terms(spec, factor, up=up))
            per_plane = terms * (low.shape[-2] * high[1] + high[0] * high[1]) * spec.taps / factor
        self.tally.macs += round(low.shape[0] * low.shape[1] * per_plane)


def _implied_inputs(model: nn.Module) -> dict[str, Any] | None:
    """Arguments of one call, batch 1, as the config says; None for a model that is not known."""
    if not isinstance(model, (UNet2DModel, UNet2DConditionModel, ControlNetModel, AutoencoderKL)):
        return None
    config = model.config
    height, width = sides(config.get("sample_size") or 64)

    def planes(*shape: int) -> Tensor:
        return torch.empty(1, *shape, device="meta", dtype=model.dtype)

    sample = planes(config["in_channels"], height, width)
    if isinstance(model, AutoencoderKL):
        return {"sample": sample}
    inputs: dict[str, Any] = {"sample": sample, "timestep": torch.zeros(1, device="meta")}
    if config.get("num_class_embeds") is not None:
        inputs["class_labels"] = torch.zeros(1, dtype=torch.long, device="meta")
    if isinstance(model, UNet2DModel):
        return inputs
    if config.get("addition_embed_type") or config.get("class_embed_type") or config.get("encoder_hid_dim_type"):
        return None  # what these want is not in the config
    inputs["encoder_hidden_states"] = planes(77, sides(config["cross_attention_dim"])[0])
    if isinstance(model, ControlNetModel):
        factor = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
        inputs["controlnet_cond"] = planes(config["conditioning_channels"], factor * height, factor * width)
    return inputs
