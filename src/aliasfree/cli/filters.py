"""`aliasfree filters` and `aliasfree configs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aliasfree.filters import FilterSpec


def filters(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A config with a filter, such as D-2N or D-hq.")],
    other: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="A second one, drawn beside it.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture, a PNG  [default: filters-CONFIG.png here]")] = None,
) -> None:
    """Draw a config's filter (kernel, magnitude response, gains of the four phases) and print its figures."""
    from rich.console import Console
    from rich.table import Table

    from aliasfree.config import Config
    from aliasfree.errors import ArgumentError, ConfigError

    names = [config] if other is None else [config, other]
    specs = []
    for name in names:
        parsed = Config.parse(name)
        if parsed.up is None:
            raise ConfigError(f"Config {name} filters nothing; name one with a filter, such as D-2N or D-hq.")
        specs.append(parsed.up)
    path = out or Path(f"filters-{'-'.join(names)}.png")
    if path.suffix.lower() != ".png":
        raise ArgumentError(f"The picture is a PNG, so --out must end in .png, not {path.name!r}.")

    from aliasfree.experiments.filters_figure import draw_filters

    draw_filters(names, path)

    table = Table("", *names, show_edge=False)
    table.add_row("taps", *("none (Fourier domain)" if s.kind == "ideal" else f"{s.taps} x {s.taps}" for s in specs))
    table.add_row("DC gain", *(f"{s.dc_gain:.4f}" for s in specs))
    table.add_row("gain at Nyquist", *(f"{s.nyquist_gain:.4f}" for s in specs))
    table.add_row("stopband attenuation", *(f"{-s.stopband_attenuation_db:.1f} dB" for s in specs))
    table.add_row("gains of the four phases", *(" / ".join(f"{g:.3f}" for g in s.phase_gains().ravel()) for s in specs))
    Console().print(table)
    typer.echo(f"\ndrawn in {path}")


def configs() -> None:
    """List every config that has a name, and what it filters."""
    from rich.console import Console
    from rich.table import Table

    from aliasfree.config import PAPER_CONFIGS, Config, known_names

    letters = Table("letter", "what is filtered", show_edge=False)
    for name in ("A", "B-hq", "C-hq", "D-hq"):
        letters.add_row(name[0], Config.parse(name).description)
    filtered = Table("configs", "by", "in the paper's table", show_edge=False)
    filtered.add_row("A", "nothing", "yes")
    for name in known_names():
        if name.startswith("B-"):
            family = [name, *(f"{letter}{name[1:]}" for letter in "CD")]
            paper = "yes" if name in PAPER_CONFIGS else ""
            filtered.add_row(" ".join(family), _filter(Config.parse(name).up), paper)
    console = Console()
    console.print(letters)
    console.print()
    console.print(filtered)


def _filter(spec: FilterSpec | None) -> str:
    if spec is None:
        return ""
    if spec.kind == "ideal":
        return "brick wall, Fourier domain"
    sum_one = ", sum 1" if spec.normalize and spec.gain == "none" else ""
    return f"{spec.taps}x{spec.taps} {spec.kind}, Kaiser beta {spec.kaiser_beta:g}{sum_one}"
