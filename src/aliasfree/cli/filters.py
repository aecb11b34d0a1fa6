"""`aliasfree filters` and `aliasfree configs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aliasfree.cli.commands import Answer


def filters(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A config with a filter, such as D-2N or D-hq.")],
    other: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="A second one, drawn beside it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The picture, a PNG.", show_default="filters-CONFIG.png here")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> Answer:
    """Draw a config's filter (kernel, magnitude response, gains of the four phases) and print its figures."""
    from aliasfree.errors import ArgumentError
    from aliasfree.outputs import check_outputs
    from aliasfree.reporting.filters import draw_filters, filter_table

    names = [config] if other is None else [config, other]
    rows = filter_table(names)
    path = out or Path(f"filters-{'-'.join(names)}.png")
    if path.suffix.lower() != ".png":
        raise ArgumentError(f"The picture is a PNG, so --out must end in .png, not {path.name!r}.")
    check_outputs([path], overwrite=overwrite)
    draw_filters(names, path)

    def show() -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table("", *names, show_edge=False)
        table.add_row("filter", *(row.kind for row in rows))
        table.add_row("DC gain", *(f"{row.dc_gain:.4f}" for row in rows))
        table.add_row("gain at Nyquist", *(f"{row.nyquist_gain:.4f}" for row in rows))
        table.add_row("stopband attenuation", *(f"{row.stopband_attenuation_db:.1f} dB" for row in rows))
        gains = ("{:.3f}  {:.3f}\n{:.3f}  {:.3f}".format(*row.phase_gains) for row in rows)
        table.add_row("gains of the four phases", *gains)
        Console(markup=False, highlight=False).print(table)
        typer.echo(f"\ndrawn in {path}")

    return Answer({"filters": rows, "picture": path}, show)


def configs() -> None:
    """List every config that has a name, and what it filters."""
    from rich.console import Console
    from rich.table import Table

    from aliasfree.config import PAPER_CONFIGS, Config, known_names
    from aliasfree.reporting.filters import filter_table

    letters = Table("letter", "what is filtered", show_edge=False)
    alone = [name for name in known_names() if "-" not in name and name != "A"]
    for name in ("A", "B-hq", "C-hq", "D-hq", *alone):
        letters.add_row(name[0], Config.parse(name).description)
    filtered = Table("configs", "by", "in the paper's table", show_edge=False)
    filtered.add_row("A", "nothing", "yes")
    for name in known_names():
        if name.startswith("B-"):
            family = [name, *(f"{letter}{name[1:]}" for letter in "CD")]
            paper = "yes" if name in PAPER_CONFIGS else ""
            filtered.add_row(" ".join(family), filter_table([name])[0].kind, paper)
    for name in alone:
        band = ", of the disc" if Config.parse(name).is_radial else ""
        filtered.add_row(name, filter_table([name])[0].kind + band, "")
    console = Console(markup=False, highlight=False)
    console.print(letters)
    console.print()
    console.print(filtered)
