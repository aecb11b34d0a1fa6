"""Names that a package or module looks up when they are first asked for: a refusal need not wait for torch."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_attributes", "moved", "renamed"]


def lazy_attributes(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: `where` gives the submodule of each of its names."""

    def attribute(name: str) -> Any:
        if name in where:
            return getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute


def renamed(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names have changed: the old ones work, with a DeprecationWarning."""

    def attribute(name: str) -> Any:
        if name in names:
            warnings.warn(f"{package}.{name} is called {names[name]} now.", DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[package], names[name])
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return attribute


def moved(old: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has become another: its names, with a DeprecationWarning."""

    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(new), name)

    return attribute
