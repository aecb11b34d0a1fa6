"""MkDocs hook: the pages that are made from the code, and links out of docs/ turned into links within the site.

Made anew at every build: the command line (from the Typer app), the Python reference (from `__all__` of the public
modules), the examples, the changelog; notebooks/ is shown as it is.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))

API = {
    "ops": ("Operations on planes", ["aliasfree.ops"]),
    "filters": ("Filters and configs", ["aliasfree.filters", "aliasfree.config"]),
    "nn": ("Layers", ["aliasfree.nn"]),
    "models": ("Networks", ["aliasfree.models"]),
    "conversion": ("Conversion", ["aliasfree.conversion"]),
    "diffusion": ("Diffusion", ["aliasfree.diffusion", "aliasfree.diffusion.clipping"]),
    "data": ("Data", ["aliasfree.data"]),
    "training": ("Training", ["aliasfree.training"]),
    "tuning": ("Tuning", ["aliasfree.tuning"]),
    "evaluation": (
        "Evaluation",
        ["aliasfree.evaluation"]
        + [
            f"aliasfree.evaluation.{name}"
            for name in (
                "equivariance", "aliasing", "lanczos", "fidelity", "features", "inception", "pretrained", "comparison",
                "intervals", "noise_error", "spectra",
            )
        ],
    ),
    "pictures": ("Pictures", ["aliasfree.pictures"]),
}  # fmt: skip
"""Page -> its title and the modules whose `__all__` it shows."""
ELSEWHERE = {
    r"\.\./notebooks/(\w+)\.ipynb": r"notebooks/\1.ipynb",
    r"\.\./examples/(\w+)\.py": r"examples.md#\1",
    r"\.\./README\.md": "index.md",
    r"\.\./CHANGELOG\.md": "changelog.md",
}
"""Links of docs/*.md that leave the folder -> where the site has it."""
FIGURES = "<!-- the table of figures -->"
"""In docs/evaluation.md, where the site has `figures()`."""
BELOW_GUIDES = "---\nsearch:\n  boost: 0.2\n---\n\n"
"""Who searches for a word wants the page that explains it first, then the references."""


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/; before the plugin that renders notebooks looks at them."""
    made = {
        "cli.md": command_line(),
        "examples.md": examples(),
        "changelog.md": changelog(),
        "api/index.md": api_index(),
    }
    made |= {f"api/{page}.md": api_page(page) for page in API}
    for name, text in made.items():
        files.append(File.generated(config, name, content=BELOW_GUIDES + text))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        place = f"notebooks/{notebook.name}"
        files.append(File(place, str(ROOT), config.site_dir, use_directory_urls=config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Links to what the site shows elsewhere; any other link out of docs/ stays, and fails the build."""
    markdown = markdown.replace(FIGURES, figures()) if FIGURES in markdown else markdown
    for pattern, target in ELSEWHERE.items():
        markdown = re.sub(rf"\]\({pattern}\)", f"]({target})", markdown)
    return markdown


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Without the script by which notebooks would load diagrams, of which they have none, from a server."""
    return re.sub(r'<script type="module">(?:(?!</script>).)*?mermaid.*?</script>', "", output, flags=re.DOTALL)


def figures() -> str:
    """The columns of reports as a table."""
    import aliasfree.results.metrics  # noqa: F401  # enters the columns
    from aliasfree.results.columns import COLUMNS

    lines = ["| figure | key in CSV files | unit | better |", "| --- | --- | --- | --- |"]
    lines += [f"| {c.title} | `{c.key}` | {c.unit or '–'} | {c.better or '–'} |" for c in COLUMNS.values()]
    return "\n".join(lines)


def command_line() -> str:
    """The reference of the command line, from the app itself."""
    import typer
    from typer.cli import get_docs_for_click

    from aliasfree.cli import app

    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="aliasfree")
    for below in command.commands.values():
        below.short_help = (below.help or "").partition("\n")[0]  # else cut after 45 letters
    text: str = get_docs_for_click(obj=command, ctx=context, name="aliasfree", title="Command line")
    text = re.sub(r"^(#+ )`(.*)`$", r"\1\2", text, flags=re.MULTILINE)
    return re.sub(r"\[/?bold\]", "**", text.replace("```console\n$ ", "```text\n"))


def examples() -> str:
    """The scripts of examples/, each under its name."""
    parts = ["# Examples\n"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        parts.append(f"## {path.name} {{ #{path.stem} }}\n\n```python\n{path.read_text()}```\n")
    return "\n".join(parts)


def changelog() -> str:
    """CHANGELOG.md, its links to docs/ made links within it."""
    return (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")


def exported(module: str) -> list[str]:
    """The names that a module exports and that can be shown."""
    loaded = importlib.import_module(module)
    return [name for name in loaded.__all__ if not name.startswith("__") and _is_own(getattr(loaded, name))]


def place(module: str, name: str) -> str:
    """The path of an exported name; that of its definition where a module of the same name is in the way."""
    value = getattr(importlib.import_module(module), name)
    hidden = f"{module}.{name}" == getattr(value, "__module__", None)
    return f"{module}.{name}.{name}" if hidden else f"{module}.{name}"


def api_page(page: str) -> str:
    """A page of the Python reference. A name that a page's earlier module exports too is shown once."""
    title, modules = API[page]
    parts, shown = [f"# {title}\n"], set()
    for module in modules:
        names = [name for name in exported(module) if name not in shown]
        shown |= set(names)
        about = (inspect.getdoc(importlib.import_module(module)) or "").partition("\n\n")[0]
        parts.append(f"`{module}`: {about}\n" if len(modules) == 1 else f"## `{module}`\n\n{about}\n")
        level = 2 if len(modules) == 1 else 3
        parts += [f"::: {place(module, name)}\n    options:\n      heading_level: {level}\n" for name in names]
    return "\n".join(parts)


def api_index() -> str:
    """Every public name with its first sentence, and its place."""
    parts = [
        "# Python reference\n",
        "Everything that the public modules export. Every function and class has an example; the tests run them all.\n",
    ]
    for page, (title, modules) in API.items():
        parts += [f"## [{title}]({page}.md)\n", "| name | what it is |", "| --- | --- |"]
        shown: set[str] = set()
        for module in modules:
            loaded = importlib.import_module(module)
            for name in exported(module):
                value = getattr(loaded, name)
                if name in shown or not (inspect.isclass(value) or inspect.isfunction(value)):
                    continue
                shown.add(name)
                parts.append(f"| [`{name}`][{place(module, name)}] | {_first_sentence(value)} |")
        parts.append("")
    return "\n".join(parts)


def _is_own(value: Any) -> bool:
    """Whether it is not just a name for what another library has."""
    return getattr(value, "__module__", "aliasfree").partition(".")[0] in ("aliasfree", "typing", "builtins")


def _first_sentence(value: Any) -> str:
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return text.replace("|", "\\|")
