"""Clean-up of the lake: what could be removed, told and done; and its tables as catalogues for LSDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lake import tables
from lake.errors import not_one_of
from lake.root import DataRoot
from lake.store import cards
from lake.upkeep import collecting, hats, uploads
from lake.upkeep.collecting import Waste
from lake.upkeep.guard import alone, working
from lake.upkeep.references import references
from pipeline.project.project import Project
from pipeline.tables.texttable import size_text

DAYS = 7.0
"""How old a file must be before it is removed, unless the user says otherwise."""
DAYS_SHARED = 30.0
"""The same in an object store, where others write too, with pins that are not here."""


def collect(project: Project, days: float | None, *, doit: bool) -> Iterator[str]:
    """Lines about table files that nothing refers to and unfinished uploads, which are removed if ``doit``."""
    root, survey = project.data.of_any_survey, project.survey
    places = root.lake_uri, survey.work_uri, survey.shards_uri
    with alone(root) if doit else working(root):
        yield from _uploads(places, days, doit=doit)
        days = days if days is not None else DAYS_SHARED if root.lake_uri else DAYS
        known = references(root)
        found = collecting.waste(root, known, days)
        if not known.in_git:
            yield f"no git repository here: the cards in {root.cards} alone count"
        yield from _told(found)
        size = sum(one.size for one in found)
        if not size:
            count = sum(one.young for one in found)
            young = f", {count} files are younger than {days:g} days" if count else ""
            yield f"nothing to remove{young}"
        elif doit:
            yield f"removed {size_text(collecting.remove(root, found))}"
        else:
            yield f"{size_text(size)} could be removed: `dhs lake gc --remove` does it"


def _uploads(places: Sequence[str | None], days: float | None, *, doit: bool) -> Iterator[str]:
    """Lines about unfinished uploads in the project's own prefixes; they are aborted if ``doit``."""
    found = uploads.unfinished(places, DAYS_SHARED if days is None else days)
    if doit:
        uploads.end(found)
    if found:
        yield f"unfinished uploads: {len(found)} {'aborted' if doit else 'could be aborted'}"


def export_hats(root: DataRoot, name: str, folder: Path, at: str | None, max_rows: int | None) -> str:
    """Write a table or slice as pinned (``at`` a git revision) as a HATS catalogue; says what was written."""
    table, _, slice_name = name.partition(".")
    tables.spec(table)
    found = cards.slices(root, table, at)
    if not found:
        raise cards.missing(root, f"'{table}'", cards.foreign(root, table, at))
    known = {entry.name: entry for entry in found}
    chosen = found[0] if not slice_name and len(found) == 1 else known.get(name)
    if chosen is None:
        raise not_one_of("table", sorted(known), name)
    parts = hats.export(root, chosen, folder, hats.MAX_ROWS if max_rows is None else max_rows)
    size = size_text(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    divided = f"{len(parts)} partitions" if len(parts) != 1 else "one partition"
    return f"{chosen.name}, version {chosen.pin.version}: {chosen.card.rows} rows in {divided}, {size}"


def _told(found: Sequence[Waste]) -> Iterator[str]:
    for one in found:
        if one.problem:
            yield one.problem
        elif one.files:
            young = f", {one.young} younger ones stay" if one.young else ""
            what = f"{len(one.files)} files, {size_text(one.size)}{young}; versions kept: {one.kept}"
            yield f"{one.table:<24} {what}"
