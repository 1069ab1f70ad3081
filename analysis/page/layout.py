"""The order of a page: its parts, and the numbers of its figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from analysis.reporting.views import Heading, Shown, TableView, Verdicts, Words

Item = TableView | Shown | Heading | Words | Verdicts


@dataclass(frozen=True)
class Part:
    """One section of the page: words, tables, pictures; None is left out."""

    anchor: str
    title: str
    items: Sequence[Item | None] = ()
    words: Sequence[str] = ()
    notes: Sequence[str] = ()
    """Sentences with numbers."""
    chapter: str = ""
    """What the part is for, over the first part of several."""


@dataclass(frozen=True)
class Placed:
    """A figure or a table with its number; other items have none."""

    item: Item
    number: int = 0

    @property
    def label(self) -> str:
        return f"{'Figure' if isinstance(self.item, Shown) else 'Table'} {self.number}"

    @property
    def anchor(self) -> str:
        return self.label.lower().replace(" ", "-")


@dataclass(frozen=True)
class NumberedPart:
    """A part as it is printed."""

    part: Part
    number: int
    items: Sequence[Placed]


def numbered(parts: Iterable[Part]) -> list[NumberedPart]:
    """Parts that say anything, in their order, with numbers; figures and tables are numbered through the page."""
    figures, tables = count(1), count(1)
    filled = (part for part in parts if part.words or part.notes or any(item is not None for item in part.items))
    return [
        NumberedPart(part, number, list(_placed(part.items, figures, tables)))
        for number, part in enumerate(filled, start=1)
    ]


def _placed(items: Sequence[Item | None], figures: Iterator[int], tables: Iterator[int]) -> Iterator[Placed]:
    for item in items:
        if item is not None:
            numbers = figures if isinstance(item, Shown) else tables if isinstance(item, TableView) else None
            yield Placed(item) if numbers is None else Placed(item, next(numbers))
