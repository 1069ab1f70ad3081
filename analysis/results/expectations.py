"""Whether a result is as it was expected to be, and what the reference system expected of its planned runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from scipy.stats import norm

from analysis.statistics.intervals import TABLE_LEVEL
from lake import yamltext
from lake.store.expected import Expectation

Outcome = Literal["as expected", "not as expected", "undecided", "no result yet"]
_WIDTH = 2.0 * float(norm.isf((1.0 - TABLE_LEVEL) / 2.0))
"""Width of a normal 95 % interval in standard errors."""


@dataclass(frozen=True)
class Figure:
    """A measured figure with its 95 % interval (NaN where it has none)."""

    value: float
    low: float = math.nan
    high: float = math.nan
    made: str = ""
    """When its row was written, UTC, to the second."""
    how: str = "95 % interval of the figure"

    def minus(self, other: Figure) -> Figure:
        """The difference of two figures whose errors are independent."""
        value = self.value - other.value
        half = 0.5 * _WIDTH * math.hypot(*((one.high - one.low) / _WIDTH for one in (self, other)))
        how = "95 % interval of the difference, errors taken as independent"
        return Figure(value, value - half, value + half, self.made, how)


def judge(expectation: Expectation, figure: Figure | None) -> Outcome:
    """Whether a figure is as expected: its whole interval has to lie where it is expected.

    Undecided where the interval holds an end of what is expected, or where there is no interval.
    """
    if figure is None:
        return "no result yet"
    if any(math.isnan(bound) for bound in (figure.value, figure.low, figure.high)):
        return "undecided"
    ends = {"above": (expectation.threshold, math.inf), "below": (-math.inf, expectation.threshold)}
    low, high = ends.get(expectation.expect, (expectation.threshold, expectation.upper or math.inf))
    if low <= figure.low and figure.high <= high:
        return "as expected"
    return "not as expected" if figure.high < low or figure.low > high else "undecided"


@cache
def historical() -> tuple[Expectation, ...]:
    """What the reference system expected, without date and commit, which it did not record."""
    text = resources.files("analysis.results").joinpath("expectations.yaml").read_text(encoding="utf-8")
    return tuple(Expectation(**entry) for entry in yamltext.values(text))
