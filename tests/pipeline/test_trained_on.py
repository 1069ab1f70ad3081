"""What an outside finder was trained on, as its author lists it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.errors import DataError, ParameterError
from modeling.scoring.card import FINDER
from pipeline.experiment.trainedon import LISTED, csv_text, read_listed, seen, seen_by
from pipeline.finders.audit import TrainedOn

ARCSEC = 1 / 3600
ROWS = pa.table(
    {
        "galaxy_id": ["ls-dr10:a_1", "ls-dr10:b_2", "ls-dr10:c_3", "ls-dr10:d_4", "ls-dr10:e_5"],
        "ra": [10.0, 0.0, 30.0, 40.0, 123.0],
        "dec": [0.0, 60.0, -89.9999, 5.0, 88.0],
    }
)


def listed(tmp_path: Path, text: str) -> pa.Table:
    (tmp_path / "list.csv").write_text(text)
    return read_listed(tmp_path / "list.csv")


def test_rows_are_matched_by_identifier_with_and_without_the_collection(tmp_path: Path) -> None:
    names = listed(tmp_path, "galaxy_id,other\nls-dr10:a_1,x\nc_3,y\nls-dr9:d_4,z\n")
    assert seen(names, ROWS, 1.0).tolist() == [True, False, True, False, False]


def test_rows_are_matched_within_the_radius_and_not_beyond(tmp_path: Path) -> None:
    east = 0.9 * ARCSEC / np.cos(np.radians(60.0))
    near = [(10, 0.9 * ARCSEC), (-east, 60), (210, -89.9999), (40, 5 + 1.1 * ARCSEC), (123 + 20 * ARCSEC, 88)]
    places = listed(tmp_path, "\n".join(["ra,dec", *(f"{ra:.9f},{dec:.9f}" for ra, dec in near)]))
    # Across RA 0; 0.7 arcsec across a pole; 1.1 arcsec away; 20 arcsec of RA near a pole are 0.7 arcsec.
    assert seen(places, ROWS, 1.0).tolist() == [True, True, True, False, True]
    assert seen(places, ROWS, 1.2).tolist() == [True, True, True, True, True]
    assert seen(places, ROWS, 0.5).tolist() == [False, False, False, False, False]


def test_a_row_may_have_either_and_what_has_neither_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = listed(tmp_path, "galaxy_id,ra,dec\na_1,,\n,40,5\n,,\nb_2,nan,95\n,10,nan\n")
    assert both.num_rows == 3
    assert seen(both, ROWS, 1.0).tolist() == [True, True, False, True, False]
    assert "2 of 5 rows of" in caplog.text
    assert "neither a galaxy_id nor a position" in caplog.text
    again = listed(tmp_path, csv_text(both))
    assert seen(again, ROWS, 1.0).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,x\na,1\n", r"must have a column galaxy_id, or ra and dec \(degrees\), got name, x"),
        ("ra,dec\n12:30:01,-5\n", "column ra of .* must hold numbers"),
        ("ra,dec\n400,5\n,\n", "none of the 2 rows of .* has a galaxy_id or a position"),
        ("", "cannot be read as a list of training objects"),
        ("ra,dec\n1,2,3\n", "cannot be read as a list of training objects"),
        ("galaxy_id\n", "none of the 0 rows of .* has a galaxy_id or a position"),
        ("galaxy_id,galaxy_id\na,b\n", "has columns of the same name: galaxy_id"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        listed(tmp_path, text)


def test_a_radius_is_one_of_an_object(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("galaxy_id\na_1\n")
    for radius in (0.0, 61.0, float("nan")):
        with pytest.raises(ParameterError, match="'within' must be above 0 and at most 60 arcsec"):
            TrainedOn(tmp_path / "list.csv", radius)


def test_what_a_finder_has_seen_is_unknown_without_a_list_and_measured_with_one(tmp_path: Path) -> None:
    (tmp_path / FINDER).write_text('{"finder": "a.b:c", "trained_within_arcsec": 2.0}')
    assert seen_by(tmp_path, ROWS).null_count == ROWS.num_rows
    (tmp_path / LISTED).write_text(f"galaxy_id,ra,dec\nb_2,,\n,10,{1.5 * ARCSEC}\n")
    assert seen_by(tmp_path, ROWS).to_pylist() == [True, True, False, False, False]


def test_identifiers_of_another_catalogue_do_not_measure_that_nothing_was_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FINDER).write_text('{"finder": "a.b:c"}')
    (tmp_path / LISTED).write_text("galaxy_id,ra,dec\nDES J0123,,\n8796,,\n")
    assert seen_by(tmp_path, ROWS).null_count == ROWS.num_rows
    assert "2 objects have only a galaxy_id, and none of these occurs in the manifest: leakage is not" in caplog.text
    (tmp_path / LISTED).write_text("galaxy_id,ra,dec\nDES J0123,,\n8796,10,0\n")
    assert seen_by(tmp_path, ROWS).to_pylist() == [True, None, None, None, None]
    (tmp_path / LISTED).write_text("galaxy_id,ra,dec\nDES J0123,200,5\n8796,201,5\n")
    assert seen_by(tmp_path, ROWS).to_pylist() == [False] * 5


def test_spaces_about_an_identifier_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / FINDER).write_text('{"finder": "a.b:c"}')
    (tmp_path / LISTED).write_text("galaxy_id\n b_2 \n")
    assert seen_by(tmp_path, ROWS).to_pylist() == [False, True, False, False, False]


def test_a_list_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("galaxy_id\na\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"list\.csv cannot be read as a list of training objects: "):
        read_listed(tmp_path / "list.csv")
