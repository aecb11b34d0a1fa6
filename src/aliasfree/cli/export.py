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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    r"""Write a denoiser as ONNX, of plain operations (needs aliasfree\[onnx]), or a run's network to give away."""
    from aliasfree.experiments.export import export as run

    typer.echo(f"The network is in {run(target, out, form=format, ema=ema, overwrite=overwrite)}.")
