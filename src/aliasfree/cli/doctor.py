"""`aliasfree doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aliasfree.cli.commands import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aliasfree.experiments.caches import Cache
    from aliasfree.experiments.doctor import Examination


def doctor(
    clear_caches: Annotated[
        bool,
        typer.Option("--clear-caches", help="Remove what the library keeps in caches; it is made again."),
    ] = False,
) -> Answer:
    """Say what is installed, which kernels run here and why not, and how much lies in caches."""
    if clear_caches:
        from aliasfree.experiments.caches import clear_caches as clear

        gone = clear()
        return Answer({"removed": [cache.to_dict() for cache in gone]}, lambda: _table("Removed", _sizes(gone)))
    from aliasfree.experiments.doctor import examine

    found = examine()
    return Answer(found.to_dict(), lambda: _show(found))


def _show(found: Examination) -> None:
    versions = [f"{name} {version or 'not installed'}" for name, version in found.versions.items()]
    _table("Versions", [("Python", f"{found.python}, {found.platform}"), ("packages", ", ".join(versions))])
    rows = [("threads", f"{found.threads} of torch, on {found.cores} cores"), *found.devices.items()]
    _table("Devices", rows if len(found.devices) > 1 else [*rows, ("cuda", "none here")])
    if found.environment:
        _table("Environment", list(found.environment.items()))
    kernels = [
        (k.op if k.device == "cpu" else f"{k.op} on {k.device}", f"{k.backend}: {k.note}{_reasons(k.refusals)}")
        for k in found.kernels
    ]
    _table("Kernels (float32)", kernels)
    extras = [
        (e.name, f"not installed: pip install 'aliasfree[{e.name}]'" if e.missing else "installed")
        for e in found.extras
    ]
    _table("Extras", extras)
    _table("Caches", _sizes(found.caches))
    typer.echo("\n`aliasfree doctor --clear-caches` empties the caches; they fill again when they are needed.")


def _sizes(caches: Sequence[Cache]) -> list[tuple[str, str]]:
    return [(c.what, f"{_bytes(c.bytes)} in {c.folder}") for c in caches]


def _reasons(refusals: dict[str, str]) -> str:
    return "".join(f"; not {name}: {reason}" for name, reason in refusals.items())


def _bytes(count: int) -> str:
    """ "1.3 MB", in powers of 1000."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"  {name}", Text(value))  # paths may hold square brackets, which are no markup
    console = Console(markup=False, highlight=False)
    console.print(title)
    console.print(table)
