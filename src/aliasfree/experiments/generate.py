"""Images from a trained run: numbered PNGs, tables of seeds by angles, and collages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from aliasfree.devices import check_device
from aliasfree.errors import ArgumentError, DataError
from aliasfree.files import new_folder, together, write_json
from aliasfree.outputs import check_outputs, expand_path, free_name
from aliasfree.pictures import angle_label, collage, grid, pingpong, save_gif, save_mp4, save_png, strip
from aliasfree.sampling.cost import check_cost
from aliasfree.sampling.sampler import MotionSettings, Pixels, Report, Sampler, SampleSettings

if TYPE_CHECKING:
    from aliasfree.training import RunFolder

__all__ = ["collage_folder", "rotate_run", "sample_run"]

GRID_IMAGES = 400
"""Most images that a grid shows; every image has its PNG."""


def sample_run(
    run: RunFolder,
    num: int,
    settings: SampleSettings,
    motion: MotionSettings,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    yes: bool = False,
    device: str = "auto",
    progress: Report | None = None,
) -> Path:
    """Sample `num` images into a folder: 00000.png ..., and beside it NAME-grid.png and NAME.json (the settings).

    out  the folder, which appears only when all images are there; None = a new name in the run's `images/`
    yes  begin even if it takes more memory or disk than is free

    Returns the folder. Raises ArgumentError for a value out of range, for more than there is room for or, without
    `overwrite`, an `out` that exists.
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
    check_cost(sampler, num, folder, kept=min(num, settings.batch_size + GRID_IMAGES), files=num, yes=yes)
    shown: list[Pixels] = []
    steps = settings.steps
    with together():
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
    yes: bool = False,
    device: str = "auto",
    progress: Report | None = None,
) -> list[Path]:
    """The same seeds sampled at every angle: a table (one row an image, one column an angle) and an animation of it.

    yes              begin even if it takes more memory than is free
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
    images = num * len(angles) * len(methods)
    check_cost(sampler, images, path, kept=images * _scale_of(sampler) ** 2, files=0, yes=yes)
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
    turned = table.swapaxes(0, 1).reshape(num * len(methods), len(angles), *size)

    scale, labels = _scale(turned[0, 0]), [angle_label(a) for a in angles]
    names = [f"{settings.seed}:{i}" + (f" {m}" if compare_methods else "") for i in range(num) for m in methods]
    with together():
        save_png(strip(turned, labels, names if len(names) > 1 else None, scale=scale), path)
        frames = [grid(turned[:, k], scale=scale) for k in range(len(angles))]
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
    folder = _image_folder(expand_path(source))
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


def _scale_of(sampler: Sampler) -> int:
    return max(1, 64 // sampler.image_size[1])


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
