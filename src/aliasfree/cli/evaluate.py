"""`aliasfree evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aliasfree.cli import generate
from aliasfree.cli.commands import Answer
from aliasfree.cli.recipes import MEASURE, recipe_option
from aliasfree.diffusion.names import NOISES

if TYPE_CHECKING:
    from aliasfree.measuring.evaluate import EvaluateSettings
    from aliasfree.measuring.rotation import RotationSettings
    from aliasfree.results.metrics import Metrics
    from aliasfree.results.rotation import RotationCurve


def evaluate(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|FOLDER...", help="Runs, or folders of images, one after the other.")
    ],
    data: Annotated[str, typer.Option(help="The real images: digits, mnist, cifar10, mnist-m, hub:NAME, or a path.")],
    recipe: Annotated[str | None, recipe_option(MEASURE)] = None,  # noqa: ARG001 (it has set the defaults)
    num: Annotated[
        int | None, typer.Option(help="Images to sample.", show_default="10,000; paper: 2,000; --angles: 400")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="classifier, efficientnet, inception, pixels, or clip-..., dinov2-..., vgg16 of torch-fidelity.",
            show_default="classifier if there are labels",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The file of weights of Inception, CLIP or VGG.")] = None,
    protocol: Annotated[str, typer.Option(help="default, or paper: 2,000 images through Inception.")] = "default",
    equivariance: Annotated[
        bool,
        typer.Option("--equivariance/--no-equivariance", help="Shift and turn a run's network and its sampler, too."),
    ] = True,
    noise_error: Annotated[
        bool, typer.Option("--noise-error/--no-noise-error", help="Let a run's network predict noise on test images.")
    ] = True,
    accuracy_score: Annotated[
        bool, typer.Option("--accuracy-score", help="Train a classifier on a run's images (--class each): minutes.")
    ] = False,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Another measure of a run, by its name; once for each.")
    ] = None,
    num_real: Annotated[
        int | None, typer.Option(help="Of its images: those a run with so many --num-images is trained on.")
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIDE|HxW", help="Bring a folder's images to this size.", show_default="as they are"),
    ] = None,
    split: Annotated[str, typer.Option(help="The reference among the real images: train, val, test or all.")] = "train",
    labels: Annotated[str, typer.Option(help="Of real folders and zips: auto, none, folders or file.")] = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    angles: Annotated[
        str | None,
        typer.Option(metavar="LO:HI:COUNT", help="Measure a run's turned samples at these angles instead."),
    ] = None,
    windows: Annotated[
        str, typer.Option(metavar="START:END,...", help="With --angles: when the turning happens, each of these.")
    ] = f"0:1,0.5:1,0.7:0.95,0.9:0.9,{generate.WINDOW}",
    methods: Annotated[
        str, typer.Option(help="With --angles: how images are turned, each of these.")
    ] = "fourier,spline",
    noises: Annotated[str, typer.Option(help="With --angles: the noise, each of these.")] = ",".join(NOISES),
    steps: Annotated[int | None, typer.Option(help="Sampling steps.", show_default="50; paper: 999")] = None,
    scheduler: generate.Scheduler = "ddpm",
    class_: generate.Class = None,
    guidance: generate.Guidance = 1.0,
    seed: generate.Seed = 0,
    batch_size: generate.BatchSize = 250,
    ema: generate.Ema = True,
    device: generate.Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The JSON; with --angles the page, .html.", show_default="in the run's folder")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that hold anything but figures of the same source.")
    ] = False,
) -> Answer | None:
    """Compare generated images with real ones: IS, FID, KID, precision, recall, with intervals, and equivariance.

    A call that was stopped goes on where it was. Under torchrun all processes sample.
    """
    from aliasfree.cli.parse import parse_class, parse_size
    from aliasfree.errors import ArgumentError
    from aliasfree.measuring.evaluate import EvaluateSettings
    from aliasfree.sampling.sampler import SampleSettings

    steps = steps or (999 if protocol == "paper" else 50)
    sampling = SampleSettings(
        steps=steps, scheduler=scheduler, seed=seed, class_label=parse_class(class_), guidance=guidance,
        batch_size=batch_size, ema=ema,
    )  # fmt: skip
    settings = EvaluateSettings(
        data=data, num=num, features=features, weights=weights, protocol=protocol, equivariance=equivariance,
        noise_error=noise_error, accuracy_score=accuracy_score, measures=tuple(measure or ()),
        num_real=num_real,
        image_size=None if image_size is None else parse_size(image_size), skip_bad=skip_bad, sampling=sampling,
        split=split, labels=labels,
    )  # fmt: skip
    if out is not None and len(sources) > 1:
        raise ArgumentError("--out is for a single run or folder; leave it out, and each gets its own file.")
    if angles is not None:
        ways = (windows.split(","), methods.split(","), noises.split(","))
        turning = _turning(settings, angles, ways)
        turned = [_turned(source, turning, device, out, overwrite) for source in sources]
        return _turned_answer([done for done in turned if done is not None])
    found = [facts for source in sources if (facts := _upright(source, settings, device, out, overwrite)) is not None]
    if not found:
        return None

    def show() -> None:
        from rich.console import Console

        from aliasfree.reporting.runs import markdown, summarise

        Console().print(markdown(summarise(found)), markup=False, highlight=False, soft_wrap=True)

    return Answer([facts.to_dict() for facts in found], show)


def _upright(
    source: Path, settings: EvaluateSettings, device: str, out: Path | None, overwrite: bool
) -> Metrics | None:
    from aliasfree.measuring.evaluate import evaluate as run
    from aliasfree.progress import bars

    with bars() as told:
        return run(source, settings, out=out, overwrite=overwrite, device=device, progress=told)


def _turning(settings: EvaluateSettings, angles: str, ways: tuple[list[str], ...]) -> RotationSettings:
    from aliasfree.cli.parse import parse_angles, parse_window
    from aliasfree.measuring.rotation import RotationSettings, every_way

    chosen = every_way([parse_window(text, "--windows") for text in ways[0]], ways[1], ways[2])
    return RotationSettings(
        data=settings.data, ways=chosen, angles=parse_angles(angles), num=settings.num or 400,
        sampling=settings.sampling, split=settings.split, num_real=settings.num_real, labels=settings.labels,
        skip_bad=settings.skip_bad,
    )  # fmt: skip


def _turned(
    source: Path, settings: RotationSettings, device: str, out: Path | None, overwrite: bool
) -> tuple[list[RotationCurve], Path] | None:
    from aliasfree.measuring.rotation import evaluate_turned
    from aliasfree.progress import bars

    with bars() as told:
        return evaluate_turned(source, settings, out=out, overwrite=overwrite, device=device, progress=told)


def _turned_answer(done: list[tuple[list[RotationCurve], Path]]) -> Answer | None:
    def show() -> None:
        from rich.console import Console

        from aliasfree.reporting.rotation import table_text

        for curves, page in done:
            Console().print(table_text(curves), markup=False, highlight=False, soft_wrap=True)
            typer.echo(f"\nthe page is {page}")

    documents = [json.loads(page.with_suffix(".json").read_text()) for _, page in done]
    return Answer(documents, show) if done else None
