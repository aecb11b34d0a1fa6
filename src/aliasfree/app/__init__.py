"""The studio: a page in the browser to move, look into, compare, train and convert networks. Needs `aliasfree[app]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.lazy_exports import lazy_attributes

if TYPE_CHECKING:
    from aliasfree.app.server import serve

__all__ = ["serve"]

__getattr__ = lazy_attributes(__name__, {"serve": "server"})
