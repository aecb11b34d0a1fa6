"""One file for each data source. The registry imports them all, so a new source is one new file."""

from __future__ import annotations

__all__: list[str] = []
