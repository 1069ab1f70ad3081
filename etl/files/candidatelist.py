"""Reading a list of lens candidates: negatives keep away from every row; a graded row is a lens.

Names are labels: a list may repeat or omit them. A candidate is identified by its name and position together.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl.files import angles, listcells
from lake.config import CandidateListParams
from lake.errors import DataError
from lake.store import quarantine
from lake.tables.lens_candidates import NO_GRADE, NOT_TAKEN, RAGGED, SPEC

log = logging.getLogger(__name__)

_RADII = (0.05, 60.0)
"""Einstein radii (arcsec) that a list may give; 0 and negative values stand for unknown ones in some lists."""
_UNCERTAINTY = re.compile(r"\s*(?:±|\+/-|\+-|\$|\\pm|[_^]\{|\()")
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
    "kind",
)
"""Columns of ``lens_candidates`` that the list gives."""
_SCHEMA = pa.schema(
    [
        *((name, SPEC.column(name).arrow.type) for name in LISTED),
        ("fault", pa.string()),
        ("row_index", pa.int64()),
    ]
)


LENSCAT = CandidateListParams(
    file="candidates.csv", columns={}, separator=None, ra_unit="degrees", grading=None, types=None, references=None
)
"""A list as lenscat writes it: nothing is declared."""


@dataclass(frozen=True)
class CandidateList:
    """``rows``: every position; one without ``tier`` (``fault`` says why) is no lens, but excludes negatives.
    ``rejected``: rows without a position, and repetitions of one (``quarantine.SCHEMA``)."""

    rows: pa.Table
    rejected: pa.Table


def read_list(place: str, grades: Mapping[str, str], how: CandidateListParams = LENSCAT) -> CandidateList:
    """Read the list at a path or URI, written as ``how`` says; ``grades`` maps its grades to tiers A and B.

    DataError if it is not such a list, or has no position or no accepted grade.
    """
    tiers = {word.casefold(): tier for word, tier in grades.items()}
    cells = listcells.read(place, how)
    name = place.rpartition("/")[2]
    good: dict[str, dict[str, Any]] = {}
    bad = []
    for index, (texts, too_long) in enumerate(cells.rows()):
        row = _parsed(texts, too_long, tiers, how) | {"source_file": name, "row_index": index}
        if row["ra"] is None or row["dec"] is None:
            bad.append(row | {"reason": _NO_PLACE})
            continue
        held = good.get(row["candidate_id"])
        if held is not None:
            row, other = sorted((held, row), key=lambda each: (each["tier"] or "none", each["row_index"]))
            bad.append(other | {"reason": _AGAIN})
        good[row["candidate_id"]] = row
    rows, bad = (sorted(each, key=lambda row: row["row_index"]) for each in (good.values(), bad))
    _require_lenses(place, rows, len(cells.lines), grades)
    _report(place, rows, bad)
    return CandidateList(
        pa.Table.from_pylist(rows, schema=_SCHEMA), pa.Table.from_pylist(bad, schema=quarantine.SCHEMA)
    )


def _parsed(
    row: Mapping[str, str], too_long: bool, tiers: Mapping[str, str], how: CandidateListParams
) -> dict[str, Any]:
    name, redshift, kind, reference = (row.get(key) or None for key in ("name", "z_lens", "type", "reference"))
    grading = row.get("grading") or how.grading
    ra, dec = angles.right_ascension(row.get("ra"), how.ra_unit == "hours"), angles.declination(row.get("dec"))
    place = f"{ra:.5f}{dec:+.5f}" if ra is not None and dec is not None else ""
    tier = tiers.get((grading or "").casefold())
    fault = None if tier else RAGGED if too_long else NO_GRADE
    if tier and not _taken(kind, reference, how):
        tier, fault = None, NOT_TAKEN
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
        "reference": reference,
        "kind": kind,
        "fault": fault,
        "record": json.dumps(row, sort_keys=True),
    }


def _taken(kind: str | None, reference: str | None, how: CandidateListParams) -> bool:
    """Whether a candidate is of a type and a publication that are wanted."""
    types = None if how.types is None else {each.casefold() for each in how.types}
    wanted = types is None or (kind or "").casefold() in types
    return wanted and (how.references is None or re.search(how.references, reference or "") is not None)


def _single(text: str | None, low: float, high: float) -> float | None:
    """The number where the text is one, or several equal ones (``0.49 | 0.49``), between both limits; an uncertainty
    after it is left out.
    """
    found = {angles.number(_UNCERTAINTY.split(part)[0]) for part in (text or "").split("|")}
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
