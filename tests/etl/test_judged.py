"""Lists of judged negatives: what a manifest leaves out, and what it marks as hard."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from etl.cutouts import judged
from lake.errors import DataError


def manifest() -> pa.Table:
    return pa.table(
        {
            "galaxy_id": ["lens", "n1", "n2", "n3", "n4"],
            "label": pa.array([1, 0, 0, 0, 0], pa.int32()),
            "split": ["train", "train", "val", "train", "test"],
            "hard_negative": [False] * 5,
        }
    )


def listed(folder: Path, text: str) -> Path:
    path = folder / "unclean.csv"
    path.write_text(text)
    return path


def test_negatives_are_left_out_unless_somebody_judged_them_to_be_negatives(tmp_path: Path) -> None:
    path = listed(tmp_path, "galaxy_id,verdict\nlens,lens\nn1,Negative \nn2,\nn4,unsure\nelsewhere,lens\n")
    kept = judged.without(manifest(), path)["galaxy_id"].to_pylist()
    assert kept == ["lens", "n1", "n3"], "a listed lens is no negative, and stays"


def test_training_negatives_on_a_list_are_hard(tmp_path: Path) -> None:
    path = listed(tmp_path, "galaxy_id,ra\nlens,1\nn1,1\nn2,1\nn4,1\n")
    made = judged.marked(manifest(), path)
    assert made.schema == manifest().schema
    assert made["hard_negative"].to_pylist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nn1\n", "must have a column galaxy_id, got name"),
        (
            "galaxy_id,verdict\nn1,maybe\n",
            "the verdict on n1 must be one of lens, unsure, negative or empty, got 'maybe'",
        ),
        ("galaxy_id\nn1\nn1\n", "lists n1 twice"),
        ("", "cannot be read as a list of galaxies"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        judged.read(listed(tmp_path, text))
    with pytest.raises(DataError, match="cannot be read"):
        judged.read(tmp_path / "absent.csv")
