"""What the tab Move shows: one seed of up to four runs in motion. Frames that were made once are kept."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from aliasfree.app import limits, render
from aliasfree.app.jobs import Job
from aliasfree.app.networks import Networks
from aliasfree.app.visitors import Recent
from aliasfree.errors import AliasfreeError, ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from aliasfree.sampling.sampler import MotionSettings, Sampler, SampleSettings

__all__ = ["OWN", "START", "WINDOWS", "Controls", "Mover"]

OWN, START, SLIDERS = "the network's own", "before the first step", "as the sliders say"
WINDOWS = (START, OWN, "over all steps", "at 95 % of the steps", SLIDERS)
"""When the motion happens."""

DRAFT_SECONDS = 0.22
"""What a picture may cost while a slider is dragged, of all runs together."""
DRAFT_STEPS = (2, 3, 4, 6, 8, 12, 16, 24)
KEPT_BYTES, FRAME_BYTES = 64 * 2**20, 512
"""Of all kept frames, and what one costs beside its pixels."""
PACES = 500
Report = Callable[[int, int], None]
BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)  # told apart in all common kinds of colour blindness


@dataclass(frozen=True)
class Controls:
    """What the fields of the tab ask for, checked."""

    names: tuple[str, ...]
    settings: SampleSettings
    motion: MotionSettings

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Controls:
        """From the values of the fields, by their names. Raises ArgumentError."""
        from aliasfree.sampling.sampler import MotionSettings, SampleSettings

        names = list(fields["runs"] or [])
        if not names:
            raise ArgumentError("Choose at least one network.")
        if len(names) > limits.RUNS:
            raise ArgumentError(f"Choose at most {limits.RUNS} networks, not {len(names)}.")
        class_ = None if fields["class"] in (None, "none") else limits.whole(_int(fields["class"]), "class", 0, 10**6)
        settings = SampleSettings(
            steps=limits.whole(fields["steps"], "steps", 1, limits.STEPS),
            scheduler=str(fields["scheduler"]),
            seed=limits.whole(fields["seed"], "seed", 0, 2**31 - 1),
            class_label=class_,
            guidance=1.0 if class_ is None else limits.number(fields["guidance"], "guidance", 1, 10),
        )
        right, down = (limits.number(fields[name], name, -64, 64) for name in ("right", "down"))
        motion = MotionSettings(
            rotate=limits.number(fields["rotate"], "rotation", -360, 360),
            translate=(down, right),
            zoom=limits.number(fields["zoom"], "zoom", 0.25, 4),
            method=str(fields["method"]),
            noise=str(fields["noise"]),
            schedule=_window(fields["when"], fields["start"], fields["end"]),
        )
        return cls(tuple(names), settings, motion)


class Mover:
    """Samples for the tab, from a cache where it can."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._frames = Recent(KEPT_BYTES, cost=lambda frame: frame.nbytes + FRAME_BYTES)
        self._pace = Recent(PACES)  # seconds a step of one image, by folder

    def view(self, job: Job, controls: Controls, draft: bool) -> render.Html:
        """A row a run: upright, in motion, the difference and its decibel. A draft has few steps and no difference."""
        names, settings, motion = controls.names, controls.settings, controls.motion
        rows: list[render.Html] = []
        failed: list[AliasfreeError] = []
        for k, name in enumerate(names):
            try:
                rows.append(self._one(job, name, settings, motion, draft, (k, len(names))))
            except AliasfreeError as error:  # the other runs are shown all the same
                failed.append(error)
                rows.append(render.tiles(name, [render.error(str(error))]))
        if len(failed) == len(names):
            raise failed[0]
        return render.Html("".join(rows))

    def film(self, job: Job, controls: Controls, there: MotionSettings, frames: int) -> render.Html:
        """A film from the motion of the controls to another, as GIF and MP4, both within the page."""
        from aliasfree.measuring.motion import between, motion_film
        from aliasfree.pictures import gif_bytes, pingpong, save_mp4
        from aliasfree.reporting.film import FPS, film_frames

        names, settings = controls.names, controls.settings
        if len(names) * frames * settings.steps > limits.FILM_STEPS:
            raise ArgumentError(
                f"{len(names)} runs, {frames} frames and {settings.steps} steps make a film too long; take less of one."
            )
        motions = between(controls.motion, there, frames)
        films = []
        for k, name in enumerate(names):
            sampler, _ = self._sampler(name, settings, 0)

            def told(done: int, total: int, before: int = k) -> None:
                job.report(before * total + done, len(names) * total)

            films.append(motion_film(sampler, self._title(name), motions, progress=told))
        if len({film.images.shape for film in films}) > 1:
            raise ArgumentError("Runs in one film need images of one size and as many channels; choose others.")
        shown = pingpong(film_frames(films))
        gif = gif_bytes(shown, fps=FPS)
        with tempfile.TemporaryDirectory() as folder:
            save_mp4(shown, Path(folder) / "film.mp4", fps=FPS)
            mp4 = (Path(folder) / "film.mp4").read_bytes()
        return render.Html(
            render.tile(gif, f"{len(shown)} frames of {', '.join(names)}", mime="image/gif", wide=True)
            + render.download(gif, "image/gif", "film.gif", "Save as GIF")
            + render.download(mp4, "video/mp4", "film.mp4", "Save as MP4")
        )

    def _one(
        self, job: Job, name: str, settings: SampleSettings, motion: MotionSettings, draft: bool, place: tuple[int, int]
    ) -> render.Html:
        before, of = place
        sampler, key = self._sampler(name, settings, of if draft else 0)
        steps = 2 * sampler.settings.steps

        def told(done: int, _: int) -> None:
            job.report(before * steps + done, of * steps)

        if draft:
            still = self._frames.get(((*key[:2], settings), None))
            return self._draft(sampler, name, key, motion, still, told)
        return self._row(sampler, name, key, motion, told)

    def _sampler(self, name: str, settings: SampleSettings, draft_of: int) -> tuple[Sampler, Any]:
        """With `draft_of` runs in a draft as few steps as their pace allows. The key tells what a frame depends on."""
        folder = self.networks.find(name)
        if draft_of:
            affordable = DRAFT_SECONDS / draft_of / (self._pace.get(folder) or 0.02)
            few = max((n for n in DRAFT_STEPS if n <= affordable), default=DRAFT_STEPS[0])
            settings = replace(settings, steps=min(few, settings.steps))
        sampler = self.networks.sampler(name, settings)
        if max(sampler.image_size) > limits.SIDE:
            raise ArgumentError(f"{name} makes images above {limits.SIDE} pixels, too slow to move here.")
        return sampler, (*self.networks.version(name), sampler.settings)

    def _still(self, sampler: Sampler, key: Any, told: Report) -> Tensor:
        from aliasfree.measuring.motion import upright_sample

        found = self._frames.get((key, None))
        if found is None:
            began = time.monotonic()
            found = upright_sample(sampler, progress=told)
            self._pace.put(key[0], (time.monotonic() - began) / sampler.settings.steps)
            self._frames.put((key, None), found)
        return found

    def _row(self, sampler: Sampler, name: str, key: Any, motion: MotionSettings, told: Report) -> render.Html:
        from aliasfree.measuring.motion import moved_samples

        steps = sampler.settings.steps
        still = self._still(sampler, key, told)
        kept = self._frames.get((key, motion))
        moved = moved_samples(
            sampler, still, [motion], images=kept, progress=lambda done, total: told(steps + done, total)
        )
        if kept is None:
            self._frames.put((key, motion), moved.images)
        pictures = [
            render.tile(_pixels(still), f"{name}, upright", "upright"),
            render.tile(_pixels(moved.images), f"{name}, in motion", "sampled in motion"),
            render.tile(_pixels(moved.wanted), f"{name}, upright sample moved", "upright, moved"),
            render.tile(_difference(moved.images, moved.wanted, moved.mask), f"{name}, difference", "difference"),
        ]
        return render.tiles(self._title(name), pictures, f"{_db(moved.db)}, {steps} steps")

    def _draft(
        self, sampler: Sampler, name: str, key: Any, motion: MotionSettings, still: Tensor | None, told: Report
    ) -> render.Html:
        from aliasfree.measuring.motion import moved_upright
        from aliasfree.measuring.sampler_equivariance import sample_moved

        found = self._frames.get((key, motion))
        if found is None:
            began = time.monotonic()
            found = sample_moved(
                sampler, [0], told, rotate=motion.rotate, translate=motion.translate, zoom=motion.zoom,
                method=motion.method, noise=motion.noise, schedule=motion.schedule,
            )  # fmt: skip
            self._pace.put(key[0], (time.monotonic() - began) / sampler.settings.steps)
            self._frames.put((key, motion), found)
        steps = sampler.settings.steps
        picture = render.tile(_pixels(found), f"{name}, in motion", "sampled in motion")
        upright, wanted = render.blank("upright"), render.blank("upright, moved")
        if still is not None:
            upright = render.tile(_pixels(still), f"{name}, upright", "upright")
            wanted = render.tile(_pixels(moved_upright(still, [motion])), f"{name}, upright moved", "upright, moved")
        content = [upright, picture, wanted, render.blank("difference")]
        return render.tiles(self._title(name), content, f"draft of {steps} steps")

    def _title(self, name: str) -> str:
        config = self.networks.source(name).title
        return config if config == Path(name).name else f"{config} ({Path(name).name})"


def _window(when: Any, start: Any, end: Any) -> tuple[float, float] | None:
    """The share of sampling in which the motion happens; None = the network's own."""
    from aliasfree.diffusion.names import LATE, WHOLE

    start, end = (limits.number(v, "window", 0, 1) for v in (start, end))
    windows = {START: (0.0, 0.0), OWN: None, "over all steps": WHOLE, "at 95 % of the steps": LATE}
    if when not in WINDOWS:
        raise ArgumentError(f"The motion happens at one of: {', '.join(WINDOWS)}.")
    if when == SLIDERS and start > end:
        raise ArgumentError(f"The window ends at {end:g} before it starts at {start:g}; move its sliders.")
    return windows.get(when, (start, end))


def _int(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _db(value: float) -> str:
    if math.isnan(value):
        return "nothing to compare"
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _pixels(images: Tensor) -> Image.Image:
    from aliasfree.pictures import grid, to_uint8

    return grid(to_uint8(images[:1]))


def _difference(got: Tensor, wanted: Tensor, mask: Tensor) -> Image.Image:
    """Orange: too bright, blue: too dark, full at half of the range from black to white; grey: not compared."""
    share = (got[0] - wanted[0]).mean(0).clamp(-1, 1)[..., None].double().numpy()
    white = np.array([247.0, 247.0, 247.0])
    colour = np.where(share > 0, np.array(ORANGE, np.float64), np.array(BLUE, np.float64))
    pixels = white + (colour - white) * np.abs(share)
    pixels[~mask[0, 0].numpy()] = 160
    return Image.fromarray(pixels.round().astype(np.uint8))
