"""`aliasfree data`: what a source is, and MNIST-M made on the spot."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aliasfree.cli.commands import Answer, App

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from aliasfree.data import ImageData

app = App(help="Look at data sources, and make MNIST-M.", no_args_is_help=True)


@app.command("info", json=True)
def info(
    source: Annotated[str, typer.Argument(help="digits, mnist, cifar10, mnist-m, hub:NAME, or a path.")],
    split: Annotated[str, typer.Option(help="train, val, test, or all.")] = "train",
    labels: Annotated[str, typer.Option(help="Of folders and zips: auto, none, folders or file.")] = "auto",
    image_size: Annotated[str, typer.Option(help="A side, HEIGHTxWIDTH, or native.")] = "native",
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.", show_default="as the data are")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count damaged images and go on.")] = False,
) -> Answer:
    """Say what a source holds: images, sizes, classes, fingerprint. Decodes it into the cache."""
    from aliasfree.cli.parse import parse_size
    from aliasfree.data import open_images
    from aliasfree.progress import bar

    size = parse_size(image_size)
    with bar("reading", "images") as report:
        images = open_images(
            source, image_size=size, channels=channels, split=split, labels=labels, skip_bad=skip_bad, progress=report
        )
    height, width = images.image_size

    def show() -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")
        _row(table, "source", f"{images.source}, split {images.split}")
        _row(table, "images", f"{len(images):,}")
        _row(table, "size", f"{height} x {width}, {'grey' if images.channels == 1 else 'colour'}")
        _row(table, "classes", _classes(images.labels, images.class_names))
        if images.notes:
            _row(table, "taken as", "; ".join(images.notes))
        _row(table, "fingerprint", images.fingerprint)
        if images.skipped:
            _row(table, "skipped", f"{len(images.skipped)}: {images.skipped[0]}")
        Console(markup=False, highlight=False).print(table)

    return Answer(_facts(images), show)


@app.command("mnist-m")
def mnist_m(
    digits: Annotated[str, typer.Option(help="Grey labelled digits: a folder of MNIST files, or any such source.")],
    backgrounds: Annotated[Path, typer.Option(help="Photographs: bsds500.zip, or a folder.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must be new or empty.")],
    num: Annotated[int | None, typer.Option(help="How many digits, from the first.", show_default="all")] = None,
    split: Annotated[str, typer.Option(help="Which digits: train or test.")] = "train",
    seed: Annotated[int, typer.Option(help="Image i depends on (seed, split, i) only.")] = 42,
) -> None:
    """Make MNIST-M: digits by absolute difference over patches of photographs, as class folders of PNGs."""
    from aliasfree.data import make_mnist_m
    from aliasfree.progress import bar

    with bar("making MNIST-M", "images") as report:
        made = make_mnist_m(digits, backgrounds, out, num=num, split=split, seed=seed, progress=report)
    typer.echo(f"{made:,} images in {out}; train on them with `aliasfree train --data {quote(str(out))}`")


def _facts(images: ImageData) -> dict[str, Any]:
    """What `show` says, as numbers; classes None = no labels."""
    names = images.class_names
    counts = _counts(images.labels)
    classes: list[dict[str, Any]] | None = None
    if counts is not None:
        classes = [{"class": k, "name": names[k] if names else str(k), "images": n} for k, n in counts]
    return {
        "source": images.source, "split": images.split, "images": len(images), "image_size": images.image_size,
        "channels": images.channels, "classes": classes, "taken_as": images.notes, "fingerprint": images.fingerprint,
        "skipped": images.skipped,
    }  # fmt: skip


def _row(table: Table, name: str, value: str) -> None:
    from rich.text import Text

    table.add_row(name, Text(value))  # names may hold square brackets, which are no markup


def _classes(labels: NDArray[Any] | None, names: tuple[str, ...] | None) -> str:
    counts = _counts(labels)
    if counts is None:
        return "no labels"
    shown = [f"{names[i] if names else i} {n:,}" for i, n in counts]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return f"{len(shown)}: {', '.join(shown[:20])}{more}"


def _counts(labels: NDArray[Any] | None) -> list[tuple[int, int]] | None:
    """(class, how many) of the classes that are there; None without labels."""
    if labels is None:
        return None
    import numpy as np

    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    return list(zip(present.tolist(), counts.tolist(), strict=True))
