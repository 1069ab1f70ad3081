"""The candidate list and its match to Tractor sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from etl import candidates
from etl.candidates import MATCHED, NO_SOURCE, TAKEN
from lake import contract, tables
from lake.errors import DataError
from pipeline.context import with_lineage
from tests.etl.survey_files import SPLIT, params

HEADING = "name,ra,dec,zlens,type,grading,ref\n"


def write(folder: Path, text: str) -> candidates.CandidateList:
    path = folder / "candidates.csv"
    path.write_text(text)
    return candidates.read_list(path)


def listed(ra: list[float], dec: list[float]) -> pa.Table:
    n = len(ra)
    return pa.table(
        {
            "name": [f"c{i}" for i in range(n)],
            "ra": ra,
            "dec": dec,
            "grading": [("confident", "probable")[i % 2] for i in range(n)],
            "z_lens": pa.nulls(n, pa.float64()),
            "reference": pa.nulls(n, pa.string()),
        }
    )


def near(ra: list[float], dec: list[float], kinds: list[str]) -> pa.Table:
    return pa.table({"galaxy_id": [f"g{i}" for i in range(len(ra))], "ra": ra, "dec": dec, "type": kinds})


def test_bad_rows_are_told_apart_and_good_ones_kept(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        HEADING
        + "a,1.5,2.5,-,galaxy,confident,Ref 1\n,1,2,-,galaxy,confident,R\nb,x,2,-,galaxy,confident,R\n"
        + "c,1,91,-,galaxy,confident,R\nd,1,2,-,galaxy,perhaps,R\na,1,2,0.5,galaxy,probable,R\ne,nan,2,-,g,probable,R\n"
        + "f,359.9,-2,0.7,group,probable,\n",
    )
    assert found.rows.drop_columns(["row_index"]).to_pylist() == [
        {"name": "a", "ra": 1.5, "dec": 2.5, "grading": "confident", "z_lens": None, "reference": "Ref 1"},
        {"name": "f", "ra": 359.9, "dec": -2.0, "grading": "probable", "z_lens": 0.7, "reference": None},
    ]
    reasons = dict(zip(found.rejected["row_index"].to_pylist(), found.rejected["reason"].to_pylist(), strict=True))
    assert reasons[1] == "'name' must be given"
    assert reasons[2] == reasons[3] == reasons[6] == "coordinates must be numbers in [0, 360] and [-90, 90]"
    assert reasons[4] == "'grading' must be one of confident, probable"
    assert reasons[5] == "duplicate key (name)"
    quarantine = candidates.quarantined(found, "candidates.csv")
    contract.require(tables.spec("quarantine"), with_lineage(quarantine))


@pytest.mark.parametrize("text", ["", "name,ra,dec\na,1,2\n", HEADING])
def test_a_file_that_is_no_list_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="has no rows or lacks the columns"):
        write(tmp_path, text)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "candidates.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="cannot be read"):
        candidates.read_list(tmp_path / "candidates.csv")


def test_real_lists(real_data: Path) -> None:
    desi = candidates.read_list(real_data / "catalogues" / "desi_candidates.csv")
    grades = desi.rows["grading"].to_pylist()
    assert (desi.rows.num_rows, grades.count("confident"), desi.rejected.num_rows) == (5104, 435, 0)
    whole = candidates.read_list(real_data / "catalogues" / "lenscat_1.1.3" / "catalog.csv")
    assert whole.rows.num_rows + whole.rejected.num_rows == 32_838


def test_nearest_source_of_any_type_matches_and_the_nearer_candidate_wins() -> None:
    step = 1 / 3600
    places = listed([0.0, 359.99972, 10.0, 20.0], [0.0, 0.0, 0.0, 89.9999])
    sources = near([0.0001, 10.0, 10.0, 200.0], [0.0, 2 * step, 3.5 * step, 89.9999], ["PSF", "DUP", "SER", "SER"])
    made = candidates.match(places, sources, params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [MATCHED, TAKEN, NO_SOURCE, MATCHED]
    assert made["galaxy_id"].to_pylist() == ["g0", None, None, "g3"]
    np.testing.assert_allclose(made["separation_arcsec"][0].as_py(), 0.36, atol=1e-5)
    assert made["tier"].to_pylist() == ["A", "B", "A", "B"]
    contract.require(tables.spec("lens_candidates"), with_lineage(made))


def test_no_sources_at_all() -> None:
    made = candidates.match(listed([1.0, 2.0], [0.0, 0.0]), near([], [], []), params("candidates"), SPLIT)
    assert made["match_reason"].to_pylist() == [NO_SOURCE] * 2
