"""Who looks at the page: what each visitor has set and got, kept apart, so that a reload finds it again."""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Recent", "Visitor", "Visitors", "is_token", "new_token"]

MOST = 64
"""Visitors that are remembered; the one away for longest is forgotten first."""


class Recent:
    """The things that were put or asked for last, by key, as long as they cost no more than `most` together.

    cost   of one thing
    keeps  whether a key must not leave

    >>> from aliasfree.app.visitors import Recent
    >>> recent = Recent(most=1)
    >>> recent.put("one", "a model")
    >>> recent.put("another", "another model")
    >>> recent.get("one"), recent.get("another")
    (None, 'another model')
    """

    def __init__(
        self, most: int, cost: Callable[[Any], int] = lambda _: 1, keeps: Callable[[Any], bool] = lambda _: False
    ) -> None:
        self._most, self._cost, self._keeps = most, cost, keeps
        self._all: OrderedDict[Any, Any] = OrderedDict()
        self._sum = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._all)

    def put(self, key: Any, thing: Any) -> None:
        """In place of what was there."""
        with self._lock:
            self._leave(key)
            self._all[key] = thing
            self._sum += self._cost(thing)
            while self._sum > self._most:
                old = next((k for k in self._all if k != key and not self._keeps(k)), None)
                if old is None:
                    break
                self._leave(old)

    def get(self, key: Any, make: Callable[[], Any] | None = None) -> Any:
        """What is there; else what `make` makes, which is put there, or None."""
        with self._lock:
            if key in self._all:
                self._all.move_to_end(key)
            elif make is not None:
                self.put(key, make())
            return self._all.get(key)

    def _leave(self, key: Any) -> None:
        if key in self._all:
            self._sum -= self._cost(self._all.pop(key))


@dataclass
class Visitor:
    """One browser.

    settings  values of a tab's fields by their names, by the tab's name
    results   what a tab shows, by name
    kept      what a tab needs for its next step, by name; what is large is in a `Recent`
    newest    the last job of each kind
    """

    token: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, Any] = field(default_factory=dict)


class Visitors:
    """Every visitor by the token in the browser's cookie.

    busy  whether a token's visitor has work in the queue, and so is not forgotten

    >>> from aliasfree.app.visitors import Visitors, new_token
    >>> visitors, token = Visitors(), new_token()
    >>> visitors.find(token).results["move"] = "a picture"
    >>> visitors.find(token).results, visitors.find(new_token()).results
    ({'move': 'a picture'}, {})
    """

    def __init__(self, busy: Callable[[str], bool] = lambda _: False) -> None:
        self._all = Recent(MOST, keeps=busy)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, token: str) -> Visitor:
        """The visitor of a token, a new one if it is not known."""
        visitor: Visitor = self._all.get(token, lambda: Visitor(token))
        return visitor


def new_token() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def is_token(text: str | None) -> bool:
    """Whether a cookie's value has the form of one of ours."""
    return text is not None and re.fullmatch(r"[0-9a-f]{32}", text) is not None
