"""Suspects and hard negatives of a finder, from its scores: listed once, shown with their stamps, verdicts kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.figures.judging import judging_page
from etl.cutouts.judged import VERDICTS
from lake.errors import DarkHaloError
from lake.root import DataRoot
from lake.sky.survey import SURVEY
from lake.store import delta
from pipeline.finders import judging
from pipeline.project import params
from pipeline.project.project import Project
from tests.pipeline.checkout import PROJECT, Checkout

ABOVE = 0.2


@pytest.fixture
def place(finished: Checkout, tmp_path: Path) -> Iterator[Project]:
    """The finished lake, with a place of its own for lists and pages."""
    project = params.load(finished.folder)
    for part in project.data.local.iterdir():
        (tmp_path / part.name).symlink_to(part)
    survey = {**project.values["survey"], "data_root": str(tmp_path)}
    return replace(project, values={**project.values, "survey": survey})


def test_suspects_are_the_negatives_above_and_keep_their_verdicts(place: Project) -> None:
    found = judging.suspects(place, "unclean", ["demo1"], ABOVE)
    scores = delta.read(place.data, "scores", slices=["demo1"]).to_pandas()
    expected = scores[(scores["label"] == 0) & (scores["probability"] > ABOVE)]
    rows = pd.read_csv(found.path, dtype={"verdict": str})
    assert set(rows["galaxy_id"]) == set(expected["galaxy_id"])
    assert found.waiting == found.rows == len(rows) > 3
    assert found.page is not None
    page = found.page.read_text()
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', page)) == len(rows)
    assert "http://" not in page

    rows.loc[:1, "verdict"] = ["lens", "negative"]
    rows.to_csv(found.path, index=False)
    stricter = float(rows["highest"].iloc[1]) - 1e-9
    again = judging.suspects(place, "unclean", ["demo1"], stricter)
    assert pd.read_csv(again.path)["verdict"].dropna().tolist() == ["lens", "negative"]
    assert again.waiting == again.rows - 2
    with pytest.raises(DarkHaloError, match="'name' must be one that no list with verdicts has"):
        judging.hard_negatives(place, "unclean", ["demo1"], ABOVE)


def test_what_was_judged_or_is_not_scored_any_more_stays_listed_in_numbers() -> None:
    facts = {"ra": [1.0], "dec": [0.0], "split": ["train"], "f": [0.9], "highest": [0.9], "viewer": [""]}
    found = pd.DataFrame({"galaxy_id": ["a"], **facts, "verdict": [""]})
    former = pd.DataFrame(
        {"galaxy_id": ["b", "c", "d"], "highest": ["0.5", "0.4", "0.6"], "verdict": ["negative", "", ""]}
    )
    both = judging._with_former(found, former, {"a", "b", "c"})
    assert both["galaxy_id"].tolist() == ["a", "b", "d"]
    assert both.sort_values("highest")["highest"].tolist() == [0.5, 0.6, 0.9]


def test_suspects_that_the_audit_manifest_leaves_out_wait_for_their_verdicts(place: Project) -> None:
    """The manifest leaves them out, so their scores go; the list and its page keep them all the same."""
    first = judging.suspects(place, "unclean", ["demo1"], ABOVE)
    listed = pd.read_csv(first.path)
    out, read = set(listed["galaxy_id"][:2]), delta.read

    def without(root: DataRoot, table: str, *given: object, **named: object) -> pa.Table:
        rows = read(root, table, *given, **named)  # type: ignore[arg-type]
        if table not in ("scores", "manifest"):
            return rows
        return rows.filter(pa.array([name not in out for name in rows["galaxy_id"].to_pylist()]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "read", without)
        again = judging.suspects(place, "unclean", ["demo1"], ABOVE)
    assert (again.rows, again.waiting) == (first.rows, first.waiting)
    rows = pd.read_csv(again.path)
    assert set(rows["galaxy_id"]) == set(listed["galaxy_id"])
    np.testing.assert_allclose(np.sort(rows["highest"]), np.sort(listed["highest"]))
    assert again.page is not None
    assert again.page.read_text().count('<img src="data:image/jpeg;base64,') == first.rows


def test_the_page_saves_the_whole_list_whatever_it_shows() -> None:
    listed = pd.DataFrame({"galaxy_id": ["a", "b"], "highest": [0.9, 0.5], "viewer": "", "verdict": ["", "lens"]})
    stamps = np.zeros((1, 3, 5, 5), np.float32)
    page = judging_page(listed, listed[:1], stamps, VERDICTS, SURVEY, "unclean")
    assert page.count("<figure>") == 1
    rows = json.loads(re.search(r"const rows = (.*);\n", page)[1])  # type: ignore[index]
    assert [(row["galaxy_id"], row["verdict"]) for row in rows] == [("a", ""), ("b", "lens")]


def test_a_list_is_not_replaced_by_one_of_the_other_kind(tmp_path: Path) -> None:
    project = params.load(PROJECT)
    project = replace(
        project, values={**project.values, "survey": {**project.values["survey"], "data_root": str(tmp_path)}}
    )
    project.data.judged.mkdir(parents=True)
    for name, content, make, sentence in (
        (
            "hard",
            "galaxy_id\na\n",
            judging.suspects,
            "'name' must be one that no list without verdicts has, got 'hard'",
        ),
        (
            "seen",
            "galaxy_id,verdict\na,lens\n",
            judging.hard_negatives,
            "'name' must be one that no list with verdicts",
        ),
        ("empty", "", judging.hard_negatives, r"empty\.csv cannot be read as a list of galaxies"),
        ("empty", "", judging.suspects, r"empty\.csv cannot be read as a list of galaxies"),
    ):
        path = project.data.judged / f"{name}.csv"
        path.write_text(content)
        with pytest.raises(DarkHaloError, match=sentence):
            make(project, name, ["demo1"], 0.5)
        assert path.read_text() == content


def test_hard_negatives_are_of_the_training_split(place: Project) -> None:
    found = judging.hard_negatives(place, "hard", ["demo1"], ABOVE)
    rows = pd.read_csv(found.path)
    assert set(rows["split"]) == {"train"}
    assert (rows["demo1"] > ABOVE).all()


@pytest.mark.parametrize(
    ("finders", "above", "word"), [(["demo9"], 0.5, "of"), ([], 0.5, "of"), (["demo1"], 1.0, "above")]
)
def test_questions_without_an_answer_are_refused(place: Project, finders: list[str], above: float, word: str) -> None:
    with pytest.raises(DarkHaloError, match=f"'{word}' must be"):
        judging.suspects(place, "unclean", finders, above)
