"""Spectroscopic lenses and known contaminants: the reference's own numbers, and real entries of a published list."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.diagnostics.anchors import Params, anchors
from analysis.results.testlenses import programmes
from tests.analysis.outcomes import measure, status

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = yaml.safe_load((ROOT / "params/base.yaml").read_text())["diagnose"]["anchor_lenses"]
PARAMS = Params.model_construct(
    anchor_lenses=PATTERNS,
    anchor_contaminants=Params.model_fields["anchor_contaminants"].default,
    anchor_thresholds=(0.5, 0.7, 0.9),
    anchor_recall_min=0.5,
    anchor_contamination_max=0.2,
)


def reference() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Its sim-gen2: 2, 1 and 0 of 68 lenses, and 1 of 14 contaminants (a merger at 0.991)."""
    probability = np.r_[[0.8, 0.6], np.full(66, 0.2), [0.991], np.full(13, 0.29)]
    objects = pd.DataFrame(
        {"galaxy_id": [f"g{i}" for i in range(82)], "label": [1] * 68 + [0] * 14, "probability": probability}
    )
    listed = pd.DataFrame(
        {
            "galaxy_id": objects["galaxy_id"],
            "name": [f"SDSSJ{i}" for i in range(82)],
            "reference": ["Bolton et al. (2008) - arXiv:0805.1931"] * 48
            + ["Brownstein et al. (2011) - arXiv:1112.3683"] * 20
            + [None] * 14,
            "grading": [None] * 68 + ["merger"] * 7 + ["ring"] * 7,
        }
    )
    return objects, listed


def test_the_references_anchors():
    outcome = anchors(*reference(), PARAMS)
    recall = [measure(outcome, f"anchors/recall/{at}").value for at in ("p0.5", "p0.7", "p0.9")]
    assert recall == pytest.approx([2 / 68, 1 / 68, 0.0])
    assert measure(outcome, "anchors/contamination/p0.5").value == pytest.approx(1 / 14)
    assert status(outcome, "anchors/recall") == "FAIL"
    assert status(outcome, "anchors/contamination") == "BORDERLINE", "1 of 14 does not exclude 20 %"
    assert status(outcome, "anchors/order") == "WARN"
    assert "contaminants outscore lenses (chance 0.97 [" in outcome.findings[0].text
    assert {point.series for point in outcome.points if point.figure == "anchors/scores"} == {
        "SLACS", "BELLS", "contaminants",
    }  # fmt: skip


def test_scores_that_failed_are_in_no_rate():
    objects, listed = reference()
    objects.loc[[0, 5, 81], "probability"] = np.nan
    outcome = anchors(objects, listed, PARAMS)
    recall, contamination = (measure(outcome, f"anchors/{what}/p0.5") for what in ("recall", "contamination"))
    assert (recall.value, recall.n) == (pytest.approx(1 / 66), 66)
    assert (contamination.value, contamination.n) == (pytest.approx(1 / 13), 13)
    assert status(outcome, "anchors/order") == "WARN"


def test_without_anchors_nothing_is_measured_and_the_reason_says_what_to_do():
    objects, listed = reference()
    outcome = anchors(objects, listed.assign(reference="Simulated sky", grading="probable"), PARAMS)
    assert {gate.status for gate in outcome.gates} == {"NOT MEASURED"}
    assert np.isnan(measure(outcome, "anchors/recall/p0.5").value)
    assert "SLACS" in measure(outcome, "anchors/recall/p0.5").method
    assert "set of cut-outs" in measure(outcome, "anchors/contamination/p0.5").method
    assert anchors(objects, pd.DataFrame({"galaxy_id": []}), PARAMS).gates[0].status == "NOT MEASURED"
    seen = anchors(objects, listed, PARAMS, "refused: 68 of 68 test lenses were trained or selected on")
    assert {gate.status for gate in seen.gates} == {"NOT MEASURED"}


def test_contaminants_may_be_named_by_a_column_of_a_set_of_cutouts():
    objects, listed = reference()
    listed = listed.assign(kind=listed["grading"], grading=None)
    assert measure(anchors(objects, listed, PARAMS), "anchors/contamination/p0.5").value == pytest.approx(1 / 14)


@pytest.mark.parametrize(("word", "bad"), [("ring", True), ("Mergers", True), ("probable", False), ("during", False)])
def test_which_grades_are_contaminants(word, bad):
    objects, listed = reference()
    listed["grading"] = word
    found = measure(anchors(objects, listed, PARAMS), "anchors/contamination/p0.5")
    assert (found.n == 82) == bad


def test_entries_of_a_published_list_are_recognised(real_data):
    with (real_data / "catalogues" / "lenscat_1.1.3" / "catalog.csv").open(encoding="utf-8") as file:
        rows = pd.DataFrame(list(csv.DictReader(file)))
    found = programmes(rows["name"], rows["ref"], PATTERNS).value_counts()
    assert 100 <= found["SLACS"] <= 200
    assert 20 <= found["BELLS"] <= 60
    assert found["SL2S"] >= 10
    slacs = rows[programmes(rows["name"], rows["ref"], PATTERNS) == "SLACS"]
    assert slacs["name"].str.contains("J0029-0055").any()


def test_the_order_of_programmes_in_the_parameters_does_not_matter():
    """Neither for an entry that two of them match, nor for the words of a finding."""
    objects, listed = reference()
    turned = dict(reversed(PATTERNS.items()))
    names = pd.Series(["a", "b"])
    references = pd.Series(["0805.1931 1307.4759", "1112.3683"])
    assert (
        list(programmes(names, references, PATTERNS))
        == list(programmes(names, references, turned))
        == ["SL2S", "BELLS"]
    )
    few = objects[objects["label"] == 0], listed
    said = [anchors(*few, PARAMS.model_copy(update={"anchor_lenses": each})) for each in (PATTERNS, turned)]
    assert said[0] == said[1]


def test_a_lists_objects_without_an_accepted_grade_are_contaminants_where_it_says_so():
    """Rings and mergers count by grade or type; not weak candidates, nor what the finder has seen or may overlap."""
    objects, listed = reference()
    lenses = objects[:68], listed[:68].assign(kind="Einstein ring")
    n = 16
    ungraded = pd.DataFrame(
        {
            "galaxy_id": [f"u{i}" for i in range(n)],
            "probability": [0.95, 0.8, 0.6] + [0.1] * 9 + [0.99] * 4,
            "grading": ["rejected"] * 8 + ["merger"] * 4 + ["C", "C", "rejected", "rejected"],
            "kind": ["ring galaxy"] * 12 + ["galaxy", "Einstein ring", "merger", "merger"],
            "seen_in_training": pd.array([None] * 14 + [True, None], dtype="boolean"),
            "shares_pixels": [False] * 15 + [True],
        }
    )
    outcome = anchors(*lenses, PARAMS, None, ungraded)
    found = [measure(outcome, f"anchors/contamination/{at}") for at in ("p0.5", "p0.7", "p0.9")]
    assert [one.n for one in found] == [12] * 3
    assert [one.value for one in found] == pytest.approx([3 / 12, 2 / 12, 1 / 12])
    assert all(one.low < one.value < one.high for one in found)
    assert measure(outcome, "anchors/recall/p0.5").n == 68, "an Einstein ring by type is a lens"
    assert status(outcome, "anchors/contamination") == "BORDERLINE"
    few = anchors(*lenses, PARAMS, None, ungraded[:9])
    assert "9 known contaminants" in measure(few, "anchors/contamination/p0.5").method
