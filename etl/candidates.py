"""The list of lens candidates (lenscat format) and its match to Tractor sources."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from etl.config import CandidatesParams
from etl.frames import table_of
from etl.near import ARCSEC_PER_RADIAN, chord, unit_vectors
from lake import tables
from lake.config import SplitParams
from lake.errors import DataError
from lake.healpix import pixel
from lake.split import split_of

STAGE = "candidates"
TIERS = {"confident": "A", "probable": "B"}
MATCHED = "matched"
NO_SOURCE = "no source within the radius"
TAKEN = "source matched by a nearer candidate"

_HEADINGS = {
    "name": "name", "ra": "ra", "ra [deg]": "ra", "dec": "dec", "dec [deg]": "dec", "zlens": "z_lens",
    "grading": "grading", "ref": "reference",
}  # fmt: skip
_REQUIRED = ("name", "ra", "dec", "grading")
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("grading", pa.string()),
        ("z_lens", pa.float64()),
        ("reference", pa.string()),
        ("row_index", pa.int64()),
    ]
)

_BAD_SCHEMA = pa.schema([("row_index", pa.int64()), ("reason", pa.string()), ("record", pa.string())])


@dataclass(frozen=True)
class CandidateList:
    """Usable rows of a list, and the others (row_index, reason, record)."""

    rows: pa.Table
    rejected: pa.Table


def read_list(path: Path) -> CandidateList:
    """Read a lenscat CSV; a file without the needed columns is an error, a bad row goes to the quarantine."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the candidate list {path} cannot be read: {error}") from error
    headings = {
        _HEADINGS[h.strip().lower()] for h in (lines[0] if lines else {}) if h and h.strip().lower() in _HEADINGS
    }
    lacking = [name for name in _REQUIRED if name not in headings]
    if lacking:
        raise DataError(f"the candidate list {path} has no rows or lacks the columns {', '.join(lacking)}")
    good, bad = [], []
    names: set[str] = set()
    for index, line in enumerate(lines):
        row = {_HEADINGS[k.strip().lower()]: v for k, v in line.items() if k and k.strip().lower() in _HEADINGS}
        parsed, reason = _parse(row, names)
        if reason is None:
            names.add(str(parsed["name"]))
            good.append({**parsed, "row_index": index})
        else:
            bad.append({"row_index": index, "reason": reason, "record": json.dumps(row, sort_keys=True)})
    return CandidateList(pa.Table.from_pylist(good, schema=_SCHEMA), pa.Table.from_pylist(bad, schema=_BAD_SCHEMA))


def _parse(row: Mapping[str, str | None], names: set[str]) -> tuple[dict[str, object], str | None]:
    name, grading = ((row.get(key) or "").strip() for key in ("name", "grading"))
    ra, dec, z_lens = (_number(row.get(key)) for key in ("ra", "dec", "z_lens"))
    parsed: dict[str, object] = {"name": name, "grading": grading, "ra": ra, "dec": dec}
    parsed["reference"] = (row.get("reference") or "").strip() or None
    parsed["z_lens"] = z_lens if z_lens is not None and z_lens >= 0 else None
    if not name:
        return parsed, "'name' must be given"
    if ra is None or dec is None or not (0 <= ra <= 360 and abs(dec) <= 90):
        return parsed, "coordinates must be numbers in [0, 360] and [-90, 90]"
    if grading not in TIERS:
        return parsed, f"'grading' must be one of {', '.join(TIERS)}"
    return parsed, "duplicate key (name)" if name in names else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def quarantined(listed: CandidateList, source_file: str) -> pa.Table:
    """Quarantine rows of a list."""
    same = {"stage": STAGE, "source_file": source_file, "target_table": "lens_candidates"}
    return table_of(tables.spec("quarantine"), [{**same, **row} for row in listed.rejected.to_pylist()])


def match(listed: pa.Table, near: pa.Table, params: CandidatesParams, split: SplitParams) -> pa.Table:
    """``lens_candidates`` rows: each listed candidate with its nearest source, or why there is none.

    A source that is nearest to two candidates goes to the nearer. ``near`` is ``tractor_near_candidates``.
    """
    ra, dec = (listed.column(n).to_numpy() for n in ("ra", "dec"))
    measured = np.array([kind not in params.unmatchable_types for kind in near.column("type").to_pylist()], dtype=bool)
    source, separation = nearest(
        unit_vectors(ra, dec),
        unit_vectors(*(near.column(n).to_numpy()[measured] for n in ("ra", "dec"))),
        params.match_radius_arcsec,
    )
    ids = np.array(near.column("galaxy_id").to_pylist(), dtype=object)[measured]
    reason = _resolve(source, separation, listed.column("name").to_pylist())
    matched = [why == MATCHED for why in reason]
    grading = listed.column("grading").to_pylist()
    healpix_128 = pixel(ra, dec, 128)
    columns = {
        **{n: listed.column(n) for n in ("name", "ra", "dec", "grading", "z_lens", "reference")},
        "tier": [TIERS[grade] for grade in grading],
        "galaxy_id": [ids[s] if ok else None for s, ok in zip(source, matched, strict=True)],
        "separation_arcsec": [round(float(d), 6) if ok else None for d, ok in zip(separation, matched, strict=True)],
        "match_reason": reason,
        "healpix_64": pixel(ra, dec, 64),
        "healpix_128": healpix_128,
        "split": split_of(healpix_128, split).tolist(),
    }
    spec = tables.spec("lens_candidates")
    schema = table_of(spec, []).schema
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema}, schema=schema)


def nearest(
    places: NDArray[np.float64], sources: NDArray[np.float64], radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the nearest source of each place within the radius (-1: none) and its distance in arcsec.

    places : (n, 3); sources : (m, 3) directions.
    """
    if not len(sources) or not len(places):
        return np.full(len(places), -1), np.full(len(places), np.nan)
    distance, index = cKDTree(sources).query(places, distance_upper_bound=chord(radius_arcsec) * (1 + 1e-12))
    found = np.isfinite(distance)
    separation = np.where(found, 2 * np.arcsin(np.where(found, distance, 0) / 2) * ARCSEC_PER_RADIAN, np.nan)
    return np.where(found, index, -1), separation


def _resolve(source: NDArray[np.int64], separation: NDArray[np.float64], names: list[str]) -> list[str]:
    best: dict[int, tuple[float, str]] = {}
    for index, distance, name in zip(source, separation, names, strict=True):
        claim = (float(distance), name)
        if index >= 0 and (index not in best or claim < best[index]):
            best[int(index)] = claim
    return [
        NO_SOURCE if index < 0 else MATCHED if best[int(index)][1] == name else TAKEN
        for index, name in zip(source, names, strict=True)
    ]
