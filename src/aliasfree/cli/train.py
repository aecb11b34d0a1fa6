"""`aliasfree train`: one option for each setting of `RunSettings`."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from aliasfree.cli.recipes import TRAIN, recipe_option

NETWORK, LENGTH, OUTPUT = "Network", "Optimisation", "What is written"


def _option(default: str, help_text: str, *names: str, panel: str = LENGTH, metavar: str | None = None) -> Any:
    # None = not given; the default shown is that of RunSettings, and a test compares the two
    return typer.Option(*names, help=help_text, show_default=default, rich_help_panel=panel, metavar=metavar)


def train(
    data: Annotated[str | None, typer.Option(help="digits, mnist, cifar10, mnist-m, hub:NAME, or a path.")] = None,
    config: Annotated[str | None, typer.Option(help="A, B-0 ... D-2N, D-hq, T, R; see `aliasfree configs`.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder, for all that is written.")] = None,
    recipe: Annotated[str | None, recipe_option(TRAIN)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out; options given again change its settings.")
    ] = False,
    num_images: Annotated[int | None, _option("all", "Train on so many of its images, a fair sample.")] = None,
    image_size: Annotated[
        str | None, _option("32", "A side, HEIGHTxWIDTH, or native.", panel=NETWORK, metavar="SIZE")
    ] = None,
    channels: Annotated[int | None, _option("as the data are", "1 grey, 3 colour.", panel=NETWORK)] = None,
    split: Annotated[str | None, _option("train", "Of the data: train, val, test, or all.", panel=NETWORK)] = None,
    labels: Annotated[
        str | None, _option("auto", "Of folders and zips: auto, none, folders or file.", panel=NETWORK)
    ] = None,
    model: Annotated[
        Path | None,
        _option("the paper's", "Folder of a diffusers UNet2DModel to convert and train or fine-tune.", panel=NETWORK),
    ] = None,
    base_channels: Annotated[int | None, _option("the image size", "Width of the network.", panel=NETWORK)] = None,
    padding_mode: Annotated[
        str | None, _option("what the config prefers", "zeros, circular or reflect.", panel=NETWORK)
    ] = None,
    preconditioning: Annotated[
        str | None,
        _option(
            "what the config prefers",
            "spectral (the optimal linear predictor around the network) or none.",
            panel=NETWORK,
        ),
    ] = None,
    frame_features: Annotated[
        int | None,
        _option("what the config prefers", "Harmonics of the frame's coordinates; 0 is none.", panel=NETWORK),
    ] = None,
    loss_weighting: Annotated[
        float | None, _option("0.5", "With spectral: 0 weights all noise levels alike, 1 lifts the noisy ones most.")
    ] = None,
    class_conditional: Annotated[
        bool | None,
        _option("no", "Learn from the labels too.", "--class-conditional/--no-class-conditional", panel=NETWORK),
    ] = None,
    class_dropout: Annotated[
        float | None, _option("0.1", "Share of labels left out, for guidance.", panel=NETWORK)
    ] = None,
    num_train_timesteps: Annotated[int | None, _option("1000", "T of the paper.", panel=NETWORK)] = None,
    epochs: Annotated[float | None, _option("100", "Passes over the data.")] = None,
    steps: Annotated[int | None, _option("from --epochs", "Optimizer steps in all.")] = None,
    coarse_steps: Annotated[
        int | None, _option("0", "The first so many at half the side, at a quarter of the cost or less.")
    ] = None,
    batch_size: Annotated[int | None, _option("16", "Images per process and step.")] = None,
    lr: Annotated[float | None, _option("0.0003", "Learning rate, the greatest.")] = None,
    lr_warmup: Annotated[int | None, _option("0", "Steps over which it rises.")] = None,
    lr_schedule: Annotated[
        str | None, _option("constant", "After that: constant, or cosine or linear to 0 at the last step.")
    ] = None,
    weight_decay: Annotated[float | None, _option("0.01", "Of AdamW.")] = None,
    grad_clip: Annotated[float | None, _option("1.0", "Largest gradient norm; 0 is off.")] = None,
    ema_decay: Annotated[float | None, _option("0.9999", "Of the averaged weights; 0 is off.")] = None,
    augment: Annotated[str | None, _option("none", "none, flip, rotate or frame.")] = None,
    mixed_precision: Annotated[str | None, _option("no", "no or bf16.", "--mixed-precision", "--precision")] = None,
    compile: Annotated[
        bool | None,
        _option("no", "torch.compile the network: a slow start, then faster steps.", "--compile/--no-compile"),
    ] = None,
    seed: Annotated[int | None, _option("42", "Of weights, order, noise and augmentation.")] = None,
    device: Annotated[str | None, _option("auto", "auto, cpu or cuda.")] = None,
    skip_bad: Annotated[
        bool | None, _option("no", "Leave damaged images out and count them.", "--skip-bad/--no-skip-bad")
    ] = None,
    checkpoint_every: Annotated[int | None, _option("1000", "Steps between checkpoints.", panel=OUTPUT)] = None,
    keep_checkpoints: Annotated[int | None, _option("3", "How many of the newest stay.", panel=OUTPUT)] = None,
    sample_every: Annotated[int | None, _option("1000", "Steps between sample grids; 0 is none.", panel=OUTPUT)] = None,
    sample_num: Annotated[int | None, _option("16", "Images in a grid.", panel=OUTPUT)] = None,
    sample_steps: Annotated[int | None, _option("50", "Sampling steps of a grid.", panel=OUTPUT)] = None,
    save_training_images: Annotated[
        int | None, _option("0", "How many images of the data to write as PNG; -1 is all.", panel=OUTPUT)
    ] = None,
) -> None:
    """Train a network, into one folder; the defaults are the paper's.

    SIGTERM and Ctrl-C finish the step and save; [bold]--resume[/bold] goes on bit for bit. For several processes:
    [bold]torchrun --nproc_per_node 2 -m aliasfree train ...[/bold]
    """
    given = {name: value for name, value in locals().items() if value is not None and name not in ("resume", "recipe")}
    run(given, resume)


def run(given: dict[str, Any], resume: bool) -> None:
    """Turn the options that were given into settings, and train."""
    from aliasfree.cli.parse import parse_size
    from aliasfree.errors import ArgumentError
    from aliasfree.training.run_folder import RunFolder, check_folder
    from aliasfree.training.settings import RunSettings

    if "image_size" in given:
        given["image_size"] = parse_size(given["image_size"])
    for name in ("grad_clip", "sample_every"):
        if given.get(name) == 0:
            given[name] = None
    needed = ("out",) if resume else ("data", "config", "out")
    missing = [f"--{name}" for name in needed if name not in given]
    if missing:
        what = "Going on with a run" if resume else "A new run"
        raise ArgumentError(f"{what} needs {' and '.join(missing)}; see `aliasfree train --help`.")
    if resume:
        settings = RunFolder(given["out"]).settings.replace(**given)
    else:
        settings = RunSettings(**given)
    # refusals first: torch and diffusers take seconds to import
    check_folder(RunFolder(settings.out), resume)
    if not resume and not settings.data.startswith("hub:"):
        from aliasfree.data.registry import resolve

        resolve(settings.data, settings.split)
    from aliasfree.training.trainer import train

    folder = train(settings, resume=resume)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun, one process speaks for all
        typer.echo(f"The run is in {folder.path}; sample from it with `aliasfree sample {quote(str(folder.path))}`.")
