"""What the results say about the bars that a GPU must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

GRID = 110_000
"""Injections of a grid of DR10."""


@dataclass(frozen=True)
class Bar:
    """A figure with the value that it must reach, and where there is one a goal beyond."""

    what: str
    unit: str
    must: float
    goal: float | None
    found: Callable[[list[Record]], float | None]
    """The figure in the records; None if it was not measured."""
    more_is_better: bool = False

    def record(self, records: list[Record]) -> Record:
        """The figure, and whether it reaches the bar."""
        value = self.found(records)
        bar = f"bar {self.must:,g}" + (f", goal {self.goal:,g}" if self.goal else "")
        if value is None:
            return {"what": f"NOT MEASURED  {self.what} ({bar} {self.unit})", "bar": self.what, "reached": None}
        reached = self._reaches(value, self.must)
        said = "GOAL REACHED" if self.goal and self._reaches(value, self.goal) else "REACHED" if reached else "MISSED"
        what = f"{said:13s} {self.what}: {value:,.1f} {self.unit} ({bar})"
        return {"what": what, "bar": self.what, "value": value, "reached": reached}

    def _reaches(self, value: float, level: float) -> bool:
        return value >= level if self.more_is_better else value <= level


def verdicts(records: list[Record]) -> Iterator[Record]:
    """One record a bar; without a GPU only that nothing can be judged."""
    if not any(record.get("device") == "cuda" for record in records):
        yield {"what": "no bar was judged: there is no GPU"}
        return
    for bar in BARS:
        yield bar.record(records)


def _epoch(micro_batch: int) -> Callable[[list[Record]], float | None]:
    """Seconds of an epoch with its validation, at a micro-batch; compiled training counts where it is faster."""

    def found(records: list[Record]) -> float | None:
        own = next((record for record in records if record.get("micro_batch") == micro_batch), None)
        if own is None:
            return None
        compiled = [record["train_s"] for record in records if record.get("compiled_micro_batch") == micro_batch]
        return float(own["validation_s"] + min([own["train_s"], *compiled]))

    return found


def _scoring(records: list[Record]) -> float | None:
    rates = [record["stamps_per_s"]["device"] for record in records if record["part"] == "scoring" and "batch" in record
             and "stamps_per_s" in record]  # fmt: skip
    return max(rates, default=None)


def _grid(records: list[Record]) -> float | None:
    rates = [record["injections_per_s"] for record in records if "injections_per_s" in record]
    return GRID / max(rates) if rates else None


def _loading(records: list[Record]) -> float | None:
    return next((record["whole_s"] for record in records if "whole_s" in record), None)


def _again(records: list[Record]) -> float | None:
    own = [record for record in records if record["part"] == "again"]
    first = next((record["first_step_s"] for record in own if "first_step_s" in record), None)
    return None if first is None else float(first + own[0]["imports_s"])


BARS = (
    Bar("an epoch of DR10 and its validation, micro-batch 512", "s", 40.0, 25.0, _epoch(512)),
    Bar("an epoch of DR10 and its validation, micro-batch 64", "s", 75.0, None, _epoch(64)),
    Bar("scoring, best batch size, from the GPU's memory", "stamps/s", 50_000.0, None, _scoring, more_is_better=True),
    Bar(f"a grid of {GRID:,} in the stream, best number of threads", "s", 20.0, 10.0, _grid),
    Bar("loading the stamps of an epoch and its validation", "s", 60.0, None, _loading),
    Bar("first step of a second process, with its imports", "s", 20.0, None, _again),
)
