"""Low-pass FIR filters, designed in float64.

A filter is described by a `FilterSpec` and nothing else; its taps follow from the description. Frequencies are
fractions of the Nyquist frequency of the rate at which the filter runs (the higher of the two rates of a
resampling step), so pi/2 is 0.5.

Sources: the jinc kernel, its window and the names `0 .. 2N` are those of arXiv 2411.09174; Kaiser windows and
the half-band design are textbook (Oppenheim & Schafer, Discrete-Time Signal Processing, ch. 7).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aliasfree.errors import ArgumentError, ConfigError, did_you_mean

__all__ = ["BELOW_NYQUIST", "FILTER_NAMES", "PAPER_FILTER_NAMES", "WINDOWS", "FilterSpec", "register_window"]

Array = NDArray[np.float64]


def _grid(taps: int) -> Array:
    """Tap positions relative to the centre of the kernel, in samples."""
    return np.arange(taps, dtype=np.float64) - (taps - 1) / 2


def _kaiser(taps: int, beta: float) -> Array:
    w = np.kaiser(taps, beta)
    return np.outer(w, w)


def _kaiser_radial(taps: int, beta: float) -> Array:
    x = _grid(taps)
    share = np.hypot(x[:, None], x[None, :]) / (taps / 2)
    inside = np.i0(beta * np.sqrt(np.clip(1 - share**2, 0, None))) / np.i0(beta)
    return np.where(share <= 1, inside, 0.0)


_WINDOWS: dict[str, Callable[..., Array]] = {"kaiser": _kaiser, "kaiser-radial": _kaiser_radial}
WINDOWS: Mapping[str, Callable[..., Array]] = MappingProxyType(_WINDOWS)
"""name -> function giving the (taps, taps) window. "kaiser" is separable (also over a radial kernel, as in the paper);
"kaiser-radial" depends on the distance from the centre and is zero outside the disc. `register_window` adds another."""
_KAISER = frozenset(_WINDOWS)
"""Windows that are functions of (taps, kaiser_beta); the others are functions of taps alone."""


def register_window(name: str, function: Callable[[int], Array]) -> None:
    """Add a window, so that `FilterSpec(window=name)` multiplies its kernel by it.

    function   of the number of taps, giving (taps,), for rows and columns alike, or (taps, taps); symmetric

    Raises ConfigError if the name is taken, or what the function gives is no window.

    >>> import numpy as np
    >>> from aliasfree.filters import FilterSpec, register_window
    >>> register_window("hamming", np.hamming)
    >>> hamming, bare = FilterSpec(taps=12, window="hamming").kernel(), FilterSpec(taps=12).kernel()
    >>> bool(hamming[0, 0] < 0.01 * bare[0, 0])  # faded at the corners
    True
    """
    if name in _WINDOWS:
        raise ConfigError(f"there is a window {name!r} already; give yours another name")
    for taps in (5, 12):
        try:
            w = np.asarray(function(taps), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the window {name!r} must be a function of the number of taps: {error}") from error
        if w.shape not in ((taps,), (taps, taps)) or not np.isfinite(w).all():
            raise ConfigError(
                f"the window {name!r} must give {taps} finite numbers, or {taps} x {taps}, for {taps} taps"
            )
        if not np.allclose(w, np.flip(w)) or not w.any():
            raise ConfigError(f"the window {name!r} is not symmetric, or zero: it would move the image or lose it")
    _WINDOWS[name] = lambda taps: _square(np.asarray(function(taps), dtype=np.float64))


def _square(w: Array) -> Array:
    return np.outer(w, w) if w.ndim == 1 else w


@dataclass(frozen=True)
class FilterSpec:
    """A square low-pass kernel.

    kind         "sinc": separable product of sincs; "jinc": radial, cutoff the same in all directions;
                 "ideal": brick wall in the Fourier domain over the whole periodic plane (no taps)
    taps         side of the kernel in samples, >= 1; even kernels are pixel-centred (no half-sample drift)
    cutoff       -6 dB point as a fraction of Nyquist, in (0, 1]
    kaiser_beta  parameter of a Kaiser window, >= 0; None = no window (as 0); other windows have none
    normalize    scale the taps to sum 1
    gain         "unity": zero insertion is compensated by factor^2 and the polyphase sums are equal, so a
                 constant stays a constant; "none": neither, and the published code's alignment (the paper)
    window       a name in WINDOWS

    >>> from aliasfree import FilterSpec
    >>> hq = FilterSpec.named("hq")
    >>> hq.taps, hq.cutoff, round(hq.stopband_attenuation_db)
    (12, 0.5, -47)
    >>> longer = FilterSpec("sinc", taps=24, cutoff=0.375, kaiser_beta=4.0)
    >>> longer.kernel().shape
    (24, 24)
    """

    kind: Literal["sinc", "jinc", "ideal"] = "sinc"
    taps: int = 12
    cutoff: float = 0.5
    kaiser_beta: float | None = None
    normalize: bool = True
    gain: Literal["unity", "none"] = "unity"
    window: str = "kaiser"

    def __post_init__(self) -> None:
        if self.kind not in ("sinc", "jinc", "ideal"):
            raise ConfigError(f"unknown filter kind {self.kind!r}{did_you_mean(self.kind, ['sinc', 'jinc', 'ideal'])}")
        if self.gain not in ("unity", "none"):
            raise ConfigError(f"filter gain must be 'unity' or 'none', not {self.gain!r}")
        if self.window not in WINDOWS:
            raise ConfigError(f"unknown window {self.window!r}{did_you_mean(self.window, WINDOWS)}")
        if self.taps < 1:
            raise ConfigError(f"a filter needs at least 1 tap, not {self.taps}")
        if not 0 < self.cutoff <= 1:
            raise ConfigError(f"cutoff is a fraction of Nyquist in (0, 1], not {self.cutoff}; pi/2 is 0.5")
        if self.kaiser_beta is not None and self.kaiser_beta < 0:
            raise ConfigError(f"kaiser_beta must be >= 0 or None, not {self.kaiser_beta}")
        if self.kaiser_beta is not None and self.window not in _KAISER:
            raise ConfigError(f"the window {self.window!r} has no kaiser_beta; leave it out")
        # made here once, because compilers that trace the ops cannot run json
        object.__setattr__(self, "_key", json.dumps(self.to_dict()))

    @classmethod
    def named(cls, name: str) -> FilterSpec:
        """The filter of a config name: "0", "1", "2", "0N", "1N", "2N" (paper), "hq", "radial", "ideal" (ours).

        >>> from aliasfree import FilterSpec
        >>> FilterSpec.named("2N").taps
        3
        """
        try:
            return FILTER_NAMES[name]
        except KeyError:
            raise ConfigError(f"unknown filter {name!r}{did_you_mean(name, FILTER_NAMES)}") from None

    @property
    def name(self) -> str | None:
        """The name under which this filter is known, or None."""
        return next((name for name, spec in FILTER_NAMES.items() if spec == self), None)

    @property
    def key(self) -> str:
        """The filter as JSON text; `FilterSpec(**json.loads(key))` gives it back."""
        return self._key  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `FilterSpec(**d)` gives the filter back."""
        return asdict(self)

    def at_rate(self, factor: int) -> FilterSpec:
        """The same filter for resampling by `factor` (>= 2): cutoff and length follow the higher rate.

        A spec describes the filter of a factor-2 step; at 4x the same analogue filter has half the cutoff (as a
        fraction of the higher Nyquist) and twice the taps.

        >>> from aliasfree import FilterSpec
        >>> at_4x = FilterSpec.named("hq").at_rate(4)
        >>> at_4x.taps, at_4x.cutoff
        (24, 0.25)
        """
        if factor == 2:
            return self
        if factor < 2:
            raise ArgumentError(f"a resampling factor is an integer >= 2, not {factor}")
        return replace(self, cutoff=self.cutoff * 2 / factor, taps=(self.taps * factor) // 2)

    def kernel(self) -> Array:
        """The taps, float64 (taps, taps), rows first. Raises ConfigError for "ideal", which has none.

        >>> from aliasfree import FilterSpec
        >>> FilterSpec.named("2N").kernel().round(3)
        array([[0.036, 0.119, 0.036],
               [0.119, 0.377, 0.119],
               [0.036, 0.119, 0.036]])
        """
        return _kernel(self).copy()

    def response(self, n: int = 257) -> tuple[Array, Array]:
        """Magnitude response along the horizontal axis at n frequencies from 0 to Nyquist: (frequency, magnitude).

        >>> from aliasfree import FilterSpec
        >>> frequency, magnitude = FilterSpec.named("hq").response(3)
        >>> frequency.tolist(), magnitude.round(2).tolist()
        ([0.0, 0.5, 1.0], [1.0, 0.5, 0.0])
        """
        frequency = np.linspace(0, 1, n)
        if self.kind == "ideal":
            magnitude = np.where(frequency < self.cutoff, 1.0, 0.0)
            return frequency, np.where(np.isclose(frequency, self.cutoff), 0.5, magnitude)
        line = _kernel(self).sum(0)
        phase = np.pi * np.outer(frequency, _grid(self.taps))
        return frequency, np.abs(np.cos(phase) @ line)

    def phase_gains(self, factor: int = 2) -> Array:
        """DC gain at each output phase (row, column) of an upsampling step by `factor`, (factor, factor).

        Equal gains keep a constant constant; unequal ones turn it into a checkerboard (paper, beta 2 normalised:
        0.377 / 0.239 / 0.239 / 0.145).

        >>> from aliasfree import FilterSpec
        >>> FilterSpec.named("2N").phase_gains().round(3)
        array([[0.377, 0.239],
               [0.239, 0.145]])
        """
        if self.kind == "ideal":
            return np.ones((factor, factor))
        k = upsampling_kernel(self, factor)
        # output pixel i reads the taps congruent to offset - i
        taps = [(upsampling_offset(self, factor) - i) % factor for i in range(factor)]
        return np.array([[k[a::factor, b::factor].sum() for b in taps] for a in taps])

    @property
    def dc_gain(self) -> float:
        """Gain of a constant under plain filtering (no zero insertion)."""
        return float(self.response(2)[1][0])

    @property
    def nyquist_gain(self) -> float:
        """Gain at the Nyquist frequency along one axis."""
        return float(self.response(2)[1][1])

    @property
    def stopband_attenuation_db(self) -> float:
        """Largest gain from midway between cutoff and Nyquist upwards (0.75 for cutoff 0.5), in dB relative to DC."""
        frequency, magnitude = self.response(2049)
        worst = magnitude[frequency >= (1 + self.cutoff) / 2].max()
        return float(20 * np.log10(worst / magnitude[0])) if worst > 0 else -np.inf


@lru_cache(maxsize=256)
def _kernel(spec: FilterSpec) -> Array:
    """The taps of `spec`; shared and read-only."""
    if spec.kind == "ideal":
        raise ConfigError("the 'ideal' filter has no taps: it is defined in the Fourier domain")
    x = _grid(spec.taps)
    if spec.kind == "sinc":
        line = spec.cutoff * np.sinc(spec.cutoff * x)
        k = np.outer(line, line)
    else:
        k = _jinc(np.hypot(x[:, None], x[None, :]), np.pi * spec.cutoff)
    if spec.window not in _KAISER:
        k = k * WINDOWS[spec.window](spec.taps)
    elif spec.kaiser_beta is not None:
        k = k * WINDOWS[spec.window](spec.taps, spec.kaiser_beta)
    if spec.normalize and abs(k.sum()) < 1e-9:
        raise ConfigError(f"the window {spec.window!r} leaves nothing of {spec.taps} taps; use more taps")
    if spec.normalize:
        k = k / k.sum()
    k.setflags(write=False)
    return k


def _jinc(r: Array, wc: float) -> Array:
    """Impulse response of the ideal circular low-pass: wc J1(wc r) / (2 pi r), with limit wc^2 / (4 pi) at r = 0."""
    from scipy.special import j1

    safe = np.where(r == 0, 1.0, r)
    return np.where(r == 0, wc**2 / (4 * np.pi), wc * j1(wc * safe) / (2 * np.pi * safe))


@lru_cache(maxsize=256)
def upsampling_kernel(spec: FilterSpec, factor: int) -> Array:
    """The taps used after zero insertion by `factor`: for gain "unity" every polyphase sum is 1, else `kernel()`.

    For even taps and factor 2 that is factor^2 `kernel()`, by symmetry; others change a little (hq at 4x: 0.02 %).
    """
    k = _kernel(spec)
    if spec.gain == "none":
        return k
    k = k.copy()
    for a in range(factor):
        for b in range(factor):
            total = k[a::factor, b::factor].sum()
            if abs(total) < 1e-6:
                raise ConfigError(
                    f"a {spec.taps}-tap filter is too short to upsample by {factor}; use at least {factor} taps"
                )
            k[a::factor, b::factor] /= total
    k.setflags(write=False)
    return k


def downsampling_kernel(spec: FilterSpec, factor: int) -> Array:
    """The taps used before dropping samples, so that for gain "unity" downsampling is the adjoint of upsampling."""
    return _kernel(spec) if spec.gain == "none" else upsampling_kernel(spec, factor) / factor**2


def upsampling_offset(spec: FilterSpec, factor: int) -> int:
    """o in y[i] = sum_m k[factor m - i + o] x[m]: pixel-centred for even taps, except in the published alignment."""
    if spec.gain == "none" or spec.taps % 2:
        return (spec.taps - 1) // 2
    return (spec.taps + factor - 2) // 2


def downsampling_offset(spec: FilterSpec, factor: int) -> int:
    """o in y[i] = sum_j k[j - factor i + o] x[j]; with a symmetric kernel the adjoint of `upsampling_offset`."""
    if spec.gain == "none" or spec.taps % 2:
        return (spec.taps - 1) // 2
    return (spec.taps - factor) // 2


def pass_band(k: Array, n: int, cutoff: float) -> Array:
    """Gain of the ideal filter at frequency index k of n samples: 1 below the cutoff, half at it, 0 above."""
    edge = cutoff * n / 2
    return np.where(np.abs(k) < edge - 1e-9, 1.0, np.where(np.abs(k) < edge + 1e-9, 0.5, 0.0))


@lru_cache(maxsize=256)
def separable_terms(spec: FilterSpec, factor: int, *, up: bool) -> tuple[tuple[Array, Array], ...]:
    """Kernel as a sum of outer products column (x) row: one term for sinc, a few for jinc (2 for the paper's 3x3).

    Terms below 1e-9 of the largest singular value are dropped; float32 cannot hold them.
    """
    k = upsampling_kernel(spec, factor) if up else downsampling_kernel(spec, factor)
    u, s, vt = np.linalg.svd(k)
    rank = int((s > 1e-9 * s[0]).sum())
    return tuple((u[:, r] * np.sqrt(s[r]), vt[r] * np.sqrt(s[r])) for r in range(rank))


def _paper(beta: int, *, normalize: bool) -> FilterSpec:
    return FilterSpec("jinc", taps=3, cutoff=0.5, kaiser_beta=float(beta), normalize=normalize, gain="none")


PAPER_FILTER_NAMES: tuple[str, ...] = ("0", "1", "2", "0N", "1N", "2N")
FILTER_NAMES: dict[str, FilterSpec] = {
    **{name: _paper(int(name[0]), normalize=name.endswith("N")) for name in PAPER_FILTER_NAMES},
    "hq": FilterSpec("sinc", taps=12, kaiser_beta=4.0),
    "radial": FilterSpec("jinc", taps=12, kaiser_beta=4.0, window="kaiser-radial"),
    "ideal": FilterSpec("ideal"),
}
"""Every filter that has a name. To name another, add an entry."""

BELOW_NYQUIST = FilterSpec("ideal", cutoff=0.499)
"""The brick wall that keeps nothing at the lower rate's Nyquist frequency, where a fraction-of-a-pixel shift has no
meaning (planes of up to 1,000 pixels; larger ones lose one frequency more)."""
