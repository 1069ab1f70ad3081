"""Tables of the report as plain cells: numbers with their intervals, formatted once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.figures.style import Picture
from analysis.statistics.thresholds import REFUSED

NOT_MEASURED = "not measured"
REASONS = ("not measurable", NOT_MEASURED, REFUSED)
"""Beginnings of methods that say why there is no value."""
_NBSP = "\u00a0"
_SMALL = 0.01


@dataclass(frozen=True)
class TableView:
    """A table ready for the page."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Text, a `Link` or a `Tag`."""
    folded: bool = False
    """Shown only when the reader opens it."""
    style: str = ""
    """Its class on the page."""


@dataclass(frozen=True)
class Source:
    """Where the numbers of a figure can be found again."""

    tables: tuple[str, ...]
    """Tables of the lake."""
    query: str
    """What `dhs query` is asked."""
    slices: tuple[str, ...] = ()
    """The slices of these tables; none for all of the report's."""


@dataclass(frozen=True)
class Shown:
    """A picture with its caption."""

    picture: Picture
    caption: str
    name: str
    """Of its files, beside the page."""
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The numbers that it shows."""
    source: Source | None = None
    folded: bool = False
    """Shown only when the reader opens it."""


@dataclass(frozen=True)
class Tag:
    """A status with the words that follow it, as a cell."""

    status: str
    words: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Words:
    """A paragraph between figures and tables."""

    text: str


@dataclass(frozen=True)
class Verdicts:
    """Statuses in a line, each with what it is about."""

    items: Sequence[tuple[Tag, str]]


@dataclass(frozen=True)
class Link:
    """A cell that leads elsewhere."""

    text: str
    address: str


def number(value: Any, digits: int = 3) -> str:
    """A number in words that fit a table; an em dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return "—"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) >= 1 else f"{value:.{digits}g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def counts(*values: int) -> list[str]:
    """Whole numbers with a comma after each thousand."""
    return [f"{value:,}" for value in values]


def interval(value: Any, low: Any, high: Any, digits: int = 3) -> str:
    """`0.941 [0.921, 0.956]`; small values keep significant digits, the bracket stays on one line."""
    if pd.isna(value):
        return "—"
    if pd.isna(low) or pd.isna(high):
        return number(float(value), digits)
    style = f".{digits}f" if max(abs(value), abs(low), abs(high)) >= _SMALL else ".2e"
    return f"{value:{style}} [{low:{style}},{_NBSP}{high:{style}}]"


def percent(value: Any, low: Any = None, high: Any = None) -> str:
    """`41.3 % [38.0, 44.7]`."""
    if pd.isna(value):
        return "—"
    text = f"{100 * value:.1f}{_NBSP}%"
    return text if pd.isna(low) or pd.isna(high) else f"{text} [{100 * low:.1f},{_NBSP}{100 * high:.1f}]"


def measure(diagnostics: pd.DataFrame, name: str) -> pd.Series | None:
    """The row of one measured quantity, or None."""
    found = diagnostics[diagnostics["name"] == name] if len(diagnostics) else diagnostics
    return found.iloc[0] if len(found) else None


def reasons(diagnostics: pd.DataFrame) -> Mapping[str, Mapping[Any, Any]]:
    """The rows without a value that say why, by name."""
    if diagnostics.empty or "method" not in diagnostics:
        return {}
    rows = diagnostics[diagnostics["value"].isna() & diagnostics["method"].fillna("").str.startswith(REASONS)]
    return {str(row["name"]): row for row in rows.to_dict("records")}


def reason_for(name: str, held: Mapping[str, Mapping[Any, Any]]) -> Mapping[Any, Any] | None:
    """The reason for a measure that has no row, of ``held`` (:func:`reasons`): that of the figure it is a part of
    (`fpr/p0.3/unlisted_low` is refused with `fpr/p0.3`), or of its threshold, or of a refused figure of its group."""
    above = [name.rsplit("/", count)[0] for count in range(1, 1 + name.count("/"))]
    others = [*above, *(f"threshold/{part}" for part in name.split("/"))]
    beside = (
        row
        for whole in above
        for other, row in held.items()
        if other.startswith(f"{whole}/") and REFUSED in row["method"]
    )
    return next((held[other] for other in others if other in held), None) or next(beside, None)


def measured(diagnostics: pd.DataFrame, name: str, as_percent: bool = False, digits: int = 3) -> str:
    """A measured quantity with its interval, or why there is none."""
    row = measure(diagnostics, name)
    return worded(reason_for(name, reasons(diagnostics)) if row is None else row, as_percent, digits)


def worded(row: Mapping[Any, Any] | pd.Series | None, as_percent: bool = False, digits: int = 3) -> str:
    """A row of `diagnostics` as a value with its interval, or `not measured`."""
    if row is None:
        return NOT_MEASURED
    if pd.isna(row["value"]) and str(row["method"]).startswith(REASONS):
        return str(row["method"])
    if as_percent:
        return percent(row["value"], row["low"], row["high"])
    return interval(row["value"], row["low"], row["high"], digits)


def frame_view(caption: str, frame: pd.DataFrame, digits: int = 3) -> TableView:
    """A folded view of a frame."""
    plain = ([v.item() if hasattr(v, "item") else v for v in row] for row in frame.itertuples(index=False, name=None))
    return TableView(caption, list(frame.columns), [[number(v, digits) for v in row] for row in plain], folded=True)
