"""`aliasfree sample`, `aliasfree rotate`, `aliasfree collage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aliasfree.cli.recipes import SAMPLE, recipe_option
from aliasfree.diffusion.names import LATE, METHODS, NOISE

if TYPE_CHECKING:
    from aliasfree.training import RunFolder

WINDOW = "{:g}:{:g}".format(*LATE)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, as `aliasfree train --out` wrote it.")]
Steps = Annotated[int, typer.Option(help="Sampling steps, up to 999 for the paper's own chain.")]
Scheduler = Annotated[
    str, typer.Option(help="ddpm (ancestral, the paper's), ddim or dpm++; or one of them with -clipped after it.")
]
Method = Annotated[
    str, typer.Option(help="How images are turned: fourier (noise stays white), spline (the paper's) or bicubic.")
]
Noise = Annotated[
    str, typer.Option(help="co-moving: injected noise turns with the image; or independent (the paper's).")
]
Schedule = Annotated[
    str | None,
    typer.Option(
        metavar="START:END",
        help="Share of sampling over which the motion is spread; 0:1 is the paper's.",
        show_default=f"{WINDOW}; 0:1 for shifts of T and turns of R",
    ),
]
Class = Annotated[str | None, typer.Option("--class", help="A class number, or 'each' for one after the other.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale; 1 is off.")]
Seed = Annotated[int, typer.Option(help="Image i of a seed is the same in any batch.")]
BatchSize = Annotated[int, typer.Option(help="Images sampled at a time.")]
Ema = Annotated[bool, typer.Option("--ema/--no-ema", help="Use the averaged weights.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile the network, replayed as a CUDA graph on a GPU: a slow start.")
]
Recipe = Annotated[str | None, recipe_option(SAMPLE)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]

Yes = Annotated[bool, typer.Option("--yes", help="Begin even if it takes more memory or disk than is free.")]


def sample(
    run: Run,
    recipe: Recipe = None,  # noqa: ARG001 (it has set the defaults)
    num: Annotated[int, typer.Option(help="How many images.")] = 64,
    steps: Steps = 50,
    scheduler: Scheduler = "ddpm",
    rotate: Annotated[
        float, typer.Option(metavar="DEGREES", help="Counter-clockwise, while the image is sampled.")
    ] = 0.0,
    translate: Annotated[
        tuple[float, float], typer.Option(metavar="DY DX", help="Pixels down and right, while the image is sampled.")
    ] = (0.0, 0.0),
    zoom: Annotated[float, typer.Option(metavar="FACTOR", help="Above 1 enlarges, while the image is sampled.")] = 1.0,
    method: Method = METHODS[0],
    noise: Noise = NOISE,
    schedule: Schedule = None,
    class_: Class = None,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    ema: Ema = True,
    compile: Compile = False,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the PNGs.", show_default="a new one in RUN/images")
    ] = None,
    overwrite: Overwrite = False,
    yes: Yes = False,
) -> None:
    """Sample images from a trained run: numbered PNGs, a grid and the settings."""
    from aliasfree.cli.parse import parse_class, parse_window
    from aliasfree.experiments.generate import sample_run
    from aliasfree.progress import bar
    from aliasfree.sampling.sampler import MotionSettings, SampleSettings

    window = parse_window(schedule) if schedule else None
    settings = SampleSettings(
        steps=steps, scheduler=scheduler, seed=seed, class_label=parse_class(class_), guidance=guidance,
        batch_size=batch_size, ema=ema, compile=compile,
    )  # fmt: skip
    motion = MotionSettings(rotate=rotate, translate=translate, zoom=zoom, method=method, noise=noise, schedule=window)
    folder = _run(run)
    with bar("sampling") as report:
        made = sample_run(
            folder, num, settings, motion, out=out, overwrite=overwrite, yes=yes, device=device, progress=report
        )
    typer.echo(f"{num} images in {made}, side by side in {made.with_name(made.name + '-grid.png')}")


def rotate(
    run: Run,
    angles: Annotated[
        str, typer.Option(metavar="LO:HI:COUNT", help="Degrees from LO to HI; or a list, as in 0,45,90.")
    ] = "-90:90:9",
    num: Annotated[int, typer.Option(help="Rows: image 0, 1, ... of the seed.")] = 4,
    recipe: Recipe = None,  # noqa: ARG001 (it has set the defaults)
    compare_methods: Annotated[
        bool, typer.Option("--compare-methods", help="Two rows an image: fourier, and the paper's spline.")
    ] = False,
    steps: Steps = 50,
    scheduler: Scheduler = "ddpm",
    method: Method = METHODS[0],
    noise: Noise = NOISE,
    schedule: Schedule = None,
    class_: Class = None,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    ema: Ema = True,
    compile: Compile = False,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="The table, a PNG.", show_default="a new one in RUN/images")] = None,
    overwrite: Overwrite = False,
    yes: Yes = False,
) -> None:
    """Sample the same seeds at many angles: a table (PNG) and an animation (GIF, MP4)."""
    from aliasfree.cli.parse import parse_angles, parse_class, parse_window
    from aliasfree.experiments.generate import rotate_run
    from aliasfree.progress import bar
    from aliasfree.sampling.sampler import MotionSettings, SampleSettings

    degrees, window = parse_angles(angles), parse_window(schedule) if schedule else None
    settings = SampleSettings(
        steps=steps, scheduler=scheduler, seed=seed, class_label=parse_class(class_), guidance=guidance,
        batch_size=batch_size, ema=ema, compile=compile,
    )  # fmt: skip
    motion = MotionSettings(method=method, noise=noise, schedule=window)
    folder = _run(run)
    with bar("sampling") as report:
        made = rotate_run(
            folder, degrees, num, settings, motion, compare_methods=compare_methods, out=out, overwrite=overwrite,
            yes=yes, device=device, progress=report,
        )  # fmt: skip
    typer.echo("\n".join(str(path) for path in made[:-1]))


def film(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs, shown one above the other.")],
    num: Annotated[int, typer.Option(help="Images side by side: image 0, 1, ... of the seed.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames; each is sampled by itself, from noise that has moved.")] = 32,
    travel: Annotated[float, typer.Option(metavar="PIXELS", help="How far they move to the right in all.")] = 2.0,
    steps: Steps = 50,
    scheduler: Scheduler = "ddpm",
    class_: Class = None,
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    ema: Ema = True,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="The strip, a PNG; the film is beside it as GIF and MP4.")] = Path(
        "film.png"
    ),
    overwrite: Overwrite = False,
    yes: Yes = False,
) -> None:
    """Film what networks make while their noise moves by fractions of a pixel: does the image move, or stick?"""
    from aliasfree.cli.parse import parse_class
    from aliasfree.experiments.film import check_film, film_runs
    from aliasfree.progress import bar
    from aliasfree.sampling.sampler import SampleSettings

    check_film(num, frames, travel, out, overwrite)
    settings = SampleSettings(
        steps=steps, scheduler=scheduler, seed=seed, class_label=parse_class(class_), guidance=guidance,
        batch_size=batch_size, ema=ema,
    )  # fmt: skip
    folders = [_run(run) for run in runs]
    with bar("sampling") as report:
        films, made = film_runs(
            folders, settings, num, frames=frames, travel=travel, out=out, overwrite=overwrite, yes=yes,
            device=device, progress=report,
        )  # fmt: skip
    typer.echo("\n".join([*(one.label for one in films), *(str(path) for path in made[:-1])]))


def collage(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|FOLDER", help="A run (its newest images), or a folder of images.")
    ],
    side: Annotated[int, typer.Option(help="Images along each side of a sheet.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="x.png gives x_0.png, x_400.png, ...", show_default="beside the images")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Lay many images out in large square sheets, as the paper does."""
    from aliasfree.experiments.generate import collage_folder

    typer.echo("\n".join(str(path) for path in collage_folder(source, side=side, out=out, overwrite=overwrite)))


def _run(path: Path) -> RunFolder:
    from aliasfree.errors import RunError
    from aliasfree.training import RunFolder

    if path.is_file():
        where = f": {path.parent}" if RunFolder(path.parent).exists else ""
        raise RunError(f"{path} is a file, and a run is a folder; give the folder{where}.")
    return RunFolder(path)
