"""`aliasfree export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    target: Annotated[Path, typer.Argument(metavar="RUN|DIR", help="A run, or a folder written by save_pretrained.")],
    format: Annotated[str, typer.Option(help="onnx, or weights: a folder of a run's network to give away.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="The file, or the folder of weights.", show_default="NAME.onnx or NAME-weights beside it"),
    ] = None,
    ema: Annotated[bool, typer.Option("--ema/--no-ema", help="Of a run: the averaged weights.")] = True,
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIDE|HxW", help="Pixels of the images it is to take.", show_default="the network's"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    r"""Write a denoiser as ONNX, of plain operations (needs aliasfree\[onnx]), or a run's network to give away."""
    from aliasfree.cli.parse import parse_size
    from aliasfree.experiments.export import export as run

    said: list[str] = []
    size = None if image_size is None else parse_size(image_size)
    path = run(target, out, form=format, ema=ema, image_size=size, overwrite=overwrite, told=said.append)
    typer.echo(" ".join([f"The network is in {path}.", *said]))
