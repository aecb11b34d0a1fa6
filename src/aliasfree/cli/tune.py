"""`aliasfree tune`: one option for each setting of `TuneSettings`, and for the table in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

LOSSES, LENGTH, MODEL, TABLE = "Losses and their weights", "Optimisation", "Model and data", "What is measured"


def _option(default: str, help_text: str, *names: str, panel: str = LENGTH, metavar: str | None = None) -> Any:
    # None = not given; the default shown is that of TuneSettings, and a test compares the two
    return typer.Option(*names, help=help_text, show_default=default, rich_help_panel=panel, metavar=metavar)


def _loss(default: str, help_text: str) -> Any:
    return _option(default, help_text, panel=LOSSES)


def tune(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Folder of a stock UNet2DModel, UNet2DConditionModel, AutoencoderKL, or pipeline."
        ),
    ] = None,
    config: Annotated[str | None, typer.Option(help="B-hq, D-hq, T ...; see `aliasfree configs`.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; its model/ is the tuned model.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, mnist, cifar10, hub:NAME, or a path.", show_default="the teacher's samples"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out; options given again change its settings.")
    ] = False,
    part: Annotated[str | None, _option("its UNet", "Of a pipeline: unet or vae.", panel=MODEL)] = None,
    vae: Annotated[
        Path | None, _option("the pipeline's", "Folder of the autoencoder that makes a UNet's latents.", panel=MODEL)
    ] = None,
    embeddings: Annotated[
        Path | None, _option("none", "Safetensors file of encoder_hidden_states (M, L, D).", panel=MODEL)
    ] = None,
    padding_mode: Annotated[
        str | None, _option("T: circular, else the model's", "zeros, circular or reflect.", panel=MODEL)
    ] = None,
    attention_rate: Annotated[int | None, _option("1", "1, 2 or 4 times the rate of the plane.", panel=MODEL)] = None,
    image_size: Annotated[
        str | None,
        _option("the model's", "A side, or HEIGHTxWIDTH, of what the model sees.", panel=MODEL, metavar="SIZE"),
    ] = None,
    split: Annotated[str | None, _option("train", "Of the data: train, val, test, or all.", panel=MODEL)] = None,
    num_images: Annotated[int | None, _option("all", "Of the split, a fair sample.", panel=MODEL)] = None,
    skip_bad: Annotated[
        bool | None, _option("no", "Leave damaged images out.", "--skip-bad/--no-skip-bad", panel=MODEL)
    ] = None,
    samples: Annotated[int | None, _option("256", "Of the teacher, without --data.", panel=MODEL)] = None,
    sample_steps: Annotated[int | None, _option("50", "Of a UNet's sampler.", panel=MODEL)] = None,
    teacher: Annotated[float | None, _loss("1 (UNet), 0", "Output against the teacher's.")] = None,
    latents: Annotated[float | None, _loss("0.01", "Latents against the teacher's (autoencoders).")] = None,
    reconstruction: Annotated[
        float | None, _loss("1", "Against the image, or the noise that a UNet is to find.")
    ] = None,
    perceptual: Annotated[
        float | None, _loss("0", "ST-LPIPS of the reconstruction (autoencoders; aliasfree\\[perceptual]).")
    ] = None,
    kl: Annotated[float | None, _loss("0", "Of the latents to the normal distribution (autoencoders).")] = None,
    shift: Annotated[float | None, _loss("0", "Whole shifts (AF-LDM).")] = None,
    fractional: Annotated[float | None, _loss("0.01; UNet 0.1", "Shifts by any fraction (AF-LDM).")] = None,
    scale: Annotated[float | None, _loss("0", "Smaller sizes (EQ-VAE; autoencoders).")] = None,
    turn: Annotated[float | None, _loss("0", "Quarter turns (EQ-VAE).")] = None,
    flip: Annotated[float | None, _loss("0", "Mirror images.")] = None,
    lora: Annotated[int | None, _option("0", "Rank of LoRA layers to train; 0 trains all weights.")] = None,
    steps: Annotated[int | None, _option("5000", "Optimizer steps, at most.")] = None,
    batch_size: Annotated[int | None, _option("16", "Images per process and step.")] = None,
    lr: Annotated[float | None, _option("0.0001", "Learning rate, the greatest.")] = None,
    lr_warmup: Annotated[int | None, _option("100", "Steps over which it rises.")] = None,
    lr_schedule: Annotated[
        str | None, _option("cosine", "After that: constant, or cosine or linear to 0 at the last step.")
    ] = None,
    weight_decay: Annotated[float | None, _option("0.0", "Of AdamW.")] = None,
    grad_clip: Annotated[float | None, _option("1.0", "Largest gradient norm; 0 is off.")] = None,
    ema_decay: Annotated[float | None, _option("0.999", "Of the averaged weights; 0 is off.")] = None,
    mixed_precision: Annotated[str | None, _option("no", "no or bf16.", "--mixed-precision", "--precision")] = None,
    seed: Annotated[int | None, _option("42", "Of order, noise and motion.")] = None,
    device: Annotated[str | None, _option("auto", "auto, cpu or cuda.")] = None,
    measure_every: Annotated[int | None, _option("500", "Steps between points of the curve.", panel=TABLE)] = None,
    measure_images: Annotated[int | None, _option("64", "Held-out images of a point.", panel=TABLE)] = None,
    most_lost: Annotated[
        float | None,
        _option(
            "0.2 dB, or 0.03",
            "Of the teacher's PSNR, or as a share of its error; points beyond are not kept.",
            panel=TABLE,
        ),
    ] = None,
    patience: Annotated[
        int | None, _option("4", "Stop after so many points without a better one; 0 is never.", panel=TABLE)
    ] = None,
    checkpoint_every: Annotated[int | None, _option("500", "Steps between checkpoints.", panel=TABLE)] = None,
    keep_checkpoints: Annotated[int | None, _option("2", "How many of the newest stay.", panel=TABLE)] = None,
    table_images: Annotated[int, typer.Option(help="Held-out images of the table.", rich_help_panel=TABLE)] = 128,
    distance_images: Annotated[
        int,
        typer.Option(help="Reconstructions, or samples, for the Frechet distance; 0 is none.", rich_help_panel=TABLE),
    ] = 512,
    features: Annotated[
        str,
        typer.Option(help="Of that distance: pixels, classifier, efficientnet, inception ...", rich_help_panel=TABLE),
    ] = "pixels",
    weights: Annotated[
        Path | None, typer.Option(help="The file of weights of Inception, CLIP or VGG.", rich_help_panel=TABLE)
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            help="A finished run of --config A, the stock model trained on with the same options: one more column.",
            rich_help_panel=TABLE,
        ),
    ] = None,
) -> None:
    """Convert a stock model and train it towards what it was, into one folder.

    Ends with a table of the stock, the converted and the tuned model. SIGTERM and Ctrl-C finish the step and save;
    [bold]--resume[/bold] goes on bit for bit.
    """
    own = ("resume", "table_images", "distance_images", "features", "weights", "control")
    given = {name: value for name, value in locals().items() if value is not None and name not in (*own, "own")}
    run(given, resume, {"images": table_images, "distance_images": distance_images, "features": features,
                        "weights": weights, "control": control})  # fmt: skip


def run(given: dict[str, Any], resume: bool, table: dict[str, Any]) -> None:
    """Turn the options that were given into settings, tune, and print the table."""
    from aliasfree.cli.parse import parse_size
    from aliasfree.errors import ArgumentError
    from aliasfree.experiments.tune import TableSettings, tune_and_measure
    from aliasfree.tuning.settings import TuneSettings

    if "image_size" in given:
        given["image_size"] = parse_size(given["image_size"])
    if given.get("grad_clip") == 0:
        given["grad_clip"] = None
    needed = ("out",) if resume else ("model", "config", "out")
    missing = ["the folder of a model" if name == "model" else f"--{name}" for name in needed if name not in given]
    if missing:
        what = "Going on with a run" if resume else "Tuning"
        raise ArgumentError(f"{what} needs {' and '.join(missing)}; see `aliasfree tune --help`.")
    if resume:
        from aliasfree.tuning.trainer import read_settings

        settings = read_settings(given["out"]).replace(**given)
    else:
        settings = TuneSettings(**given)
    if settings.data is not None and not resume and not settings.data.startswith("hub:"):
        from aliasfree.data.registry import resolve

        resolve(settings.data, settings.split)
    folder, found = tune_and_measure(settings, TableSettings(**table), resume=resume)
    if found is None:  # not the first process
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(show_edge=False)
    for head in ("", *found.models):
        shown.add_column(head, overflow="fold")
    for name in found.names:
        shown.add_row(*found.row(name))
    Console(markup=False, highlight=False).print(shown)
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"the tuned model is in {folder / 'model'}, the curve in {folder / 'curve.png'}")
