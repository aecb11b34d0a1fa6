"""Whole samplers in motion: is the image of moved noise, seen from a moved frame, the moved image?

The starting noise and all that is injected move; a network that knows the frame is told. An equivariant network then
makes the same image somewhere else. The measure is that of finished images (peak energy over error), before anything is
cut off at [-1, 1]: that would alias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aliasfree.diffusion.names import WHOLE
from aliasfree.errors import ArgumentError
from aliasfree.measuring.network_equivariance import is_periodic
from aliasfree.results.metrics import SampledMotion, SamplerEquivariance

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.evaluation.equivariance import Agreement
    from aliasfree.sampling.sampler import Sampler

__all__ = ["WINDOWS", "sample_moved", "sampler_equivariance"]

WINDOWS = ((0.0, 0.0), WHOLE)
"""The motion before the first step, and spread over all of them."""
REACH = 1 / 8
"""Largest shift, as a share of the side."""
Progress = Callable[[int, int], None]


def sampler_equivariance(
    sampler: Sampler,
    num: int = 32,
    *,
    windows: Sequence[tuple[float, float]] = WINDOWS,
    rotations: bool = True,
    progress: Progress | None = None,
) -> SamplerEquivariance:
    """EQ-T, EQ-T_frac (by the Fourier theorem, and by StyleGAN3's ruler) and EQ-R of a sampler, image level.

    num        samples, each moved by an amount of its own: shifts up to an eighth of the side, any angle
    windows    of sampling progress, in which the motion happens
    rotations  also measure EQ-R; images that are not square have none

    The noise has nothing at the Nyquist frequency, where fractions of a pixel have no meaning. Under shifts every pixel
    counts where the network pads periodically, else the valid region of each; under rotations the disc of `eq_r`.
    Raises ArgumentError.
    """
    import torch

    from aliasfree.evaluation.equivariance import disc_mask, image_agreement
    from aliasfree.evaluation.lanczos import lanczos_translate2d
    from aliasfree.ops import rotate2d, translate2d

    if num < 1:
        raise ArgumentError(f"`num` must be at least 1, not {num}.")
    h, w = sampler.image_size
    periodic = is_periodic(sampler.pipeline.unet)
    generator = torch.Generator().manual_seed(sampler.settings.seed)

    def uniform(side: float) -> Tensor:
        return (torch.rand(num, generator=generator, dtype=torch.float64) * 2 - 1) * side

    fraction = (uniform(REACH * h), uniform(REACH * w))
    whole = tuple((d + d.sign() * 0.5).trunc() for d in fraction)
    angles = uniform(180.0)
    moves: dict[str, dict[str, Any]] = {"eq_t": {"translate": whole}, "eq_t_frac": {"translate": fraction}}
    if rotations and h == w:
        moves["eq_r"] = {"rotate": angles}
    jobs, done = 1 + len(windows) * len(moves), 0

    def sampled(**motion: Any) -> Tensor:
        nonlocal done
        before = done
        done += 1

        def report(part: int, of: int) -> None:
            if progress is not None:
                progress(before * of + part, jobs * of)

        return sample_moved(sampler, range(num), report, **motion)

    still = sampled()
    motions = []
    for window in windows:
        found: dict[str, Agreement] = {}
        for name, move in moves.items():
            x = sampled(**move, schedule=window)
            if name == "eq_r":
                found[name] = image_agreement(x, rotate2d(still, angles), disc_mask(h))
                continue
            wanted, mask = translate2d(still, *move["translate"], return_mask=True)
            found[name] = image_agreement(x, wanted, torch.ones_like(mask) if periodic else mask)
            if name == "eq_t_frac":
                found["eq_t_lanczos"] = image_agreement(x, *lanczos_translate2d(still, *move["translate"]))
        motions.append(SampledMotion(window=window, **{k: v.estimate() for k, v in found.items()}))
    settings = sampler.settings
    return SamplerEquivariance(
        motions=tuple(motions), images=num, steps=settings.steps, scheduler=settings.scheduler, periodic=periodic
    )


def sample_moved(sampler: Sampler, indices: Sequence[int], progress: Progress | None = None, **motion: Any) -> Tensor:
    """Images number `indices` of the seed, an index as often as you like: the last states, float (N, C, H, W).

    motion    arguments of `AliasFreePipeline`, tensors with an amount for each image
    progress  called with (image steps done, image steps in all)

    The noise of each image is its own, less what it has at the Nyquist frequency.
    """
    import torch

    from aliasfree.diffusion import sample_generators
    from aliasfree.diffusion.noise import draw
    from aliasfree.evaluation.spectra import without_nyquist

    settings, images = sampler.settings, []
    shape = (int(sampler.pipeline.unet.config["in_channels"]), *sampler.image_size)
    for start in range(0, len(indices), settings.batch_size):
        chosen = range(start, min(len(indices), start + settings.batch_size))
        part = [indices[i] for i in chosen]
        generators = sample_generators(settings.seed, part)
        drawn = [draw(generators, shape, torch.device("cpu"), torch.float32) for _ in range(settings.steps + 1)]
        noise = [without_nyquist(one) for one in drawn]

        def report(step: int, of: int, before: int = start, n: int = len(part)) -> None:
            if progress is not None:
                progress(before * of + n * step, len(indices) * of)

        output = sampler.pipeline(
            batch_size=len(part),
            num_inference_steps=settings.steps,
            class_labels=sampler.labels(part),
            guidance_scale=settings.guidance,
            latents=noise[0],
            step_noise=torch.stack(noise[1:]),
            output_type="latent",
            progress=report,
            **{name: _part(amount, chosen) for name, amount in motion.items()},
        )
        images.append(output.images.cpu())
    return torch.cat(images)


def _part(amount: Any, part: Sequence[int]) -> Any:
    """Of the amounts of a motion those of some samples; a window stays what it is."""
    import torch

    if isinstance(amount, torch.Tensor):
        return amount[list(part)]
    return tuple(_part(a, part) for a in amount) if isinstance(amount, tuple) else amount
