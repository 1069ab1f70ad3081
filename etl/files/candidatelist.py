"""Reading a list of lens candidates (lenscat format): negatives keep away from every row; a graded row is a lens.

Names are labels: a list may repeat or omit them. A candidate is identified by its name and position together.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl.files import angles
from lake.errors import DataError
from lake.files import storage
from lake.store import quarantine
from lake.tables.lens_candidates import NO_GRADE, RAGGED, SPEC

log = logging.getLogger(__name__)

_HEADINGS = {
    "name": "name", "ra": "ra", "ra [deg]": "ra", "ra_deg": "ra", "raj2000": "ra", "dec": "dec", "dec [deg]": "dec",
    "dec_deg": "dec", "dej2000": "dec", "decj2000": "dec", "zlens": "z_lens", "z_lens": "z_lens", "grading": "grading",
    "grade": "grading", "ref": "reference", "reference": "reference", "theta_e": "theta_e", "theta_e_arcsec": "theta_e",
    "theta_e [arcsec]": "theta_e", "theta_ein": "theta_e", "rein_arcsec": "theta_e", "einstein_radius": "theta_e",
    "einstein_radius_arcsec": "theta_e",
}  # fmt: skip
_RADII = (0.05, 60.0)
"""Einstein radii (arcsec) that a list may give; 0 and negative values stand for unknown ones in some lists."""
_REQUIRED = ("ra", "dec", "grading")
_DELIMITERS = (",", ";", "\t")
_MOST_BYTES = 256 << 20
_NO_PLACE = "coordinates must be numbers in [0, 360] and [-90, 90] or sexagesimal"
_AGAIN = "the list repeats this name and position"
LISTED = (
    "candidate_id",
    "name",
    "ra",
    "dec",
    "grading",
    "tier",
    "z_lens",
    "z_lens_text",
    "theta_e_arcsec",
    "reference",
)
"""Columns of ``lens_candidates`` that the list gives."""
_SCHEMA = pa.schema(
    [
        *((name, SPEC.column(name).arrow.type) for name in LISTED),
        ("fault", pa.string()),
        ("row_index", pa.int64()),
    ]
)


@dataclass(frozen=True)
class CandidateList:
    """``rows``: every position; one without ``tier`` (``fault`` says why) is not a lens, but excludes negatives.
    ``rejected``: rows without a position, and repetitions of one (``quarantine.SCHEMA``)."""

    rows: pa.Table
    rejected: pa.Table


def read_list(place: str, grades: Mapping[str, str]) -> CandidateList:
    """Read the list at a path or URI; ``grades`` maps the words of its column 'grading' to tiers A and B.

    DataError if it is not such a list, or has no position or no accepted grade.
    """
    tiers = {word.casefold(): tier for word, tier in grades.items()}
    headings, lines = _cells(_text(place), place)
    name = place.rpartition("/")[2]
    good: dict[str, dict[str, Any]] = {}
    bad = []
    for index, cells in enumerate(lines):
        row = _parsed(headings, cells, tiers) | {"source_file": name, "row_index": index}
        if row["ra"] is None or row["dec"] is None:
            bad.append(row | {"reason": _NO_PLACE})
            continue
        held = good.get(row["candidate_id"])
        if held is not None:
            row, other = sorted((held, row), key=lambda each: (each["tier"] or "none", each["row_index"]))
            bad.append(other | {"reason": _AGAIN})
        good[row["candidate_id"]] = row
    rows, bad = (sorted(each, key=lambda row: row["row_index"]) for each in (good.values(), bad))
    _require_lenses(place, rows, len(lines), grades)
    _report(place, rows, bad)
    return CandidateList(
        pa.Table.from_pylist(rows, schema=_SCHEMA), pa.Table.from_pylist(bad, schema=quarantine.SCHEMA)
    )


def _text(place: str) -> str:
    """The file's text: UTF-8, or else Latin-1."""
    try:
        found = storage.find(place)
        if found is None:
            raise DataError(f"the candidate list {place} cannot be read: it does not exist or is not a file")
        if found.size > _MOST_BYTES:
            raise DataError(f"the candidate list {place} cannot be read: it is larger than {_MOST_BYTES >> 20} MiB")
        content = storage.read(place)
    except OSError as error:
        raise DataError(f"the candidate list {place} cannot be read: {error}") from error
    if b"\0" in content:
        raise DataError(f"the candidate list {place} cannot be read: it is not UTF-8 text; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        log.warning("%s is not UTF-8 text (byte %d); it is read as Latin-1", place, error.start)
        return content.decode("latin-1")


def _cells(text: str, place: str) -> tuple[list[str], list[list[str]]]:
    """Headings under our names ('' for others) and cells of the rows; the delimiter is the one that fits."""
    lacking = list(_REQUIRED)
    written = [line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip()]
    for delimiter in _DELIMITERS:
        lines = [_split(line, delimiter) for line in written]
        headings = [_HEADINGS.get(cell.strip().casefold(), "") for cell in lines[0]] if lines else []
        twice = sorted(name for name, count in Counter(headings).items() if name and count > 1)
        if twice:
            raise DataError(f"the candidate list {place} has more than one column for {', '.join(twice)}; keep one")
        missing = [name for name in _REQUIRED if name not in headings]
        if not missing and len(lines) > 1:
            return headings, lines[1:]
        lacking = min(lacking, missing, key=len)
    what = f"lacks the columns {', '.join(lacking)}" if lacking else "has no rows"
    raise DataError(
        f"the candidate list {place} {what}: it must be a CSV file with a header line and the columns ra, dec, grading"
    )


def _split(line: str, delimiter: str) -> list[str]:
    """Cells of one line; a quote that is not closed, or not at the ends of a cell, is an ordinary character."""
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return line.split(delimiter)


def _parsed(headings: Sequence[str], cells: Sequence[str], tiers: Mapping[str, str]) -> dict[str, Any]:
    row = {name: cell.strip() for name, cell in zip(headings, cells, strict=False) if name}
    name, grading, redshift = (row.get(key) or None for key in ("name", "grading", "z_lens"))
    ra, dec = angles.right_ascension(row.get("ra")), angles.declination(row.get("dec"))
    place = f"{ra:.5f}{dec:+.5f}" if ra is not None and dec is not None else ""
    tier = tiers.get((grading or "").casefold())
    too_long = any(cell.strip() for cell in cells[len(headings) :])
    return {
        "candidate_id": f"{name or ''}@{place}",
        "name": name,
        "ra": ra,
        "dec": dec,
        "grading": grading,
        "tier": tier,
        "z_lens": _single(redshift, 0.0, math.inf),
        "z_lens_text": redshift,
        "theta_e_arcsec": _single(row.get("theta_e"), *_RADII),
        "reference": row.get("reference") or None,
        "fault": None if tier else RAGGED if too_long else NO_GRADE,
        "record": json.dumps(row, sort_keys=True),
    }


def _single(text: str | None, low: float, high: float) -> float | None:
    """The number where the text is one, or several equal ones (``0.49 | 0.49``), between both limits."""
    found = {angles.number(part) for part in (text or "").split("|")}
    value = found.pop() if len(found) == 1 else None
    return value if value is not None and low <= value <= high else None


def _require_lenses(place: str, rows: Sequence[Mapping[str, Any]], count: int, grades: Mapping[str, str]) -> None:
    if not rows:
        raise DataError(f"the candidate list {place}: none of its {count} rows has usable coordinates: {_NO_PLACE}")
    if not any(row["tier"] for row in rows):
        raise DataError(
            f"the column 'grading' of {place} must hold one of {', '.join(grades)} in at least one row, but holds "
            f"{_words(rows)}; assign those words a tier, A or B, in survey.grades"
        )


def _words(rows: Sequence[Mapping[str, Any]]) -> str:
    """The grades that were not accepted, the most frequent first."""
    found = Counter(row["grading"] or "" for row in rows if not row["tier"]).most_common(6)
    return ", ".join(f"'{word}' ({count})" for word, count in found)


def _report(place: str, rows: Sequence[Mapping[str, Any]], bad: Sequence[Mapping[str, Any]]) -> None:
    for fault, count in Counter(row["fault"] for row in rows if row["fault"]).items():
        why = f"{fault}: {_words(rows)}" if fault == NO_GRADE else fault
        log.warning(
            "%s: %d of %d positions are excluded from the negatives and are not lenses: %s",
            place,
            count,
            len(rows),
            why,
        )
    for reason, count in Counter(row["reason"] for row in bad).items():
        log.warning("%s: %d rows are quarantined: %s", place, count, reason)
