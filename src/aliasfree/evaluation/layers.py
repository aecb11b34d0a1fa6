"""The layers of any network that can alias, found by what they do, and their alias-free counterparts.

A layer is a call of a module with an image-shaped input: a pointwise nonlinearity, a change of resolution, or attention
over pixels. Nothing is asked of a network but to be a torch module, so stock diffusers UNets and VAEs are taken as they
are. Nonlinearities that a network calls as functions, not as modules, are seen only within the attention around them.

The counterpart of a layer L is its mean over sub-pixel shifts S,  L*(x) = mean_s  S_s^-1 L(S_s x),  with s on a grid of
rate x rate points within one pixel of the coarser side. For a pointwise L that is L evaluated at `rate` times the
resolution and band-limited: what aliasing puts at wrong frequencies turns with s and averages out, what is left
commutes with shifts. A linear filter's response stays what it is. The Nyquist frequency itself, which no shift moves by
a fraction of a pixel, is dropped on the way in and out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from aliasfree.ops.spatial import rotate2d

__all__ = ["Layer", "Motion", "circular", "find_layers", "idealised", "mean_over", "sub_pixel_mean"]

Kind = Literal["activation", "down", "up", "attention"]
Motion = Literal["shifts", "turns"]
TURNS = 9
"""How many angles a mean over turns takes: multiples of 40 degrees, of which no two differ by a quarter turn."""
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of a module, with the input it had.

    name      the module's path, with "#2" for its second call in a pass
    index     which call of the module, from 0
    input     (N, C, H, W); `args`, `kwargs` are the rest of the call
    """

    name: str
    kind: Kind
    module: nn.Module
    index: int
    input: Tensor = field(repr=False)
    output_shape: tuple[int, ...]
    args: tuple[Any, ...] = field(repr=False)
    kwargs: dict[str, Any] = field(repr=False)

    @property
    def scale(self) -> float:
        """Output pixels per input pixel along a side: 0.5 for a halving."""
        return self.output_shape[-1] / self.input.shape[-1]

    def __call__(self, x: Tensor) -> Tensor:
        """The layer on another input of the same shape; hooks are not called."""
        return _image(self.module.forward(x, *self.args, **self.kwargs))


def find_layers(model: nn.Module, call: Map, x: Tensor) -> list[Layer]:
    """Every layer of `model` that can alias, in the order of calls in call(x)."""
    calls: list[Layer] = []
    counts: dict[nn.Module, int] = {}
    names = {module: name for name, module in model.named_modules()}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        index = counts.get(module, 0)
        counts[module] = index + 1
        before, after = (args[0] if args else None), _image(output)
        if not (isinstance(before, Tensor) and isinstance(after, Tensor) and before.ndim == after.ndim == 4):
            return
        kind = _kind(module, before, after)
        if kind is not None:
            name = names[module] + (f"#{index + 1}" if index else "")
            calls.append(Layer(name, kind, module, index, before.detach(), tuple(after.shape), args[1:], kwargs))

    handles = [m.register_forward_hook(record, with_kwargs=True) for m in names]
    try:
        with torch.no_grad():
            call(x)
    finally:
        for handle in handles:
            handle.remove()
    return _apart(calls)


@contextlib.contextmanager
def idealised(
    layers: Collection[Layer], call: Callable[..., Tensor], rate: int = 4, by: Motion = "shifts"
) -> Iterator[Callable[..., Tensor]]:
    """call(x), or call(x, more), with each of `layers` replaced by its counterpart, see `mean_over`."""
    counts: dict[nn.Module, int] = {}
    wanted = {(layer.module, layer.index): layer for layer in layers}

    def idealise(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        index = counts.get(module, 0)
        counts[module] = index + 1
        layer = wanted.get((module, index))
        if layer is None:
            return None
        mean, _ = mean_over(by, lambda x: _image(module.forward(x, *args[1:], **kwargs)), args[0], layer.scale, rate)
        return (mean, *output[1:]) if isinstance(output, tuple) else mean

    def run(x: Tensor, *more: Any) -> Tensor:
        counts.clear()
        return call(x, *more)

    handles = [m.register_forward_hook(idealise, with_kwargs=True) for m in {layer.module for layer in layers}]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


def sub_pixel_mean(fn: Map, x: Tensor, scale: float = 1.0, rate: int = 4) -> tuple[Tensor, Tensor]:
    """(L*(x), alias spectrum) of a layer fn: the mean over shifts and the variance around it.

    fn     (N, C, H, W) -> (N, C', scale H, scale W)
    rate   shifts along each axis within a pixel of the coarser side, >= 2

    The alias spectrum is mean_s |DFT S_s^-1 fn(S_s x)|^2 - |DFT L*(x)|^2, float64 (N, C', scale H, scale W); its sum
    over scale^2 H W is the energy of the aliases.
    """
    coarse = max(1.0, 1 / scale)  # input pixels
    spectrum = torch.fft.fft2(x)
    total, power = None, None
    for i in range(rate):
        for j in range(rate):
            dy, dx = i * coarse / rate, j * coarse / rate
            moved = torch.fft.ifft2(spectrum * _phase(spectrum, dy, dx)).real.to(x.dtype)
            out = torch.fft.fft2(fn(moved))
            back = out * _phase(out, -dy * scale, -dx * scale)
            total = back if total is None else total + back
            energy = out.abs().double().square()
            power = energy if power is None else power + energy
    assert total is not None
    assert power is not None
    mean = total / rate**2
    alias = power / rate**2 - mean.abs().double().square()
    return torch.fft.ifft2(mean).real.to(x.dtype), alias.clamp(min=0)


def _turn_mean(fn: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over turns of square planes, R_a^-1 fn(R_a x), and the energy spectrum of what they do not agree on."""
    total, power = None, None
    for k in range(TURNS):
        angle = 360.0 * k / TURNS
        back = rotate2d(fn(rotate2d(x, angle)), -angle)
        total = back if total is None else total + back
        energy = torch.fft.fft2(back).abs().double().square()
        power = energy if power is None else power + energy
    assert total is not None
    assert power is not None
    mean = total / TURNS
    return mean, (power / TURNS - torch.fft.fft2(mean).abs().double().square()).clamp(min=0)


def mean_over(by: Motion, fn: Map, x: Tensor, scale: float = 1.0, rate: int = 4) -> tuple[Tensor, Tensor]:
    """What of a layer fn commutes with a motion, and the spectrum of the rest, as `sub_pixel_mean`.

    by        "shifts" by fractions of a pixel, `rate` along each axis, or "turns" about the middle, by 9 angles
    fn        (N, C, H, W) -> (N, C', scale H, scale W)
    """
    return _turn_mean(fn, x) if by == "turns" else sub_pixel_mean(fn, x, scale, rate)


@contextlib.contextmanager
def circular(module: nn.Module) -> Iterator[None]:
    """Periodic padding in the module and all within, so that its own aliasing is seen apart from its border.

    Images that a module pads with zeros by `torch.nn.functional.pad` are padded periodically, too.
    """
    changed: list[tuple[nn.Module, str, Any]] = []
    for part in module.modules():
        for name in ("padding_mode", "padding"):
            value = vars(part).get(name)
            if isinstance(value, str) and value in ("zeros", "reflect", "replicate"):
                changed.append((part, name, value))
                setattr(part, name, "circular")
        for name, value in list(vars(part).items()):  # filters of a converted module
            periodic = _with_periodic_filters(name, value)
            if periodic is not None:
                changed.append((part, name, value))
                setattr(part, name, periodic)
    try:
        with _PeriodicPad():
            yield
    finally:
        for part, name, value in changed:
            setattr(part, name, value)


def _with_periodic_filters(name: str, value: Any) -> Any:
    """Filters of a converted module, or a function that holds some, on a periodic plane; None = it is neither."""
    if not is_dataclass(value) or isinstance(value, type):
        return None
    if name == "_filters":
        return replace(value, padding_mode="circular")
    within = getattr(value, "filters", None)
    if not is_dataclass(within) or isinstance(within, type):
        return None
    return replace(value, filters=replace(within, padding_mode="circular"))


def _stock_class(module: nn.Module) -> type[nn.Module]:
    """What a converted module was, by the note that conversion made on it; else its class."""
    noted = vars(module).get("_stock_state")
    stock: type[nn.Module] = type(module) if noted is None else noted.stock
    return stock


class _PeriodicPad(TorchFunctionMode):
    """`F.pad` of images with zeros is periodic; diffusers' `Downsample2D` of VAEs pads so, within its forward."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | (kwargs or {})
        if func is F.pad and call.get("mode", "constant") == "constant" and not call.get("value"):
            x, pad = call["input"], call["pad"]
            if x.ndim == 4 and len(pad) == 4 and min(pad) >= 0:
                return F.pad(x, pad, mode="circular")
        return func(*args, **(kwargs or {}))


def _phase(spectrum: Tensor, dy: float, dx: float) -> Tensor:
    """Factor (H, W) that shifts by (dy, dx) pixels; the Nyquist bin, which no fraction can move, is dropped."""
    factors = []
    for n, shift in zip(spectrum.shape[-2:], (dy, dx), strict=True):
        k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=spectrum.device)
        factor = torch.exp(-2j * torch.pi * k * shift / n)
        if n % 2 == 0:
            factor[n // 2] = 0
        factors.append(factor)
    return (factors[0][:, None] * factors[1]).to(spectrum.dtype)


def _kind(module: nn.Module, before: Tensor, after: Tensor) -> Kind | None:
    h, w = before.shape[-2:]
    if (h, w) != tuple(after.shape[-2:]):
        ratio = h / after.shape[-2]
        if ratio != w / after.shape[-1] or not (ratio.is_integer() or (1 / ratio).is_integer()):
            return None  # no resampling of the whole plane: a crop, a pad, or a convolution over a padded plane
        return "down" if ratio > 1 else "up"
    if before.shape[1:] != after.shape[1:]:
        return None
    stock = _stock_class(module)
    kind = stock.__name__
    if "Attention" in kind or "Transformer2D" in kind:
        return "attention"
    pointwise = stock.__module__ == "torch.nn.modules.activation"
    if pointwise or "Activation" in kind or (hasattr(module, "activation") and hasattr(module, "factor")):
        return "activation"
    return None


def _apart(calls: list[Layer]) -> list[Layer]:
    """Calls without those that only contain others (of resolution) or are contained in one (of the rest)."""
    inside: dict[Kind, set[nn.Module]] = {kind: set() for kind in ("activation", "down", "up", "attention")}
    changing = {c.module for c in calls if c.kind in ("down", "up")}
    for c in calls:
        inside[c.kind].update(m for m in c.module.modules() if m is not c.module)
    within = inside["activation"] | inside["attention"]

    def kept(c: Layer) -> bool:
        if c.module in within:
            return False
        below = set(c.module.modules()) - {c.module}
        return c.kind not in ("down", "up") or not below & changing

    return [c for c in calls if kept(c)]


def _image(output: Any) -> Any:
    """The image of a module's output: itself, the first of a tuple, or `.sample`."""
    if isinstance(output, tuple | list) and output:
        return output[0]
    return getattr(output, "sample", output) if not isinstance(output, Tensor) else output
