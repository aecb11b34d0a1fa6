"""Arguments in messages become options on the command line, and nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import aliasfree
from aliasfree.cli import app
from aliasfree.cli.options import option_names, with_options

NAMES = option_names(typer.main.get_command(app))


@pytest.mark.parametrize(("message", "shown"), [
    ("`num` must be at least 1, not 0.", "--num must be at least 1, not 0."),
    ("choose `image_size` or `class_label`.", "choose --image-size or --class."),
    ("take `features='pixels'`, or `channels=3`.", "take --features pixels, or --channels 3."),
    ("give `overwrite=True`, or `class_conditional=False`.", "give --overwrite, or --no-class-conditional."),
    ("go on with `aliasfree train --resume --out x`.", "go on with `aliasfree train --resume --out x`."),
    ("`to_uint8` makes it; `schedule` spreads it.", "`to_uint8` makes it; --schedule spreads it."),
])  # fmt: skip
def test_arguments_become_options_and_all_else_stays(message, shown):
    assert with_options(message, NAMES) == shown


def test_options_of_commands_within_commands_are_known():
    assert NAMES["backgrounds"] == "--backgrounds"
    assert NAMES["mixed_precision"] == "--mixed-precision"
    assert "runs" not in NAMES  # an argument by its place


PACKAGE = Path(aliasfree.__file__).parent
HELD = {PACKAGE / "reporting" / "html.py": "CSS", PACKAGE / "app" / "trainings.py": "the command that it starts"}
"""Files whose strings hold options, or what looks like them, but no message does."""
BELOW = [
    p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "cli" and p not in HELD
]


def _words(path: Path) -> list[str]:
    """Every string of a file but its docstrings; an f-string has {} for its values."""
    tree = ast.parse((PACKAGE / path).read_text())
    aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    named = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "names"]
    aside |= {id(part) for value in named for part in ast.walk(value)}  # what settings call their own options
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            aside |= {id(part) for part in node.values}
            found.append("".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
            found.append(node.value)
    return found


@pytest.mark.parametrize("path", BELOW, ids=str)
def test_below_the_command_line_no_message_names_an_option(path):
    whole_commands = re.compile(r"`(aliasfree|pip) [^`]*`")
    assert not [w for w in _words(path) if re.search(r"(?<![\w-])--[a-z]", whole_commands.sub("", w))]
