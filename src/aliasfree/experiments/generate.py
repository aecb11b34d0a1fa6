"""Images from a trained run: numbered PNGs, tables of seeds by angles, and collages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aliasfree.devices import check_device, find_device
from aliasfree.errors import ArgumentError, DataError, check_seed, did_you_mean
from aliasfree.files import new_folder, write_json
from aliasfree.outputs import check_outputs, free_name, named
from aliasfree.pictures import angle_label, collage, grid, pingpong, save_gif, save_mp4, save_png, strip
from aliasfree.sampling import METHODS, NOISE, SCHEDULERS

if TYPE_CHECKING:
    from aliasfree.experiments.denoisers import DenoiserFolder
    from aliasfree.training import RunFolder

__all__ = ["MotionSettings", "SampleSettings", "Sampler", "collage_folder", "rotate_run", "sample_run"]

GRID_IMAGES = 400
"""Most images that a grid shows; every image has its PNG."""
Report = Callable[[int, int], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """What happens to the image while it is sampled; the arguments of `AliasFreePipeline` of the same names."""

    rotate: float = 0.0  # degrees, counter-clockwise
    translate: tuple[float, float] = (0.0, 0.0)  # pixels down, pixels right
    zoom: float = 1.0
    method: str = METHODS[0]
    noise: str = NOISE
    schedule: tuple[float, float] | None = None  # share of sampling in which it happens; None = the network's default


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How images are sampled. Raises `ArgumentError` for a value out of range."""

    steps: int = 50  # sampling steps, 1 .. T-1
    scheduler: str = "ddpm"
    seed: int = 0
    class_label: int | str | None = None  # a class, "each" = one after the other, None = no class
    guidance: float = 1.0  # classifier-free guidance scale; 1 = off
    batch_size: int = 64
    ema: bool = True  # the averaged weights
    compile: bool = False  # torch.compile the network, as a CUDA graph on a GPU: a slow start, then faster steps

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise ArgumentError(
                f"There is no `scheduler` {self.scheduler!r}{did_you_mean(self.scheduler, SCHEDULERS)}."
            )
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"`{name}` must be at least 1, not {getattr(self, name)}.")
        check_seed(self.seed)
        if self.guidance != 1 and self.class_label is None:
            raise ArgumentError("`guidance` strengthens a class, so it needs `class_label`.")


class Sampler:
    """A run's network and a scheduler, ready to sample image number i of a seed, whatever else is in the batch.

    run   the run, or a folder of diffusers that can be sampled like one
    unet  its network, loaded already; None = it is loaded
    """

    def __init__(
        self,
        run: RunFolder | DenoiserFolder,
        settings: SampleSettings,
        device: str = "auto",
        *,
        unet: Any | None = None,
    ) -> None:
        chosen = find_device(device)
        from aliasfree.config import Config
        from aliasfree.diffusion import AliasFreePipeline, make_scheduler
        from aliasfree.diffusion.clipping import FINE_RATE
        from aliasfree.models.compiling import compile_network, lay_out

        self.settings = settings
        num_train_timesteps = run.num_train_timesteps
        if settings.steps > num_train_timesteps - 1:
            raise ArgumentError(
                f"`steps` must be at most {num_train_timesteps - 1}, one less than the time steps of the training, "
                f"not {settings.steps}."
            )
        unet = run.load_model(ema=settings.ema) if unet is None else unet
        self.num_classes: int | None = unet.config.num_class_embeds
        self._check_class(run.path)
        fine = Config.parse(unet.config.get("alias_free", "A")).is_equivariant
        scheduler = make_scheduler(settings.scheduler, num_train_timesteps, FINE_RATE if fine else 1)
        pipeline: Any = AliasFreePipeline(unet, scheduler)
        self.pipeline = pipeline.to(chosen)
        lay_out(unet, chosen)
        if settings.compile:
            compile_network(unet, chosen, sampling=True)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of its images."""
        size = self.pipeline.unet.config["sample_size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def _check_class(self, run: Path) -> None:
        label, count = self.settings.class_label, self.num_classes
        if label is None:
            return
        if count is None:
            raise ArgumentError(
                f"The network in {run} was trained without classes; leave out `class_label`, or train with "
                "`class_conditional=True`."
            )
        if label != "each" and not (isinstance(label, int) and 0 <= label < count):
            raise ArgumentError(f"`class_label` must be 0 to {count - 1} or 'each', not {label}.")

    def sample(
        self,
        indices: Sequence[int],
        motion: MotionSettings,
        angles: Sequence[float] | None = None,
        progress: Report | None = None,
    ) -> Pixels:
        """Images number `indices` of the seed, an index as often as you like: uint8 (N, H, W, C).

        angles    degrees for each image; None = `motion.rotate` for all
        progress  called with (image steps done, image steps in all)
        """
        from aliasfree.diffusion import sample_generators

        sampled: list[Pixels] = []
        steps, size = self.settings.steps, self.settings.batch_size
        for start in range(0, len(indices), size):
            part = list(indices[start : start + size])
            moving = dataclasses.asdict(motion)
            if angles is not None:
                moving["rotate"] = list(angles[start : start + size])

            def report(step: int, _: int, before: int = start * steps, n: int = len(part)) -> None:
                if progress is not None:
                    progress(before + step * n, len(indices) * steps)

            output = self.pipeline(
                batch_size=len(part),
                num_inference_steps=steps,
                class_labels=self.labels(part),
                guidance_scale=self.settings.guidance,
                generator=sample_generators(self.settings.seed, part),
                progress=report,
                **moving,
            )
            pixels = np.stack([np.asarray(image) for image in output.images])
            sampled.append(pixels[..., None] if pixels.ndim == 3 else pixels)
        return np.concatenate(sampled)

    def labels(self, indices: Sequence[int]) -> Any:
        """The class that each image is asked for, as the pipeline takes it; None = no class."""
        import torch

        label = self.settings.class_label
        if label is None:
            return None
        if label == "each":
            assert self.num_classes is not None
            return torch.tensor([i % self.num_classes for i in indices])
        return torch.full((len(indices),), int(label))


def sample_run(
    run: RunFolder,
    num: int,
    settings: SampleSettings,
    motion: MotionSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Report | None = None,
) -> Path:
    """Sample `num` images into a folder: 00000.png ..., and beside it NAME-grid.png and NAME.json (the settings).

    out  the folder, which appears only when all images are there; None = a new name in the run's `images/`

    Returns the folder. Raises ArgumentError for a value out of range or, without `overwrite`, an `out` that exists.
    """
    if num < 1:
        raise ArgumentError(f"`num` must be at least 1, not {num}.")
    check_device(device)
    folder = out or free_name(run.images, _name(settings, motion), _sample_files)
    check_outputs(_sample_files(folder), reads=run.read, overwrite=overwrite)
    if folder.exists() and (
        not folder.is_dir() or any(not re.fullmatch(r"\d+\.png", p.name) for p in folder.iterdir())
    ):
        raise ArgumentError(f"{folder} holds more than numbered images, so it is not replaced; give another `out`.")
    sampler = Sampler(run, settings, device)
    shown: list[Pixels] = []
    steps = settings.steps
    with new_folder(folder) as aside:
        for start in range(0, num, settings.batch_size):
            indices = range(start, min(num, start + settings.batch_size))

            def report(done: int, _: int, before: int = start * steps) -> None:
                if progress is not None:
                    progress(before + done, num * steps)

            pixels = sampler.sample(indices, motion, progress=report)
            aside.mkdir(parents=True, exist_ok=True)
            for i, tile in zip(indices, pixels, strict=True):
                save_png(grid(tile[None]), aside / f"{i:05d}.png")
            shown += list(pixels) if start < GRID_IMAGES else []
    _, picture, note = _sample_files(folder)
    save_png(grid(np.stack(shown[:GRID_IMAGES]), scale=_scale(shown[0])), picture)
    _write_settings(note, run, settings, motion, num=num)
    return folder


def rotate_run(
    run: RunFolder,
    angles: Sequence[float],
    num: int,
    settings: SampleSettings,
    motion: MotionSettings,
    *,
    compare_methods: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Report | None = None,
) -> list[Path]:
    """The same seeds sampled at every angle: a table (one row an image, one column an angle) and an animation of it.

    compare_methods  every image in two rows, turned by "fourier" and by the paper's "spline"
    out              a PNG; None = a new name in the run's `images/`. The animation is beside it, as .gif and .mp4

    Returns the files written: PNG, GIF, MP4, JSON. Raises ArgumentError.
    """
    if num < 1:
        raise ArgumentError(f"`num` must be at least 1, not {num}.")
    if motion.rotate:
        raise ArgumentError("The angles of a rotation table are given by `angles` alone.")
    check_device(device)
    path = out or free_name(run.images, f"{_name(settings, motion)}-rotation", _table_files, ".png")
    if path.suffix.lower() != ".png":
        raise ArgumentError(f"The table of angles is a PNG, so `out` must end in .png, not {path.name!r}.")
    files = _table_files(path)
    check_outputs(files, reads=run.read, overwrite=overwrite)
    sampler = Sampler(run, settings, device)
    methods = ("fourier", "spline") if compare_methods else (motion.method,)
    rows = [i for i in range(num) for _ in angles]
    sampled = []
    for k, one in enumerate(methods):

        def report(done: int, total: int, before: int = k) -> None:
            if progress is not None:
                progress(before * total + done, len(methods) * total)

        turning = dataclasses.replace(motion, method=one)
        sampled.append(sampler.sample(rows, turning, list(angles) * num, report))
    # (methods, num * angles, H, W, C) -> one row an image and method, one column an angle
    size = sampled[0].shape[1:]
    table = np.stack(sampled).reshape(len(methods), num, len(angles), *size)
    images = table.swapaxes(0, 1).reshape(num * len(methods), len(angles), *size)

    scale, labels = _scale(images[0, 0]), [angle_label(a) for a in angles]
    names = [f"{settings.seed}:{i}" + (f" {m}" if compare_methods else "") for i in range(num) for m in methods]
    save_png(strip(images, labels, names if len(names) > 1 else None, scale=scale), path)
    frames = [grid(images[:, k], scale=scale) for k in range(len(angles))]
    film = pingpong(frames, hold=2) if len(frames) > 1 else frames
    save_gif(film, files[1], fps=8)
    save_mp4(film, files[2], fps=8)
    _write_settings(files[3], run, settings, motion, num=num, angles=list(angles), methods=list(methods))
    return files


def collage_folder(source: Path, *, side: int = 20, out: Path | None = None, overwrite: bool = False) -> list[Path]:
    """Many images in square sheets of side x side, as in the paper.

    source  a folder of images, or a run (its newest folder of generated images)
    out     "x.png" gives x_0.png, x_400.png, ...; None = NAME-collage.png beside the folder

    Returns the files. Raises DataError when there are no images, ArgumentError when a sheet exists already.
    """
    if side < 1:
        raise ArgumentError(f"`side` must be at least 1, not {side}.")
    folder = _image_folder(named(source))
    images = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp") and p.is_file()
    )
    if not images:
        raise DataError(
            f"There are no images in {folder}; give a run with generated images, or a folder of PNG or JPEG files."
        )
    out = out or folder.with_name(f"{folder.name}-collage.png")
    if out.suffix.lower() != ".png":
        raise ArgumentError(f"A collage is a PNG, so `out` must end in .png, not {out.name!r}.")
    sheets = [out.with_name(f"{out.stem}_{start}.png") for start in range(0, len(images), side * side)]
    check_outputs(sheets, reads=images, fills=folder, overwrite=overwrite)
    return collage(images, out, side=side)


def _image_folder(source: Path) -> Path:
    if not source.is_dir():
        raise DataError(f"There is no folder {source}; give a run or a folder of images.")
    if not (source / "config.json").is_file():
        return source
    images = source / "images"
    made = [p for p in images.iterdir() if p.is_dir() and not p.name.startswith(".")] if images.is_dir() else []
    if not made:
        raise DataError(
            f"The run {source} has no generated images yet; make some with `aliasfree sample {quote(str(source))}`."
        )
    return max(made, key=lambda p: p.stat().st_mtime)


def _sample_files(folder: Path) -> list[Path]:
    """The folder of images, their grid and the settings."""
    return [folder, folder.with_name(f"{folder.name}-grid.png"), folder.with_name(f"{folder.name}.json")]


def _table_files(path: Path) -> list[Path]:
    """The table, its animation twice, and the settings."""
    return [path, *(path.with_suffix(suffix) for suffix in (".gif", ".mp4", ".json"))]


def _name(settings: SampleSettings, motion: MotionSettings) -> str:
    """What tells this set of images from others: "ddpm50-seed0-rot45-spline"."""
    parts = [f"{settings.scheduler}{settings.steps}", f"seed{settings.seed}"]
    parts += [] if settings.class_label is None else [f"class-{settings.class_label}"]
    parts += [f"rot{motion.rotate:g}"] if motion.rotate else []
    parts += [f"shift{motion.translate[0]:g},{motion.translate[1]:g}"] if any(motion.translate) else []
    parts += [f"zoom{motion.zoom:g}"] if motion.zoom != 1 else []
    parts += [motion.method] if motion.method != MotionSettings.method else []
    parts += [motion.noise] if motion.noise != MotionSettings.noise else []
    parts += ["window{:g},{:g}".format(*motion.schedule)] if motion.schedule is not None else []
    return "-".join(parts)


def _scale(image: Pixels) -> int:
    """Small images are shown larger, about 64 pixels wide."""
    return max(1, 64 // image.shape[1])


def _write_settings(path: Path, run: RunFolder, settings: SampleSettings, motion: MotionSettings, **more: Any) -> None:
    from aliasfree import __version__

    checkpoint = run.latest_checkpoint()
    facts = {
        "run": str(run.path),
        "checkpoint": checkpoint.name if checkpoint else None,
        "config": run.settings.config,
        **dataclasses.asdict(settings),
        **dataclasses.asdict(motion),
        **more,
        "version": __version__,
    }
    write_json(path, facts, indent=2)
