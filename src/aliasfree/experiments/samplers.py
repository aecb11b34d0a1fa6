"""Whole samplers in motion: is the image of moved noise, seen from a moved frame, the moved image?

The starting noise and all that is injected move; a network that knows the frame is told. An equivariant network then
makes the same image somewhere else. The measure is that of finished images (peak energy over error), before anything is
cut off at [-1, 1]: that would alias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError
from aliasfree.experiments.equivariance import is_periodic
from aliasfree.reporting.metrics import SampledMotion, SamplerEquivariance
from aliasfree.sampling import WHOLE

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.evaluation.equivariance import Agreement
    from aliasfree.experiments.generate import Sampler

__all__ = ["WINDOWS", "sampler_equivariance"]

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

    from aliasfree.diffusion import sample_generators
    from aliasfree.diffusion.noise import draw
    from aliasfree.evaluation.equivariance import disc_mask, image_agreement
    from aliasfree.evaluation.lanczos import lanczos_translate2d
    from aliasfree.evaluation.spectra import without_nyquist
    from aliasfree.ops import rotate2d, translate2d

    if num < 1:
        raise ArgumentError(f"`num` must be at least 1, not {num}.")
    pipeline, settings = sampler.pipeline, sampler.settings
    config, steps = pipeline.unet.config, settings.steps
    size = config["sample_size"]
    h, w = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    periodic = is_periodic(pipeline.unet)
    generator = torch.Generator().manual_seed(settings.seed)

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
        """The last states of all samples, moved while they are sampled."""
        nonlocal done
        images = []
        for start in range(0, num, settings.batch_size):
            part = list(range(start, min(num, start + settings.batch_size)))
            generators = sample_generators(settings.seed, part)
            shape = (int(config["in_channels"]), h, w)
            drawn = [draw(generators, shape, torch.device("cpu"), torch.float32) for _ in range(steps + 1)]
            noise = [without_nyquist(one) for one in drawn]

            def report(step: int, of: int, before: int = start, n: int = len(part)) -> None:
                if progress is not None:
                    progress((done * num + before) * of + n * step, jobs * num * of)

            output = pipeline(
                batch_size=len(part),
                num_inference_steps=steps,
                class_labels=sampler.labels(part),
                guidance_scale=settings.guidance,
                latents=noise[0],
                step_noise=torch.stack(noise[1:]),
                output_type="latent",
                progress=report,
                **{k: _part(v, part) for k, v in motion.items()},
            )
            images.append(output.images.cpu())
        done += 1
        return torch.cat(images)

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
    return SamplerEquivariance(
        motions=tuple(motions), images=num, steps=steps, scheduler=settings.scheduler, periodic=periodic
    )


def _part(amount: Any, part: Sequence[int]) -> Any:
    """Of the amounts of a motion those of some samples; a window stays what it is."""
    import torch

    if isinstance(amount, torch.Tensor):
        return amount[list(part)]
    return tuple(_part(a, part) for a in amount) if isinstance(amount, tuple) else amount
