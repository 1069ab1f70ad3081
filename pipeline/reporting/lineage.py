"""Which stage made what another one read, from the pins of the lake's tables."""

from __future__ import annotations

from lake.root import DataRoot
from lake.store import cards

_MAKERS = {"checkpoint": "train", "grid": "grid"}
"""Stages whose results are files, by what pins call these."""
_OF_FILES = (("train", "grid"), ("cutouts", "grid"))
"""A grid's injections are drawn into cut-outs and scored by a checkpoint; it has no pin of its own."""


def stage_edges(root: DataRoot) -> list[tuple[str, str]]:
    """Pairs of stages, the second of which read what the first made, as far as the lake's tables show."""
    entries = [entry for table in cards.tables(root) for entry in cards.of_survey(root, table)]
    makers = {entry.name: entry.pin.code["stage"] for entry in entries}
    found = {
        (before, entry.pin.code["stage"])
        for entry in entries
        for key in entry.pin.inputs
        if (before := _maker(key, makers)) is not None
    }
    stages = {stage for edge in found for stage in edge}
    found |= {edge for edge in _OF_FILES if set(edge) <= stages | {"grid"}} if "ingest" in stages else set()
    return sorted((before, after) for before, after in found if before != after)


def _maker(key: str, makers: dict[str, str]) -> str | None:
    kind, _, name = key.partition(":")
    return makers.get(name) if kind == "table" else _MAKERS.get(kind)
