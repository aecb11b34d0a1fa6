"""Who looks at the page: what each visitor has set and got, kept apart, so that a reload finds it again."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Shelf", "Visitor", "Visitors", "is_token", "new_token"]

MOST = 64
"""Visitors that are remembered; the one away for longest is forgotten first."""


@dataclass
class Visitor:
    """One browser.

    settings  values of a tab's controls, by the tab's name
    results   what a tab shows, by name
    kept      what a tab needs for its next step, by name; what is large is on a `Shelf`
    newest    the last job of each kind
    """

    token: str
    settings: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, Any] = field(default_factory=dict)


class Visitors:
    """Every visitor by the token in the browser's cookie.

    >>> from aliasfree.app.visitors import Visitors, new_token
    >>> visitors, token = Visitors(), new_token()
    >>> visitors.find(token).results["move"] = "a picture"
    >>> visitors.find(token).results, visitors.find(new_token()).results
    ({'move': 'a picture'}, {})
    """

    def __init__(self, busy: Callable[[str], bool] = lambda _: False) -> None:
        self._busy = busy  # a visitor with work in the queue is not forgotten
        self._all: OrderedDict[str, Visitor] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def find(self, token: str) -> Visitor:
        """The visitor of a token, a new one if it is not known."""
        with self._lock:
            visitor = self._all.setdefault(token, Visitor(token))
            self._all.move_to_end(token)
            idle = [t for t in self._all if t != token and not self._busy(t)]
            for old in idle[: max(0, len(self._all) - MOST)]:
                del self._all[old]
            return visitor


class Shelf:
    """Something large of some visitors, such as a model each: of the `most` who put something there last.

    >>> from aliasfree.app.visitors import Shelf
    >>> shelf = Shelf(most=1)
    >>> shelf.put("one", "a model")
    >>> shelf.put("another", "another model")
    >>> shelf.get("one"), shelf.get("another")
    (None, 'another model')
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._all: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, token: str, thing: Any) -> None:
        """In place of what the visitor had there."""
        with self._lock:
            self._all[token] = thing
            self._all.move_to_end(token)
            while len(self._all) > self._most:
                self._all.popitem(last=False)

    def get(self, token: str) -> Any:
        """None where there is nothing, or nothing any more."""
        with self._lock:
            return self._all.get(token)


def new_token() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def is_token(text: str | None) -> bool:
    """Whether a cookie's value has the form of one of ours."""
    return text is not None and re.fullmatch(r"[0-9a-f]{32}", text) is not None
