"""The command line: parses and prints, does nothing else. What it calls is imported when a command runs."""

from __future__ import annotations

from aliasfree.cli.app import app, main

__all__ = ["app", "main"]
