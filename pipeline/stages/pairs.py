"""One finder beside every other that was tried on the same trials."""

from __future__ import annotations

from analysis.comparisons.pairs import pair_rows
from pipeline.project.context import RunContext
from pipeline.reporting.finderpairs import TABLE, finders


def run(context: RunContext, params: None) -> None:
    name = context.generation
    context.write(TABLE, pair_rows(finders(context), name), name, {"generation": name})
