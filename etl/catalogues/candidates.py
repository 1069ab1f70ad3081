"""The match of listed lens candidates to Tractor sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from etl.config import CandidatesParams
from etl.files.candidatelist import LISTED
from lake import tables
from lake.config import SplitParams
from lake.sky.healpix import pixel
from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, unit_vectors
from lake.sky.split import split_of
from lake.tables.lens_candidates import AGAIN, MATCHED, NO_GRADE, NO_SOURCE, TAKEN, UNGRADED

Rank = tuple[str | None, str]
"""Tier and identifier of a candidate."""
_LAST = "none"
"""Ranks after every tier."""


def match(listed: pa.Table, near: pa.Table, params: CandidatesParams, split: SplitParams) -> pa.Table:
    """``lens_candidates`` rows: each listed candidate with its nearest source, or why there is none.

    Of positions within ``same_position_arcsec`` the best-graded one counts; a source that is nearest to two candidates
    goes to the better-graded one, then to the nearer. Sources that are then free go to the nearest positions without an
    accepted grade. ``near`` is ``tractor_near_candidates``.
    """
    ra, dec = (listed.column(n).to_numpy() for n in ("ra", "dec"))
    measured = np.array([kind not in params.unmatchable_types for kind in near.column("type").to_pylist()], dtype=bool)
    places = unit_vectors(ra, dec)
    sources = unit_vectors(*(near.column(n).to_numpy()[measured] for n in ("ra", "dec")))
    source, separation = nearest(places, sources, params.match_radius_arcsec)
    ids = np.array(near.column("galaxy_id").to_pylist(), dtype=object)[measured]
    rank = list(zip(listed.column("tier").to_pylist(), listed.column("candidate_id").to_pylist(), strict=True))
    repeats = repeated(places, rank, params.same_position_arcsec)
    faults = listed.column("fault").to_pylist()
    fault = [why or (AGAIN if again else None) for why, again in zip(faults, repeats, strict=True)]
    reason = _resolve(source, separation, rank, fault)
    matched = [why in (MATCHED, UNGRADED) for why in reason]
    healpix_128 = pixel(ra, dec, 128)
    columns = {
        **{n: listed.column(n) for n in LISTED},
        "galaxy_id": [ids[s] if ok else None for s, ok in zip(source, matched, strict=True)],
        "separation_arcsec": [round(float(d), 6) if ok else None for d, ok in zip(separation, matched, strict=True)],
        "match_reason": reason,
        "healpix_64": pixel(ra, dec, 64),
        "healpix_128": healpix_128,
        "split": split_of(healpix_128, split).tolist(),
    }
    return pa.table(columns, schema=tables.spec("lens_candidates").row_schema())


def repeated(places: NDArray[np.float64], rank: Sequence[Rank], radius_arcsec: float) -> list[bool]:
    """Whether each graded position (n, 3) repeats one within the radius that ranks before it and is kept."""
    again = [False] * len(places)
    graded = [index for index, (tier, _) in enumerate(rank) if tier is not None]
    tree = cKDTree(places[graded]) if graded else None
    for index in sorted(graded, key=lambda each: rank[each]):
        if tree is not None and not again[index]:
            for other in tree.query_ball_point(places[index], chord(radius_arcsec)):
                again[graded[other]] |= graded[other] != index and rank[graded[other]] > rank[index]
    return again


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


def _resolve(
    source: NDArray[np.int64], separation: NDArray[np.float64], rank: Sequence[Rank], fault: Sequence[str | None]
) -> list[str]:
    best: dict[int, tuple[str, float, str]] = {}
    claims = [(tier or _LAST, float(far), name) for (tier, name), far in zip(rank, separation, strict=True)]
    for index, claim, why in zip(source.tolist(), claims, fault, strict=True):
        if index >= 0 and why in (None, NO_GRADE) and (index not in best or claim < best[index]):
            best[index] = claim
    won = [index >= 0 and best.get(index) == claim for index, claim in zip(source.tolist(), claims, strict=True)]
    return [
        (UNGRADED if own and why == NO_GRADE else why) or (NO_SOURCE if index < 0 else MATCHED if own else TAKEN)
        for index, own, why in zip(source.tolist(), won, fault, strict=True)
    ]
