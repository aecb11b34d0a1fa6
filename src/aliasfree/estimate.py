"""A measured figure and how far it is known."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval; low = high = None where there is no interval.

    spread  of scores over splits and of KID over subsets: their standard deviation, as in published tables; else None

    >>> from aliasfree.evaluation import Estimate
    >>> score = Estimate(9.61, low=9.40, high=9.82)
    >>> score.text(), round(score.half_width, 2)
    ('9.61 [9.40, 9.82]', 0.21)
    """

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def text(self, digits: int = 2) -> str:
        """ "9.61 [9.40, 9.82]", or "9.61" without an interval."""
        ends = "" if self.low is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.value:.{digits}f}{ends}"
