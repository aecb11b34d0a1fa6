"""Griffe extension: this project's docstrings as Markdown.

An argument is a name, two or more spaces and what it is, with further lines indented; a run of them becomes a table. An
example (`>>>`) becomes a block of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Docstrings", "as_markdown"]

_ARGUMENT = re.compile(r"(?P<names>[\w.*]+(?:, [\w.*]+)*)\s{2,}(?P<text>\S.*)")


class Docstrings(griffe.Extension):
    """Turns every docstring into Markdown when it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring, without its common indent, as Markdown."""
    lines, out = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        found = _ARGUMENT.fullmatch(line)
        if line.startswith(">>>"):
            block = [line, *_taken(lines, lambda following: following != "")]
            out += ["", "```pycon", *block, "```", ""]
        elif found:
            rows = [[found["names"], found["text"]]]
            while lines and (again := _ARGUMENT.fullmatch(lines[0]) or re.match(r"\s{2,}\S", lines[0])):
                following = lines.pop(0)
                if "names" in again.re.groupindex:
                    rows.append([again["names"], again["text"]])
                else:
                    rows[-1][1] += f" {following.strip()}"
            out += ["", "| argument | |", "| --- | --- |"]
            out += [f"| {_code(names)} | {words.replace('|', chr(92) + '|')} |" for names, words in rows]
            out.append("")
        else:
            out.append(line)
    return "\n".join(out)


def _taken(lines: list[str], wanted: Any) -> list[str]:
    """The first lines that are wanted, taken out."""
    taken = []
    while lines and wanted(lines[0]):
        taken.append(lines.pop(0))
    return taken


def _code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))
