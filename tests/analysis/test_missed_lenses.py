"""Missed against found lenses, and the rows of the table of test lenses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from analysis.diagnostics.missed_lenses import TABLE, Params, diagnose, missed_lenses
from analysis.diagnostics.subject import Subject
from analysis.reporting.found import lens_view
from analysis.results.testlenses import lens_rows, plain_rows, programmes, properties
from lake import tables
from lake.contract import rules
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import fixed, measure, status

PARAMS = Params.model_construct(
    missed_threshold="p0.3", missed_least=5, missed_p=0.05, anchor_lenses={"SLACS": "SLACS"}
)
POINT = fixed(np.linspace(0.0, 1.0, 100))


def lenses(n: int = 120, effect: float = 2.0):
    """Lenses that are missed where seeing is bad."""
    rng = np.random.default_rng(2)
    seeing = rng.uniform(0.9, 1.8, n)
    score = 0.2 - effect * (seeing - 1.3) * 2 + rng.normal(size=n)
    objects = pd.DataFrame(
        {
            "galaxy_id": [f"g{i}" for i in range(n)], "ra": rng.uniform(0, 9, n), "dec": rng.uniform(0, 9, n),
            "tier": np.where(np.arange(n) % 4 == 0, "A", "B"), "type_bin": "SER", "nobs_z_bin": "3-5", "label": 1,
            "split": "test", "psfsize_r": seeing, "psfdepth_r": rng.uniform(50, 400, n), "score": score,
            "probability": expit(score),
        }
    )  # fmt: skip
    listed = pd.DataFrame(
        {
            "galaxy_id": objects["galaxy_id"], "name": [f"lens {i}" for i in range(n)], "z_lens": 0.4,
            "reference": ["SLACS paper" if i < 20 else None for i in range(n)], "grading": "confident",
            "theta_e_arcsec": [1.0 + i / n if i % 2 else np.nan for i in range(n)], "mag_r": rng.normal(19, 1, n),
            "g_minus_r": rng.normal(1.2, 0.2, n), "r_minus_z": rng.normal(0.7, 0.1, n), "shape_r": rng.uniform(1, 3, n),
            "sersic": np.nan,
        }
    )  # fmt: skip
    return objects, listed


def test_missed_lenses_are_compared_as_independent_code_does():
    rows = lens_rows(*lenses(), SURVEY, POINT).assign(anchor=None)
    outcome = missed_lenses(rows, SURVEY, PARAMS)
    missed = rows["missed"].to_numpy(bool)
    assert measure(outcome, "missed_lenses/missed/p0.3").value == pytest.approx(missed.mean())
    seeing = measure(outcome, "missed_lenses/psfsize_r")
    assert seeing.value == pytest.approx(roc_auc_score(missed, rows["psfsize_r"]))
    raw = {
        name: stats.mannwhitneyu(
            *(rows.loc[part & rows[name].notna(), name].astype(float) for part in (missed, ~missed))
        )
        for name in properties(SURVEY)
        if rows[name].notna().any()
    }
    adjusted = dict(zip(raw, multipletests([test.pvalue for test in raw.values()], method="holm")[1], strict=True))
    for name, p in adjusted.items():
        assert measure(outcome, f"missed_lenses/{name}/p").value == pytest.approx(p)
    assert status(outcome, "missed_lenses") == "WARN"
    assert "larger seeing" in outcome.findings[0].text
    unknown = measure(outcome, "missed_lenses/sersic")
    assert np.isnan(unknown.value)
    assert unknown.method.startswith("not measurable: only 0 missed")
    assert measure(outcome, "missed_lenses/sersic/p").method == unknown.method


def test_without_a_difference_nothing_is_claimed():
    rows = lens_rows(*lenses(effect=0.0), SURVEY, POINT).assign(anchor=None)
    outcome = missed_lenses(rows, SURVEY, PARAMS)
    assert status(outcome, "missed_lenses") == "PASS"
    assert "none of their properties differs measurably" in outcome.findings[0].text


def test_few_missed_lenses_are_named_but_not_compared():
    objects, listed = lenses()
    objects["probability"] = np.where(np.arange(120) < 3, 0.1, 0.9)
    outcome = missed_lenses(lens_rows(objects, listed, SURVEY, POINT).assign(anchor=None), SURVEY, PARAMS)
    assert status(outcome, "missed_lenses") == "NOT MEASURED"
    assert "3 of 120 listed test lenses are missed" in outcome.findings[0].text
    assert len(outcome.arrays[TABLE]) == 120


def test_rows_meet_the_contract_of_the_table():
    objects, listed = lenses()
    listed = listed[listed["galaxy_id"] != "g7"]
    rows = lens_rows(objects, listed, SURVEY, POINT)
    rows["anchor"] = programmes(rows["name"], rows["reference"], PARAMS.anchor_lenses)
    where = {"checkpoint_id": "c", "generation": "demo1", "matched_rank": None, "matched_injections": None}
    spec = tables.spec("test_lenses")
    made = spec.table([where | row for row in plain_rows(rows)])
    rules.require(spec, made)
    by_id = {row["galaxy_id"]: row for row in made.to_pylist()}
    assert by_id["g7"]["name"] is None
    assert by_id["g3"]["missed"] == (not objects["probability"][3] > 0.3)
    assert by_id["g0"]["theta_e_arcsec"] is None
    assert sum(row["anchor"] == "SLACS" for row in by_id.values()) == 19


def test_the_report_lists_them_the_missed_ones_first(inputs):
    rows = lens_rows(*lenses(), SURVEY, POINT).assign(matched_rank=0.5)
    item = dataclasses.replace(inputs.generations[0], name="demo1", test_lenses=rows)
    view = lens_view(dataclasses.replace(inputs, generations=[item], headline="demo1"))
    cells = [dict(zip(view.headers, row, strict=True)) for row in view.rows]
    assert len(cells) == 120
    assert cells[0]["outcome"] == "missed"
    assert cells[-1]["outcome"] == "found"
    assert cells[0]["lens"] == rows.loc[rows["probability"].idxmin(), "name"]
    assert "missed below p0.3" in view.caption
    assert lens_view(inputs) is None, "a finder without such rows has no table"
    assert lens_view(dataclasses.replace(inputs, headline="another")) is None


def test_a_survey_without_a_list_or_a_threshold_has_rows_all_the_same():
    objects, _ = lenses()
    nothing = pd.DataFrame()
    subject = Subject(nothing, objects, nothing, nothing, (POINT,), SURVEY, (0, 0, 1), 1, PARAMS, None, None)
    outcome = diagnose(dataclasses.replace(subject, listed=pd.DataFrame({"galaxy_id": []})), PARAMS)
    assert outcome.arrays[TABLE]["name"].isna().all()
    without = diagnose(dataclasses.replace(subject, thresholds=(), listed=pd.DataFrame({"galaxy_id": []})), PARAMS)
    assert status(without, "missed_lenses") == "NOT MEASURED"
    assert without.arrays[TABLE]["missed"].isna().all()
    empty = dataclasses.replace(subject, objects=objects.head(0), listed=pd.DataFrame({"galaxy_id": []}))
    assert status(diagnose(empty, PARAMS), "missed_lenses") == "NOT MEASURED"
