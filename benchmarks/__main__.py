"""`python -m benchmarks`: measure, print one table, write JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aliasfree.errors import AliasfreeError, ArgumentError
from benchmarks.bars import judge
from benchmarks.machine import describe, one_line
from benchmarks.results import SECTIONS, Settings
from benchmarks.sections import measure_sections
from benchmarks.table import bars_table, results_table

__all__ = ["main"]

FORMAT = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDTH = 200
"""Columns of the table where there is no terminal to ask."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0, or 2 with one sentence for what a user can cause."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except AliasfreeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; choose another place with --out", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed of aliasfree, as ratios.")
    parser.add_argument("--only", choices=SECTIONS, help="one part of it")
    parser.add_argument("--bars", action="store_true", help="only what the speed bars need, and whether they are met")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", dest="extent", action="store_const", const="quick", help="few rounds, few shapes")
    extent.add_argument("--full", dest="extent", action="store_const", const="full", help="all sizes and widths")
    parser.add_argument("--threads", type=int, help="threads of torch and of the kernels")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backend", default="auto", help="of the ops alone: auto, torch, reference, ...")
    parser.add_argument("--dtype", choices=DTYPES, help="of the ops alone [float32; bfloat16 on a GPU]")
    parser.add_argument("--compile", action="store_true", help="torch.compile our networks")
    parser.add_argument("--peer", metavar="PATH", help="also time the paper's published code, checked out there")
    parser.add_argument("--out", type=Path, help="the JSON file [runs/benchmarks/<device>-<threads>-threads....json]")
    parser.set_defaults(extent="default")
    return parser


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aliasfree.files import write_file

    settings = _settings(options)
    out = options.out or Path("runs", "benchmarks", _file_name(options))
    if out.is_dir():
        raise ArgumentError(f"--out names the JSON file, but {out} is a folder: add a file name")
    out.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    sections = [options.only] if options.only else list(SECTIONS)
    rows = measure_sections(sections, settings)
    described = describe()
    verdicts = judge(rows, settings.device.type, compiled=settings.compile)
    if rows:
        console.print(results_table(rows, one_line(described, settings.device.type)))
    if options.bars:
        console.print(bars_table(verdicts, settings.device.type))
    content: dict[str, Any] = {
        "format": FORMAT,
        **described,
        "settings": _recorded(options, settings),
        "rows": [row.to_json() for row in rows],
        "bars": [verdict.to_json() for verdict in verdicts],
    }
    write_file(out, json.dumps(content, indent=1) + "\n")
    console.print(f"written to {out}", soft_wrap=True)


def _settings(options: argparse.Namespace) -> Settings:
    if options.threads is not None:
        if options.threads < 1:
            raise ArgumentError(f"--threads must be at least 1, not {options.threads}")
        torch.set_num_threads(options.threads)
    default = "bfloat16" if options.device == "cuda" else "float32"
    return Settings(
        device=torch.device(options.device),
        backend=options.backend,
        dtype=DTYPES[options.dtype or default],
        extent=options.extent,
        bars=options.bars,
        compile=options.compile,
        peer=options.peer,
    )


def _file_name(options: argparse.Namespace) -> str:
    """A name that says what ran, not on which machine: one file for each kind of run."""
    parts = [options.device, *([f"{torch.get_num_threads()}-threads"] if options.device == "cpu" else [])]
    parts += [options.only, "bars" if options.bars else None, options.extent if options.extent != "default" else None]
    parts += [options.backend if options.backend != "auto" else None, options.dtype]
    return "-".join(part for part in parts if part) + ".json"


def _recorded(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return {
        "device": options.device,
        "backend": options.backend,
        "dtype": str(settings.dtype).removeprefix("torch."),
        "extent": options.extent,
        "only": options.only,
        "bars": options.bars,
        "compile": options.compile,
        "peer": options.peer is not None,
    }


if __name__ == "__main__":
    sys.exit(main())
