"""`aliasfree film`: what networks make while their noise moves by fractions of a pixel, one above the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aliasfree.errors import ArgumentError
from aliasfree.files import together, write_json
from aliasfree.outputs import check_outputs
from aliasfree.pictures import pingpong, save_gif, save_mp4, save_png, to_uint8
from aliasfree.reporting.film import FPS, FRAMES, TILE, TRAVEL, film_frames, film_shifts, film_strip
from aliasfree.results.film import Film
from aliasfree.sampling.cost import check_cost
from aliasfree.sampling.sampler import Sampler, SampleSettings

if TYPE_CHECKING:
    from aliasfree.training import RunFolder

__all__ = ["film_run", "film_runs"]

Progress = Callable[[int, int], None]


def film_run(
    sampler: Sampler,
    name: str,
    num: int = 1,
    *,
    frames: int = FRAMES,
    travel: float = TRAVEL,
    progress: Progress | None = None,
) -> Film:
    """The first `num` images of the seed in `frames` frames: all noise moves to the right by `travel` pixels in all.

    The frame of a network that knows one moves along. Everything moves before the first step, so each frame is sampled
    from noise that has moved, by itself.
    """
    import torch

    from aliasfree.evaluation.equivariance import image_agreement
    from aliasfree.measuring.network_equivariance import is_periodic
    from aliasfree.measuring.sampler_equivariance import sample_moved
    from aliasfree.ops import translate2d

    shifts = torch.tensor(film_shifts(frames, travel), dtype=torch.float64).repeat(num)
    indices = [i for i in range(num) for _ in range(frames)]
    motion = {"translate": (torch.zeros_like(shifts), shifts), "schedule": (0.0, 0.0)}
    states = sample_moved(sampler, indices, progress, **motion)
    back = translate2d(states, 0.0, -shifts)
    first = back[::frames].repeat_interleave(frames, 0)
    wanted, mask = translate2d(first, 0.0, shifts, return_mask=True)
    mask = torch.ones_like(mask) if is_periodic(sampler.pipeline.unet) else mask
    db = image_agreement(states, wanted, mask).db
    images, moved_back = (pixels.reshape(num, frames, *pixels.shape[1:]) for pixels in map(to_uint8, (states, back)))
    return Film(name, images, moved_back, db)


def film_runs(
    runs: Sequence[RunFolder],
    settings: SampleSettings,
    num: int = 3,
    *,
    frames: int = FRAMES,
    travel: float = TRAVEL,
    out: Path,
    overwrite: bool = False,
    yes: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[list[Film], list[Path]]:
    """A film of each run; writes `out` (.png, a strip of them) and beside it .gif, .mp4 and .json of the same name.

    Gives the films and the files. Raises ArgumentError for a value out of range, runs whose images differ in size, and
    without `overwrite` an `out` that exists.
    """
    check_film(num, frames, travel, out, overwrite)
    samplers = [Sampler(run, settings, device) for run in runs]
    shapes = {(s.pipeline.unet.config["in_channels"], *s.image_size) for s in samplers}
    if len(shapes) != 1:
        raise ArgumentError("Runs in one film need images of one size and as many channels; film them one by one.")
    tile = max(1, -(-TILE // samplers[0].image_size[0]))
    check_cost(samplers[0], num * frames * len(runs), out, kept=num * frames * len(runs) * tile**2, files=0, yes=yes)
    films = []
    for k, (run, sampler) in enumerate(zip(runs, samplers, strict=True)):

        def report(done: int, total: int, before: int = k) -> None:
            if progress is not None:
                progress(before * total + done, len(runs) * total)

        name = run.settings.config
        alone = sum(other.settings.config == name for other in runs) == 1
        name = name if alone else run.path.name
        films.append(film_run(sampler, name, num, frames=frames, travel=travel, progress=report))
    with together():
        save_png(film_strip(films, film_shifts(frames, travel)), out)
        shown = pingpong(film_frames(films))
        save_gif(shown, out.with_suffix(".gif"), fps=FPS)
        save_mp4(shown, out.with_suffix(".mp4"), fps=FPS)
        facts = {
            "runs": {str(run.path): film.db for run, film in zip(runs, films, strict=True)},
            **dataclasses.asdict(settings), "num": num, "frames": frames, "travel": travel,
        }  # fmt: skip
        write_json(out.with_suffix(".json"), facts, indent=2)
    return films, film_outputs(out)


def check_film(num: int, frames: int, travel: float, out: Path, overwrite: bool) -> None:
    """Raises ArgumentError."""
    if num < 1 or frames < 2:
        raise ArgumentError(f"A film needs `num` of at least 1 and `frames` of at least 2, not {num} and {frames}.")
    if not math.isfinite(travel) or not travel:
        raise ArgumentError(f"`travel` is a number of pixels to the right, not {travel:g}.")
    if out.suffix.lower() != ".png":
        raise ArgumentError(f"The strip of a film is a PNG, so `out` must end in .png, not {out.name!r}.")
    check_outputs(film_outputs(out), overwrite=overwrite)


def film_outputs(out: Path) -> list[Path]:
    """All files of a film whose strip is `out`."""
    return [out.with_suffix(suffix) for suffix in (".png", ".gif", ".mp4", ".json")]
