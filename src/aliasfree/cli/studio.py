"""`aliasfree app`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def app(
    networks: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN|DIFFUSERS_DIR]...", help="What it offers.", show_default="all below runs/"),
    ] = None,
    home: Annotated[Path, typer.Option(help="Where it puts runs and converted models.")] = Path("runs"),
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of this machine; any but a loopback address needs a password.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 is any.", show_default="the first free one from 7860")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="ALIASFREE_PASSWORD", help="Asked for by the browser, under any user's name.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """The studio: move, look into, train and convert networks in the browser (needs aliasfree\\[app])."""
    from importlib.util import find_spec

    from aliasfree.errors import ArgumentError

    if find_spec("gradio") is None:
        raise ArgumentError("The studio needs Gradio; install it with `pip install 'aliasfree[app]'`.")
    from aliasfree.app.server import is_loopback, serve

    if password is None and not is_loopback(listen) and sys.stdin.isatty():
        password = typer.prompt("Password for the studio", hide_input=True, confirmation_prompt=True)
    serve(
        networks or (), home=home, listen=listen, port=port, password=password, browser=browser,
        say=lambda line: typer.echo(line),
    )  # fmt: skip
