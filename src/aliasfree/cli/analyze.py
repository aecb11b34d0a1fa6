"""`aliasfree analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aliasfree.cli.commands import Answer


def analyze(
    target: Annotated[
        str,
        typer.Argument(metavar="RUN|CONFIG|DIFFUSERS_DIR", help="A run, a config such as D-hq, or a model's folder."),
    ],
    out: Annotated[Path | None, typer.Option(help="The page, .html.", show_default="analysis-NAME.html here")] = None,
    images: Annotated[int, typer.Option(help="How many images to measure on.")] = 2,
    timestep: Annotated[int, typer.Option(help="How noisy they are, 0 to T-1.")] = 250,
    image_size: Annotated[int, typer.Option(help="Of an untrained config.")] = 32,
    base_channels: Annotated[int, typer.Option(help="Width of an untrained config.")] = 16,
    padding_mode: Annotated[
        str | None,
        typer.Option(help="Of an untrained config: zeros, circular or reflect.", show_default="what it prefers"),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            help="How much finer than a pixel the alias-free counterparts look.", show_default="4; T and R: 5"
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="Of a diffusers pipeline: unet or vae.")] = "unet",
    seed: Annotated[int, typer.Option(help="Of untrained weights, images and noise.")] = 0,
    ema: Annotated[bool, typer.Option("--ema/--no-ema", help="Of a run: the averaged weights.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> Answer:
    """Find the layers of a network that alias, and what each costs: a page sorted by guilt."""
    import json
    import re

    from aliasfree.measuring.aliasing import analyze as run
    from aliasfree.measuring.targets import SubjectSettings
    from aliasfree.outputs import expand_path
    from aliasfree.progress import bar

    settings = SubjectSettings(
        image_size=image_size, base_channels=base_channels, padding_mode=padding_mode, timestep=timestep,
        images=images, seed=seed, part=part, ema=ema,
    )  # fmt: skip
    if Path(target).expanduser().is_dir():
        target = str(expand_path(target))
    name = re.sub(r"[^\w-]+", "-", target).strip("-")
    page = out or Path(f"analysis-{name}.html")
    with bar("analysing", "layers") as told:
        found, subject = run(target, page, settings, rate=rate, overwrite=overwrite, progress=told)

    def show() -> None:
        from rich.console import Console
        from rich.table import Table

        from aliasfree.reporting.aliasing import db, equivariance, percent

        table = Table(show_edge=False, title=subject.name)
        for head in ("layer", "type", "guilt", "network if fixed", "aliases"):
            table.add_column(head, overflow="fold")  # a name cut short names no layer
        for layer in found.layers[:12]:
            table.add_row(layer.name, layer.type, percent(layer.guilt), db(layer.fixed_db), db(layer.alias_db))
        Console(markup=False, highlight=False).print(table)
        left = ", ".join(f"{kind} replaced {db(value)}" for kind, value in found.without.items())
        typer.echo(f"\n{equivariance(found)}")
        typer.echo(
            f"{'EQ-R' if found.by == 'turns' else 'EQ-T_frac'} with periodic padding {db(found.periodic)}, then {left}"
        )
        typer.echo(f"the page is {page}")

    return Answer({**json.loads(page.with_suffix(".json").read_text()), "page": page}, show)
