"""CSV files of users are read as they look, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.cutouts import judged
from lake.errors import DataError
from lake.files import usercsv


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\na,1,\nb,0,\n", "has 2 names in its first line, and more cells in the others: name every column"),
        ("id,label\n1,a,1\n2,b,0\n", "has 2 names in its first line, and more cells in the others"),
        ("id,label, id\na,1,2\n", "has columns of the same name: id"),
        ("id,label\na,1\nb,0,5\n", "cannot be read as a table: Error tokenizing data.*Expected 2 fields in line 3"),
        ("", "cannot be read as a table: No columns to parse from file"),
    ],
)
def test_cells_that_would_come_under_other_names_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        usercsv.read(tmp_path / "table.csv", "as a table")


def test_names_are_stripped_and_a_mark_of_the_byte_order_is_none_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("\ufeffid, label ,\na,1,\nb,0,\n")
    rows = usercsv.read(tmp_path / "table.csv", "as a table", dtype=str)
    assert rows["id"].to_list() == ["a", "b"]
    assert rows["label"].to_list() == ["1", "0"]


def test_a_file_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv cannot be read as a table: No such file or directory$"):
        usercsv.read(tmp_path / "gone.csv", "as a table")


def test_every_list_of_users_is_read_so(tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text("galaxy_id,verdict\n1,a,lens\n2,b,negative\n")
    with pytest.raises(DataError, match="has 2 names in its first line"):
        judged.read(tmp_path / "judged.csv")
