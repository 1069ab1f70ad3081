"""The match of listed candidates to sources."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from etl.catalogues import candidates
from lake import tables
from lake.contract import rules
from lake.tables.lens_candidates import AGAIN, MATCHED, NO_GRADE, NO_SOURCE, RAGGED, TAKEN, UNGRADED
from tests.etl.survey_files import SPLIT, params

ARCSEC = 1 / 3600


def listed(ra: list[float], dec: list[float], tier: str = "ABABABABAB") -> pa.Table:
    n = len(ra)
    tiers = [{"-": None}.get(each, each) for each in tier[:n]]
    return pa.table(
        {
            "candidate_id": [f"-@{i}" for i in range(n)],
            "name": ["-"] * n,
            "ra": ra,
            "dec": dec,
            "grading": tiers,
            "tier": pa.array(tiers, pa.string()),
            "z_lens": pa.nulls(n, pa.float64()),
            "z_lens_text": pa.nulls(n, pa.string()),
            "theta_e_arcsec": pa.nulls(n, pa.float64()),
            "reference": pa.nulls(n, pa.string()),
            "kind": pa.nulls(n, pa.string()),
            "fault": pa.array([None if each else NO_GRADE for each in tiers], pa.string()),
        }
    )


def near(ra: list[float], dec: list[float], kinds: list[str]) -> pa.Table:
    return pa.table({"galaxy_id": [f"g{i}" for i in range(len(ra))], "ra": ra, "dec": dec, "type": kinds})


def test_nearest_source_of_any_type_matches_and_the_nearer_candidate_wins() -> None:
    places = listed([0.0, 359.99972, 10.0, 20.0], [0.0, 0.0, 0.0, 89.9999])
    sources = near([0.0001, 10.0, 10.0, 200.0], [0.0, 2 * ARCSEC, 3.5 * ARCSEC, 89.9999], ["PSF", "DUP", "SER", "SER"])
    made = candidates.match(places, sources, params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [MATCHED, TAKEN, NO_SOURCE, MATCHED]
    assert made["galaxy_id"].to_pylist() == ["g0", None, None, "g3"]
    np.testing.assert_allclose(made["separation_arcsec"][0].as_py(), 0.36, atol=1e-5)
    assert made["tier"].to_pylist() == ["A", "B", "A", "B"]
    rules.require(tables.spec("lens_candidates"), made)


def test_no_sources_at_all() -> None:
    made = candidates.match(listed([1.0, 2.0], [0.0, 0.0]), near([], [], []), params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [NO_SOURCE] * 2


def test_the_better_grade_of_one_position_wins_and_then_the_better_grade_of_one_source() -> None:
    """0 and 1 are one position (0.5" apart), graded B and A; 2 and 3 are two (1.5" apart) whose source is one."""
    places = listed([0.0, 0.5 * ARCSEC, 10.0, 10.0 + 1.5 * ARCSEC], [0.0] * 4, "BABA")
    made = candidates.match(places, near([0.0, 10.0], [0.0, 0.0], ["SER", "DEV"]), params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [AGAIN, MATCHED, TAKEN, MATCHED]
    assert made["galaxy_id"].to_pylist() == [None, "g0", None, "g1"]
    rules.require(tables.spec("lens_candidates"), made)


def test_a_chain_of_near_positions_is_not_one_candidate() -> None:
    """Three positions 0.8" apart: the middle one repeats the first, the last repeats neither."""
    places = listed([0.0, 0.8 * ARCSEC, 1.6 * ARCSEC], [0.0] * 3, "ABB")
    made = candidates.match(places, near([], [], []), params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [NO_SOURCE, AGAIN, NO_SOURCE]


def test_an_ungraded_position_takes_no_source_from_a_graded_one() -> None:
    places = listed([0.0, 0.1 * ARCSEC], [0.0, 0.0], "-B")
    made = candidates.match(places, near([0.0], [0.0], ["SER"]), params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [NO_GRADE, MATCHED]
    rules.require(tables.spec("lens_candidates"), made)


def test_ungraded_positions_are_matched_apart_the_nearest_first() -> None:
    """0 and 1 have one source, 2 has none, 3 fits no header and is never matched."""
    places = listed([0.0, 0.2 * ARCSEC, 10.0, 20.0], [0.0] * 4, "----")
    fault = pa.array([NO_GRADE] * 3 + [RAGGED])
    places = places.set_column(places.column_names.index("fault"), "fault", fault)
    sources = near([0.15 * ARCSEC, 20.0], [0.0, 0.0], ["SER", "SER"])
    made = candidates.match(places, sources, params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [NO_GRADE, UNGRADED, NO_GRADE, RAGGED]
    assert made["galaxy_id"].to_pylist() == [None, "g0", None, None]
    assert made["tier"].null_count == 4
    rules.require(tables.spec("lens_candidates"), made)
