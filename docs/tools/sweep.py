"""Brings a sweep into the docs: python docs/tools/sweep.py runs/paper-small

The tables and answers of its table.md go into docs/lab/small-sweep.md, the rotation figures into docs/pictures, and
what they are made of, metrics.json and cell.json of each finished cell, into results/NAME.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from aliasfree.files import write_file, write_json

DOCS = Path(__file__).parents[1]
BEGIN, END = "<!-- made by docs/tools/sweep.py -->", "<!-- end of the sweep -->"


def kept(out: Path, to: Path) -> int:
    """Copy what the tables are made of; how many cells there are."""
    cells = sorted(path.parent for path in out.glob("runs/*/*/*/cell.json"))
    for cell in cells:
        here = to / cell.relative_to(out)
        here.mkdir(parents=True, exist_ok=True)
        metrics = json.loads((cell / "metrics.json").read_text())
        write_json(here / "metrics.json", metrics | {"source": str(cell.relative_to(out))})  # no place of this machine
        shutil.copy(cell / "cell.json", here / "cell.json")
    shutil.copy(out / "recipe.json", to / "recipe.json")
    return len(cells)


def main() -> None:
    """Write all three."""
    out = Path(sys.argv[1]).resolve()
    name, _, tables = (out / "table.md").read_text(encoding="utf-8").split("\n\n", 2)
    name = name.removeprefix("# ")
    cells = kept(out, DOCS.parent / "results" / name)
    pictures = []
    for figure in sorted(out.glob("rotation-*.png")):
        data = figure.stem.removeprefix("rotation-")
        shutil.copy(figure, DOCS / "pictures" / f"{name}-{data}.png")
        pictures.append(f"![Turned while sampled: {data}](../pictures/{name}-{data}.png)")
    page = DOCS / "lab" / "small-sweep.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    counted = f"{cells} cells of `recipes/{name}.toml`:"
    write_file(page, "\n\n".join([before + BEGIN, counted, tables.strip(), *pictures, END + after]))


if __name__ == "__main__":
    main()
