"""Every command in the README and in docs/ is one that the command line takes; the short ones are run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from aliasfree.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LAUNCHER = re.compile(r"(?:\S*/)?aliasfree(?= )|torchrun [^`]*?-m (?:-- )?aliasfree")


@dataclass(frozen=True)
class Command:
    """A command of a page, without the word aliasfree."""

    page: str
    words: tuple[str, ...]
    whole: bool  # of a block, so that it can be typed as it stands; not just a mention in a sentence

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def written(path: Path) -> Iterator[Command]:
    """The commands of a page: lines of indented and of sh blocks, and what stands in backticks."""
    text, blocks = path.read_text(encoding="utf-8"), []

    def take(found: re.Match[str]) -> str:
        if found[1] in ("", "sh", "bash", "console", "text"):
            blocks.extend(found[2].splitlines())
        return ""

    text = re.sub(r"^```(\w*)\n(.*?)^```", take, text, flags=re.DOTALL | re.MULTILINE)
    blocks += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    mentions = [" ".join(m.split()) for m in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
    for line, whole in [*((b, True) for b in blocks), *((m, False) for m in mentions)]:
        found = LAUNCHER.match(line.removeprefix("$ "))
        if found:
            words = shlex.split(line.removeprefix("$ ")[found.end() :], comments=True)
            yield Command(path.name, tuple(words), whole)


COMMANDS = [command for page in PAGES for command in written(page)]


@cache
def silent() -> Any:
    """The app, with commands that do nothing."""
    root: Any = typer.main.get_command(app)
    for option in root.params:
        if "completion" in option.name:
            option.callback = _leave  # else it is written into the shell's own files
    todo = [root]
    while todo:
        command = todo.pop()
        todo += getattr(command, "commands", {}).values()
        if command is not root:
            command.callback = _nothing
    return root


def parse(words: list[str]) -> None:
    """Let the app read a command without doing it. Raises what click says of it."""
    silent().main(args=words, prog_name="aliasfree", standalone_mode=False)


def _leave(_context: Any, _option: Any, asked: Any) -> None:
    if asked:
        raise typer.Exit


def _nothing(**_: Any) -> None:
    pass


def example(word: str) -> str:
    """A value for what the reader is to fill in: RUN, SEED, DIR."""
    return "1" if re.fullmatch(r"[A-Z_]{2,}", word) else word


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_on_a_page_is_one_that_the_command_line_takes(command):
    words = [example(word) for word in command.words]
    shortened = not command.whole or "..." in words
    try:
        parse([word for word in words if word != "..." or words[words.index(word) - 1].startswith("--")])
    except Exception as error:
        if not (shortened and re.search("Missing|requires an argument", str(error))):
            raise


def test_commands_are_found_and_wrong_ones_are_refused():
    assert len(COMMANDS) > 60
    assert {"README.md", "five-minutes.md", "evaluation.md", "sweeps.md"} <= {command.page for command in COMMANDS}
    for words in (["trian"], ["train", "--dats", "digits"], ["sample"], ["sample", "r", "--num", "many"]):
        with pytest.raises(Exception, match=r"No such command|No such option|Missing|valid integer"):
            parse(words)


# run


def aliasfree(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIASFREE_CACHE", str(tmp_path / "cache"))
    return tmp_path


SHORT = sorted(
    {
        command.words
        for command in COMMANDS
        if (command.whole and command.words[0] in ("configs", "recipes", "filters"))
        or command.words[:3] == ("data", "info", "digits")
    }
)


@pytest.mark.parametrize("words", SHORT, ids=" ".join)
def test_a_short_command_on_a_page_runs(words, here):
    assert aliasfree(*words)


SMALL = {
    "train": ("--steps", "2", "--base-channels", "4", "--image-size", "8", "--batch-size", "4", "--device", "cpu"),
    "train --resume": ("--steps", "3"),
    "sample": ("--steps", "2", "--num", "4"),
    "rotate": ("--steps", "2", "--angles=0,90", "--num", "1"),
    "evaluate": ("--steps", "1", "--num", "70", "--features", "pixels", "--no-equivariance", "--no-noise-error"),
    "analyze": ("--images", "1", "--rate", "2"),
}
"""What makes a command of the page quick, behind what the page says."""


def test_five_minutes_can_be_typed_from_top_to_bottom(here):
    page = [c for c in written(ROOT / "docs" / "five-minutes.md") if c.whole]
    (_, *rest) = page  # the demo, which tests/test_package.py runs from an installed wheel
    assert page[0].words == ("demo", "--quick")
    for command in (c for c in rest if c.words[0] != "app"):  # a server, which tests/app has to itself
        name = " ".join(command.words[:2]) if command.words[1] == "--resume" else command.words[0]
        aliasfree(*command.words, *SMALL.get(name, ()))
    runs = here / "runs" / "digits"
    assert len(list(runs.glob("images/*/*.png"))) == 8
    assert (runs / "metrics.json").is_file()
    assert {path.suffix for path in here.iterdir() if path.is_file()} >= {".png", ".html"}


@pytest.mark.parametrize("page", ["index.md", "aliasing.md"])
def test_the_python_of_a_page_runs(page):
    import torch

    scope: dict[str, Any] = {"x": torch.randn(1, 4, 16, 16)}
    for code in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE):
        exec(code, scope)
    assert "y" in scope
