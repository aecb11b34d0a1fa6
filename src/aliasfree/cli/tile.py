"""`aliasfree tile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tile(
    target: Annotated[
        Path, typer.Argument(metavar="DIR", help="A model or pipeline of diffusers, written by save_pretrained.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the tiled one.")],
    axes: Annotated[str, typer.Option(help="x (left meets right: panoramas), y (top meets bottom) or xy.")] = "xy",
    undo: Annotated[bool, typer.Option("--undo", help="Write the model that it was before it was tiled.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Make a UNet, VAE, ControlNet or whole pipeline seamless, and prove it: textures that repeat, panoramas."""
    from aliasfree.experiments.tile import tile as run

    for name, kind, decibels in run(target, out, axes, undo=undo, overwrite=overwrite):
        proof = "" if decibels is None else f": rolled inputs give rolled outputs to {decibels:.0f} dB"
        typer.echo(f"{name} ({kind}){proof}")
    typer.echo(f"{'As it was' if undo else 'Seamless'}, in {out}; load it after `import aliasfree`.")
