"""One file a data source; the registry imports them all, so a new source touches nothing else."""

from __future__ import annotations

__all__: list[str] = []
