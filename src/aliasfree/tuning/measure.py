"""Figures of teacher, converted and tuned model on the same images: how they commute with motion, how faithful.

Shifts are within an eighth of the side (of the latents, for an autoencoder). EQ-T is of whole pixels, those of the
latents for encoder and decoder; EQ-T_frac of fractions, of inputs without Nyquist component. On the "plane" every pixel
counts, as if it had no edge; "inside", only those that no shift brought in, less an eighth of the side at each edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aliasfree.estimate import Estimate
from aliasfree.evaluation.equivariance import Agreement, grid_agreement, translation_agreement
from aliasfree.evaluation.intervals import NORMAL
from aliasfree.evaluation.spectra import radial_power_spectrum, without_nyquist
from aliasfree.training.stream import derived_seed
from aliasfree.tuning.objectives import target_of
from aliasfree.tuning.teachers import Pair

__all__ = ["autoencoder_figures", "fidelity", "latent_spectrum", "mean_estimate", "point_db", "unet_figures"]

ROUNDS = 10
_SEED = 7
_BATCH = 32
Map = Callable[[Tensor], Tensor]


def point_db(pair: Pair, model: Any, x: Tensor) -> float:
    """EQ-T_frac in dB of the decoder or the UNet: on the plane where the student has no edge, else inside."""
    with torch.no_grad():
        if pair.kind == "autoencoder":
            fn: Map = _batched(lambda v: model.decode(v).sample)
            seen, ratio = _latents(pair.teacher, x), float(pair.factor)
        else:
            fn, seen, ratio = _unet(pair, model, x), _noised(pair, x)[0], 1.0
        return _shifts(fn, seen, ratio, fractional=True, periodic=pair.periodic).db


def fidelity(pair: Pair, model: Any, x: Tensor) -> Tensor:
    """One figure an image, float64 (N,): PSNR in dB of a reconstruction, or squared error of a UNet's answer."""
    with torch.no_grad():
        if pair.kind == "autoencoder":
            return _psnr(_batched(lambda v: _round_trip(model, v))(x), x)
        noised, wanted = _noised(pair, x)
        return (_unet(pair, model, x)(noised).double() - wanted.double()).square().mean((1, 2, 3)).cpu()


@torch.no_grad()
def autoencoder_figures(pair: Pair, model: Any, x: Tensor) -> dict[str, Estimate]:
    """All figures of an autoencoder but rFID, on images x (N, C, H, W) in [-1, 1]; a decoder sees the teacher's."""
    k = float(pair.factor)
    z = _latents(pair.teacher, x)
    parts: dict[str, tuple[Map, Tensor, float]] = {
        "encoder": (_batched(lambda v: model.encode(v).latent_dist.mode()), x, 1 / k),
        "decoder": (_batched(lambda v: model.decode(v).sample), z, k),
        "round trip": (_batched(lambda v: _round_trip(model, v)), x, 1.0),
    }
    found: dict[str, Estimate] = {}
    for name, (fn, seen, ratio) in parts.items():
        found |= {f"{name} {what}": agreement.estimate() for what, agreement in _equivariance(fn, seen, ratio).items()}
    found["PSNR"] = mean_estimate(fidelity(pair, model, x))
    again, trip = x, parts["round trip"][0]
    for _ in range(ROUNDS):
        again = trip(again)
    found[f"PSNR after {ROUNDS} round trips"] = mean_estimate(_psnr(again, x))
    frequency, power = latent_spectrum(model, x)
    found["latent power above half of Nyquist"] = Estimate(float(power[frequency > 0.5].sum() / power[1:].sum()))
    return found


@torch.no_grad()
def unet_figures(pair: Pair, model: Any, x: Tensor) -> dict[str, Estimate]:
    """All figures of a UNet but FD, on x (N, C, H, W) before noise; each image at a noise level of its own."""
    fn, seen = _unet(pair, model, x), _noised(pair, x)[0]
    found = {what: agreement.estimate() for what, agreement in _equivariance(fn, seen, 1.0).items()}
    found["test error"] = mean_estimate(fidelity(pair, model, x))
    return found


def latent_spectrum(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """(frequency, power) of an autoencoder's latents, as `radial_power_spectrum` gives them."""
    return radial_power_spectrum(_latents(model, x).cpu())


def mean_estimate(values: Tensor) -> Estimate:
    """Mean with its 95 % interval over images."""
    mean = values.mean().item()
    if len(values) < 2:
        return Estimate(mean)
    half = NORMAL * values.std().item() / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def _equivariance(fn: Map, x: Tensor, ratio: float) -> dict[str, Agreement]:
    found = {
        f"{what}, {where}": _shifts(fn, x, ratio, fractional=what == "EQ-T_frac", periodic=where == "plane")
        for what in ("EQ-T", "EQ-T_frac")
        for where in ("plane", "inside")
    }
    mirrors = [grid_agreement(fn, x, lambda v, axis=axis: v.flip(axis)) for axis in (2, 3)]  # type: ignore[misc]
    found["flip"] = Agreement.join(mirrors)
    if x.shape[2] == x.shape[3]:
        turns = [grid_agreement(fn, x, lambda v, k=k: v.rot90(k, (2, 3))) for k in (1, 2, 3)]  # type: ignore[misc]
        found["rot90"] = Agreement.join(turns)
    return found


def _shifts(fn: Map, x: Tensor, ratio: float, *, fractional: bool, periodic: bool) -> Agreement:
    seen = without_nyquist(x) if fractional else x
    side = min(round(n * ratio) for n in x.shape[2:])
    # an eighth of the coarser side, but one pixel at least
    coarse = min(x.shape[2], x.shape[3], side)
    reach = max(1 / 8, 1 / coarse)
    margin = 0 if periodic else max(1, side // 8)
    return translation_agreement(
        fn, seen, fractional, reach=reach, margin=margin, periodic=periodic, ratio=ratio, seed=_SEED
    )


def _latents(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return _batched(lambda v: model.encode(v).latent_dist.mode())(x)


def _round_trip(model: Any, x: Tensor) -> Tensor:
    image: Tensor = model.decode(model.encode(x).latent_dist.mode()).sample
    return image


def _psnr(a: Tensor, b: Tensor) -> Tensor:
    """dB an image, of images in [-1, 1], what lies beyond being cut."""
    error = (a.clamp(-1, 1).double() - b.double()).square().mean((1, 2, 3))
    return 10 * (4 / error.clamp(min=1e-12)).log10().cpu()


def _noised(pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """(noised x, what the network is to say), the noise levels spread evenly over the images; the same every time."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(derived_seed(_SEED))).to(x)
    times = _times(pair, len(x)).to(x.device)
    return pair.scheduler.add_noise(x, noise, times), target_of(pair.scheduler, x, noise, times)


def _times(pair: Pair, n: int) -> Tensor:
    levels = int(pair.scheduler.config["num_train_timesteps"])
    return ((torch.arange(n) + 0.5) * levels / n).long()


def _unet(pair: Pair, model: Any, x: Tensor) -> Map:
    """The UNet as a function of the noised images, each at its level; called with all of them or none."""
    times = _times(pair, len(x)).to(x.device)
    told = {}
    if pair.embeddings is not None:
        told["encoder_hidden_states"] = pair.embeddings[torch.arange(len(x)) % len(pair.embeddings)].to(x.device)

    def call(v: Tensor) -> Tensor:
        parts = []
        for rows in torch.arange(len(v), device=v.device).split(_BATCH):
            more = {name: value[rows] for name, value in told.items()}
            parts.append(model(v[rows], times[rows], **more).sample[:, : v.shape[1]])
        return torch.cat(parts)

    return call


def _batched(fn: Map) -> Map:
    return lambda v: torch.cat([fn(part) for part in v.split(_BATCH)])
