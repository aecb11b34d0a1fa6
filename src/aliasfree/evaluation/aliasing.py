"""Aliasing of a network, layer by layer: how much of each output is alias, and which layer costs how much equivariance.

For every layer (`find_layers`) and its alias-free counterpart (its mean over sub-pixel shifts, see `layers`):

    alias share   energy of the aliases at the layer's output, over the energy of the counterpart's output
    guilt         share of the network's error under shifts by fractions of a pixel (or turns) that goes when this layer
                  alone is replaced by its counterpart; measured for the layers with the largest alias shares
    DC gain       output over input of a constant; 1 keeps brightness
    Nyquist gain  downsampling and filtered nonlinearities: output over input of the highest frequency, which folds when
                  samples are dropped; upsampling: what a constant gets at other frequencies, a checkerboard. 0 is right

All of this with periodic padding; what the borders cost, often more than all layers, is reported apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from aliasfree.errors import ArgumentError, ShapeError, did_you_mean
from aliasfree.evaluation.equivariance import Agreement, FramedMap, rotation_agreement, translation_agreement
from aliasfree.evaluation.layers import Kind, Layer, Motion, circular, find_layers, idealised, mean_over, sub_pixel_mean
from aliasfree.evaluation.spectra import decibel, radial_mean, without_nyquist
from aliasfree.ops.spatial import translate2d

__all__ = ["Aliasing", "AliasingOptions", "LayerAliasing", "aliasing", "shift_sweep"]

Map = Callable[[Tensor], Tensor]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LayerAliasing:
    """What one layer does. Shares are of energy; None = not defined for such a layer.

    >>> import torch
    >>> from aliasfree.evaluation import aliasing
    >>> layer = aliasing(torch.nn.Sequential(torch.nn.ReLU()), torch.randn(2, 1, 16, 16)).layers[0]
    >>> layer.name, layer.kind, layer.type, layer.output_shape
    ('0', 'activation', 'ReLU', (1, 16, 16))
    >>> 0 < layer.alias_share < 1, round(layer.guilt, 1)  # the only layer is guilty of all
    (True, 1.0)
    """

    name: str
    kind: Kind
    type: str  # class of the module
    input_shape: tuple[int, ...]  # (C, H, W)
    output_shape: tuple[int, ...]
    alias_share: float
    dc_gain: float | None
    nyquist_gain: float | None
    guilt: (
        float | None
    )  # share of the network's error; below 0 where replacing the layer makes it worse; None = not asked
    fixed_db: float | None  # equivariance of the network with this layer alone replaced
    frequency: tuple[float, ...]  # fractions of the output's Nyquist frequency
    signal: tuple[float, ...]  # radial power spectrum of the counterpart's output
    alias: tuple[float, ...]  # and of the aliases

    @property
    def alias_db(self) -> float:
        """The alias share in dB; -inf for none."""
        return decibel(self.alias_share)


@dataclass(frozen=True)
class Aliasing:
    """A network's layers, the guiltiest first, then those that were not asked by alias share; its equivariance in dB.

    >>> import torch
    >>> from aliasfree.evaluation import aliasing
    >>> result = aliasing(torch.nn.Sequential(torch.nn.ReLU()), torch.randn(2, 1, 16, 16))
    >>> result.eq_t > 100, result.eq_t_frac < 30, sorted(result.without)
    (True, True, ['activation', 'all'])
    """

    layers: tuple[LayerAliasing, ...]
    eq_t: float  # as it is, likewise the next three
    eq_t_frac: float
    eq_t_lanczos: float  # the same by StyleGAN3's ruler
    eq_r: float | None  # None for images that are not square
    periodic: float  # EQ-T_frac (EQ-R by turns) with periodic padding everywhere, as all that follows
    without: dict[str, float]  # with all layers of a kind replaced, "all" for all kinds
    alone: dict[str, float]  # with the layers of a kind as they are and all others replaced
    rate: int
    by: Motion = "shifts"  # what the layers were ranked by


class AliasingOptions(TypedDict, total=False):
    """How `aliasing` measures; each has a default.

    rate      how much finer than a pixel the counterparts look, >= 2; 4
    periodic  the model pads periodically, so as it is every pixel counts; else the valid region of each shift; False
    repeats   shifts and angles per image; 1
    seed      of them, the same for every replaced layer; 0
    by        "shifts", or "turns": the motion under which the network's error is shared out, and over which the
              counterparts are means. Turns are for networks built to commute with them, on square images; "shifts"
    top       of so many layers, those with the largest alias share, the share of the error is measured, which takes the
              whole network rate^2 times and more; >= 1; 48

    >>> from aliasfree.evaluation.aliasing import AliasingOptions
    >>> AliasingOptions(rate=2, top=8)
    {'rate': 2, 'top': 8}
    """

    rate: int
    periodic: bool
    repeats: int
    seed: int
    by: Motion
    top: int


TOP = 48
"""How many layers the share of the error is measured for, where nothing else is asked."""


@torch.no_grad()
def aliasing(
    model: nn.Module,
    x: Tensor,
    call: Map | None = None,
    *,
    framed: FramedMap | None = None,
    progress: Progress | None = None,
    **options: Unpack[AliasingOptions],
) -> Aliasing:
    """Measure `model` at images x (N, C, H, W), N >= 1, on their device, in eval mode.

    Under shifts by fractions of a pixel x has nothing at the Nyquist frequency, where they have no meaning.

    call      what is asked of the model: images to images of the same size; None = model(x), or its `.sample`
    framed    the same of a model that knows the frame, see `translation_agreement`; None = it does not
    progress  called with (layers done, layers to measure)
    options   see `AliasingOptions`: rate, periodic, repeats, seed, by, top

    Raises ShapeError for a model that changes the size of images and ArgumentError for one without such layers.

    >>> import torch
    >>> from aliasfree.evaluation import aliasing
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AvgPool2d(2), torch.nn.Upsample(scale_factor=2))
    >>> result = aliasing(net, torch.randn(2, 1, 16, 16))
    >>> sorted(layer.kind for layer in result.layers)
    ['activation', 'down', 'up']
    >>> result.without["all"] > result.periodic  # with every layer alias-free the network commutes better
    True
    """
    unknown = set(options) - set(AliasingOptions.__annotations__)
    if unknown:
        name = min(unknown)
        raise ArgumentError(
            f"aliasing has no option {name!r}{did_you_mean(name, list(AliasingOptions.__annotations__))}"
        )
    rate, periodic = options.get("rate", 4), options.get("periodic", False)
    repeats, seed = options.get("repeats", 1), options.get("seed", 0)
    by, top = options.get("by", "shifts"), options.get("top", TOP)
    if rate < 2:
        raise ArgumentError(f"rate must be at least 2, not {rate}")
    if by not in ("shifts", "turns"):
        raise ArgumentError(f"unknown motion {by!r} to rank by{did_you_mean(str(by), ('shifts', 'turns'))}")
    if top < 1:
        raise ArgumentError(f"top must be at least 1, not {top}")
    if by == "turns" and x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"turns are measured on square images, not {x.shape[-2]}x{x.shape[-1]}: crop them")
    training = model.training
    model.eval()
    try:
        run = call or (lambda v: _sample(model(v)))

        def ask(v: Tensor, told: dict[str, Any] | None = None) -> Tensor:
            return run(v) if framed is None or told is None else framed(v, told)

        shifts: dict[str, Any] = {"repeats": repeats, "seed": seed}
        moved: dict[str, Any] = {**shifts, "framed": framed}
        limited = without_nyquist(x)
        eq_t = translation_agreement(run, x, False, periodic=periodic, **moved).db
        eq_t_frac = translation_agreement(run, limited, True, periodic=periodic, **moved).db
        eq_t_lanczos = translation_agreement(run, limited, True, ruler="lanczos", **moved).db
        eq_r = rotation_agreement(run, x, **moved).db if x.shape[-1] == x.shape[-2] else None
        with circular(model):
            layers = find_layers(model, run, x)
            if not layers:
                raise ArgumentError(
                    f"{type(model).__name__} has no module that resamples or bends images: there is nothing to analyse"
                )

            def error_with(replaced: Sequence[Layer]) -> Agreement:
                with idealised(replaced, ask, rate, by) as fn:
                    told = None if framed is None else fn
                    if by == "turns":
                        return rotation_agreement(fn, x, framed=told, **shifts)
                    return translation_agreement(fn, limited, True, periodic=True, framed=told, **shifts)

            total = error_with([])
            signals = sorted(((_measure(layer, rate, by), layer) for layer in layers), key=lambda v: -v[0].alias_share)
            measured = []
            for k, (signal, layer) in enumerate(signals[:top]):
                fixed = error_with([layer])
                guilt = 1 - _ratio(fixed) / max(_ratio(total), 1e-300)
                measured.append(dataclasses.replace(signal, guilt=guilt, fixed_db=fixed.db))
                if progress is not None:
                    progress(k + 1, min(top, len(layers)))
            others = [signal for signal, _ in signals[top:]]
            kinds: dict[str, list[Layer]] = {}
            for layer in layers:
                kinds.setdefault("resampling" if layer.kind in ("down", "up") else layer.kind, []).append(layer)
            without = {kind: error_with(members).db for kind, members in kinds.items()}
            alone = {kind: error_with([v for v in layers if v not in members]).db for kind, members in kinds.items()}
            without["all"] = error_with(layers).db
    finally:
        model.train(training)
    measured.sort(key=lambda m: -(m.guilt or 0.0))
    return Aliasing((*measured, *others), eq_t, eq_t_frac, eq_t_lanczos, eq_r, total.db, without, alone, rate, by)


@torch.no_grad()
def shift_sweep(layer: Layer, frames: int = 16) -> tuple[Tensor, Tensor]:
    """(outputs, counterpart's output) of a layer whose input moves right by one pixel of the coarser side.

    Each output is moved back, so that a layer without aliasing gives a film that stands still. Float (frames, C', H',
    W') and (C', H', W'), of the first image of the layer's input.

    >>> import torch
    >>> from aliasfree.evaluation.aliasing import shift_sweep
    >>> from aliasfree.evaluation.layers import find_layers
    >>> net = torch.nn.Sequential(torch.nn.AvgPool2d(2))
    >>> (pool,) = find_layers(net, net, torch.randn(1, 3, 16, 16))
    >>> film, still = shift_sweep(pool, frames=4)
    >>> tuple(film.shape), tuple(still.shape)
    ((4, 3, 8, 8), (3, 8, 8))
    """
    coarse = max(1.0, 1 / layer.scale)
    with circular(layer.module):
        mean, _ = sub_pixel_mean(layer, layer.input, layer.scale)
        shown = []
        for k in range(frames):
            dx = coarse * k / frames
            moved = translate2d(layer.input, 0.0, dx)
            shown.append(translate2d(layer(moved), 0.0, -dx * layer.scale)[0])
    return torch.stack(shown), mean[0]


def _measure(layer: Layer, rate: int, by: Motion) -> LayerAliasing:
    """What the layer does by itself; its share of the network's error is not asked yet."""
    mean, alias = mean_over(by, layer, layer.input, layer.scale, rate)
    dc, nyquist = _gains(layer)
    pixels = mean.shape[-2] * mean.shape[-1]
    power = torch.fft.fft2(mean.double()).abs().square()
    frequency, signal = radial_mean(power.mean((0, 1)) / pixels)
    _, folded = radial_mean(alias.mean((0, 1)) / pixels)
    return LayerAliasing(
        layer.name,
        layer.kind,
        type(layer.module).__name__,
        tuple(layer.input.shape[1:]),
        tuple(layer.output_shape[1:]),
        float(alias.sum() / power.sum().clamp(min=1e-300)),
        dc,
        nyquist,
        None,
        None,
        *(tuple(v.tolist()) for v in (frequency, signal, folded)),
    )


def _gains(layer: Layer) -> tuple[float | None, float | None]:
    """(DC, Nyquist) gains of a resampling or of the filters around a nonlinearity; (None, None) elsewhere."""
    with _linear(layer.module) as linear:
        if layer.kind == "attention" or (layer.kind == "activation" and not linear):
            return None, None
        one = torch.ones_like(layer.input)
        rest = layer(torch.zeros_like(one))
        constant = layer(one) - rest
        level = constant.mean((2, 3), keepdim=True)
        if layer.kind == "up":
            return _rms(level), _rms(constant - level)
        sign = 1 - 2 * (torch.arange(one.shape[-1], device=one.device) % 2).to(one.dtype)
        return _rms(level), _rms(layer(one * sign) - rest)


@contextlib.contextmanager
def _linear(module: nn.Module) -> Iterator[bool]:
    """Within it a filtered nonlinearity is its filters alone; False for a module that does not name its function."""
    name = vars(module).get("activation")
    if not isinstance(name, str):
        yield False
        return
    module.activation = "identity"  # type: ignore[assignment]
    try:
        yield True
    finally:
        module.activation = name  # type: ignore[assignment]


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _ratio(a: Agreement) -> float:
    return float(a.error.sum() / a.signal.sum()) if a.signal.sum() > 0 else math.inf


def _sample(output: object) -> Tensor:
    image = getattr(output, "sample", output)
    image = image[0] if isinstance(image, tuple) else image
    if not isinstance(image, Tensor):
        raise ShapeError(f"the model gives {type(output).__name__}, no images: give `call`, from images to images")
    return image
