"""Equivariance of networks, noise level by noise level: they are asked about noised real images, shifted and turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aliasfree.results.metrics import NetworkEquivariance, NoiseLevel

if TYPE_CHECKING:
    from torch import Tensor, nn

    from aliasfree.evaluation.equivariance import Agreement

__all__ = ["is_periodic", "network_equivariance"]

LEVELS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75)
"""Noise levels at which networks are measured, as shares of the training's time steps."""
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
