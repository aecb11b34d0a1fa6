"""Equivariance of networks, noise level by noise level, and of whole samples, angle by angle.

A network is asked about noised real images, with shifts and rotations of both. A sampler is asked for x(theta), the
image of the same seed sampled while it turns by theta: is it the turned x(0), is it as good as real images turned by
theta, is it still of the same class, and do successive angles agree? The finished x(0), turned, stands beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aliasfree.diffusion.names import LATE, METHODS, NOISE, NOISES, PAPER_WINDOW
from aliasfree.errors import ArgumentError, did_you_mean
from aliasfree.experiments.extractors import JUDGE
from aliasfree.experiments.sample_store import SampleStore
from aliasfree.reporting.metrics import NetworkEquivariance, NoiseLevel
from aliasfree.reporting.turned import RotationCurve
from aliasfree.sampling.sampler import MotionSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aliasfree.evaluation.equivariance import Agreement
    from aliasfree.evaluation.features import ClassifierFeatures

__all__ = ["Way", "check_curves", "every_way", "network_equivariance", "rotation_curves"]

LEVELS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75)
"""Noise levels at which networks are measured, as shares of the training's time steps."""
REAL = 10_000
"""Real images that turned samples are compared with."""
SHOWN = 6
"""Samples of each way that are kept for the picture."""
RESAMPLES = 30
"""Resamples for the interval of a distance; the length of the interval is then known to 13 %."""
Progress = Callable[[int, int], None]


def network_equivariance(
    unet: nn.Module,
    images: Tensor,
    total: int = 1000,
    *,
    periodic: bool | None = None,
    num: int = 32,
    repeats: int = 2,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    progress: Progress | None = None,
) -> NetworkEquivariance:
    """EQ-T, EQ-T_frac and EQ-R of a noise predictor unet(x, t).sample, at each noise level and over all.

    images    uint8 (N, C, H, W); the first `num` are noised, with the same noise at every level
    total     time steps of the training, T
    periodic  the network pads periodically: every pixel counts under shifts; None = as its config says
    repeats   transforms per image and level
    levels    shares of T, in (0, 1)

    EQ-T_frac by StyleGAN3's ruler stands beside ours. Sums over levels come before the logarithm. Images that are not
    square have no EQ-R. A network that knows the frame is given the moved one; where shifts are fractional the noised
    images have nothing at the Nyquist frequency, where they turn nothing outside the disc |f| < Nyquist.
    """
    import torch

    from aliasfree.data import unit_range
    from aliasfree.diffusion import PaperDDPMScheduler
    from aliasfree.evaluation.equivariance import Agreement, rotation_agreement, translation_agreement
    from aliasfree.evaluation.spectra import without_nyquist
    from aliasfree.nn import Frame
    from aliasfree.ops import disc_filter2d

    parameter, knows_frame = next(unet.parameters()), bool(getattr(unet, "config", {}).get("frame_features"))
    x0 = unit_range(images[:num]).to(parameter.device)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
    periodic = is_periodic(unet) if periodic is None else periodic
    scheduler = PaperDDPMScheduler(num_train_timesteps=total)
    every: dict[str, list[Agreement]] = {}
    rows = []
    for k, level in enumerate(levels):
        t = min(total - 1, max(1, round(level * total)))
        x = scheduler.add_noise(x0, noise, torch.full((len(x0),), t))

        def fn(v: Tensor, t: int = t) -> Tensor:
            with torch.no_grad():
                return torch.cat([unet(part, t).sample for part in v.split(64)])

        def framed(v: Tensor, moved: dict[str, Any], t: int = t) -> Tensor:
            images = v.split(64)
            frames = Frame(**moved).split([len(part) for part in images])
            with torch.no_grad():
                return torch.cat([unet(p, t, frame=f).sample for p, f in zip(images, frames, strict=True)])

        options: dict[str, Any] = {"repeats": repeats, "seed": seed, "framed": framed if knows_frame else None}
        measured = {
            "eq_t": translation_agreement(fn, x, periodic=periodic, **options),
            "eq_t_frac": translation_agreement(fn, without_nyquist(x), True, periodic=periodic, **options),
            "eq_t_lanczos": translation_agreement(fn, without_nyquist(x), True, ruler="lanczos", **options),
        }
        if x.shape[-2] == x.shape[-1]:
            measured["eq_r"] = rotation_agreement(fn, disc_filter2d(x), method="interpolant", **options)
        for name, agreement in measured.items():
            every.setdefault(name, []).append(agreement)
        rows.append(_level(t, measured))
        if progress is not None:
            progress(k + 1, len(levels))
    overall = _level(None, {name: Agreement.join(parts) for name, parts in every.items()})
    return NetworkEquivariance(levels=tuple(rows), overall=overall, images=len(x0), repeats=repeats, periodic=periodic)


def is_periodic(model: Any) -> bool:
    """Whether a network pads periodically, so that its plane has no edge."""
    mode = model.config.get("padding_mode") or model.config.get("alias_free_padding_mode")
    return bool(mode == "circular")


def _level(t: int | None, found: dict[str, Agreement]) -> NoiseLevel:
    return NoiseLevel(t=t, **{name: agreement.estimate() for name, agreement in found.items()})


@dataclass(frozen=True)
class Way:
    """A way of turning while sampling; the arguments of `AliasFreePipeline` of these names. Raises ArgumentError."""

    method: str = METHODS[0]
    noise: str = NOISE
    schedule: tuple[float, float] = LATE

    def __post_init__(self) -> None:
        for option, value, valid in (("`methods`", self.method, METHODS), ("`noises`", self.noise, NOISES)):
            if value not in valid:
                raise ArgumentError(f"{option} has no {value!r}{did_you_mean(value, valid)}.")

    def __str__(self) -> str:
        """ "fourier, co-moving, 0.7:0.95"; the paper's is marked."""
        start, end = self.schedule
        paper = " (paper)" if self == PAPER else ""
        return f"{self.method}, {self.noise}, {start:g}:{end:g}{paper}"

    def motion(self, degrees: float) -> MotionSettings:
        """Turning by an angle in this way."""
        return MotionSettings(rotate=degrees, method=self.method, noise=self.noise, schedule=self.schedule)


PAPER = Way("spline", "independent", PAPER_WINDOW)


def every_way(
    windows: Sequence[tuple[float, float]],
    methods: Sequence[str] = ("fourier", "spline"),
    noises: Sequence[str] = NOISES,
) -> list[Way]:
    """All combinations."""
    return [Way(m, n, w) for m, n, w in itertools.product(methods, noises, windows)]


def rotation_curves(
    store: SampleStore,
    ways: Sequence[Way],
    angles: Sequence[float],
    num: int,
    judge: ClassifierFeatures,
    real: Tensor,
    *,
    progress: Progress | None = None,
) -> list[RotationCurve]:
    """Curves over theta of each way, then of two baselines: the finished x(0) turned by "fourier" and by "bicubic".

    store   samples the run; its parts are kept, so a stopped measurement goes on
    angles  degrees, in order; 0 is added in front where it is missing
    num     samples at each angle, more than the judge has features (64)
    judge   a classifier of upright images. Generated and real images are turned back by -theta and what lies outside
            the disc is replaced by the mean of the real images there, before it looks
    real    uint8 (N, C, S, S), of which the first 10,000 are used

    Raises ArgumentError, ShapeError.
    """
    import torch

    from aliasfree.data import unit_range
    from aliasfree.evaluation.equivariance import disc_mask
    from aliasfree.evaluation.features import extract
    from aliasfree.ops import rotate2d

    check_curves(num, (real.shape[-2], real.shape[-1]), len(real))
    degrees = tuple(angles) if 0.0 in angles else (0.0, *angles)
    disc = disc_mask(real.shape[-1], 0)
    real_unit = unit_range(real[:REAL])
    outside = (real_unit.mean(0) * ~disc[0]).sum((1, 2)) / (~disc).sum()

    def upright(images: Tensor, theta: float) -> Tensor:
        """Turned back, with a plain border, as pixels."""
        back = rotate2d(images, -theta).clamp(-1, 1)
        return ((torch.where(disc, back, outside[:, None, None]) + 1) * 127.5).round().to(torch.uint8)

    references = [extract(judge, upright(rotate2d(real_unit, a).clamp(-1, 1), a)).values for a in degrees]
    asked = store.settings.class_label
    count = store.sampler.num_classes or 1
    labels = None if asked is None else torch.tensor([i % count if asked == "each" else int(asked) for i in range(num)])
    jobs = len(ways) * (len(degrees) - 1) + 1
    done = 0

    def sampled(motion: MotionSettings) -> Tensor:
        nonlocal done
        before = done

        def report(part: int, total: int) -> None:
            if progress is not None:
                progress(before * num + part * num // max(1, total), jobs * num)

        images = unit_range(store.images(num, motion, report))
        done += 1
        return images

    still = sampled(MotionSettings())
    shown: list[tuple[str, list[Tensor]]] = []
    for way in ways:
        shown.append((str(way), [still if a == 0 else sampled(way.motion(a)) for a in degrees]))
    for method in ("fourier", "bicubic"):
        turned = [still if a == 0 else rotate2d(still, a, method).clamp(-1, 1) for a in degrees]
        shown.append((f"x(0) turned, {method}", turned))
    return [_curve(name, degrees, images, upright, references, judge, labels) for name, images in shown]


def check_curves(num: int, size: tuple[int, int], real: int | None = None) -> None:
    """Raise ArgumentError for numbers of samples and of real images, and a size (H, W), that have no curves."""
    if size[0] != size[1]:
        raise ArgumentError("Rotations are measured on square images; train with a square `image_size`.")
    if num <= JUDGE:
        raise ArgumentError(f"`num` must be more than {JUDGE}, the judge's features, not {num}.")
    if real is not None and real <= JUDGE:
        raise ArgumentError(f"{real} real images are too few for the judge's {JUDGE} features; give more than {JUDGE}.")


def _curve(
    name: str,
    degrees: tuple[float, ...],
    images: list[Tensor],
    upright: Callable[[Tensor, float], Tensor],
    references: list[Tensor],
    judge: ClassifierFeatures,
    labels: Tensor | None,
) -> RotationCurve:
    import torch

    from aliasfree.evaluation.equivariance import disc_mask, image_agreement
    from aliasfree.evaluation.features import extract
    from aliasfree.evaluation.fidelity import frechet_estimate
    from aliasfree.evaluation.intervals import share
    from aliasfree.ops import rotate2d

    still = images[degrees.index(0.0)]
    disc = disc_mask(still.shape[-1])
    first = _classes(extract(judge, upright(still, 0.0)).probabilities)
    found: dict[str, list[Any]] = {k: [] for k in ("db", "fd", "kept", "right", "step")}
    for k, (theta, x) in enumerate(zip(degrees, images, strict=True)):
        found["db"].append(image_agreement(x, rotate2d(still, theta), disc).estimate())
        seen = extract(judge, upright(x, theta))
        found["fd"].append(frechet_estimate(seen.values, references[k], resamples=RESAMPLES))
        classes = _classes(seen.probabilities)
        found["kept"].append(share(int((classes == first).sum()), len(x)))
        found["right"].append(None if labels is None else share(int((classes == labels).sum()), len(x)))
        before = None
        if k:
            turned = rotate2d(images[k - 1], theta - degrees[k - 1])
            before = image_agreement(x, turned, disc).estimate()
        found["step"].append(before)
    few = torch.stack([x[:SHOWN] for x in images])
    shown = ((few + 1) * 127.5).round().to(torch.uint8)
    return RotationCurve(name, degrees, **{k: tuple(values) for k, values in found.items()}, shown=shown)


def _classes(probabilities: Tensor | None) -> Tensor:
    assert probabilities is not None
    return probabilities.argmax(1)
