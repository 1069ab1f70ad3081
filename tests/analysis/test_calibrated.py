"""Calibrators of a finder: their fold, what is stored, what is measured, and the view that applies them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve

from analysis.figures.reliability import reliability_by_stratum
from analysis.results import calibrated as module
from analysis.results.calibrated import CROSSED, KEPT, calibrated, probabilities
from analysis.results.evaluation import reliability_points
from analysis.statistics.calibration import calibration_error, reliability
from analysis.statistics.calibrators import METHODS, fitted, shifted
from lake import tables
from lake.root import DataRoot
from lake.store import writing
from lake.store.query import query
from lake.store.writing import Provenance, Target
from tests.analysis.report_inputs import EVALUATE

PARAMS = EVALUATE.model_copy(update={"sky_lens_share": 0.01})


def scores(lenses_kept=True, count=1200):
    """A finder that is overconfident: of its lenses and negatives a part is kept for calibration, a part is tested."""
    rng = np.random.default_rng(0)
    label = (np.arange(count) < count // 3).astype(int)
    score = 2.5 * (rng.normal(size=count) * 1.5 + 3.0 * label - 2.0)
    use = np.where(label == 1, None, np.array(["threshold", "host", "test"])[np.arange(count) % 3])
    kept = (np.arange(count) % 2 == 0) & lenses_kept
    split = np.where(label == 1, np.where(kept, "val", "test"), np.where(use == "test", "test", "val"))
    frame = {"galaxy_id": [f"g{i:04d}" for i in range(count)], "label": label, "score": score, "split": split}
    frame |= {"probability": expit(score), "negative_use": use, "trained_on": False, "seen_in_training": False}
    return pd.DataFrame(frame)


def named(found, name):
    return named_in(found.measures, name)


def named_in(measures, name):
    return next(one for one in measures if one.name == name)


def test_the_fold_holds_no_test_object_and_no_host(monkeypatch):
    rows = scores()
    given = []
    monkeypatch.setattr(module, "fitted", lambda method, y, s: given.append(set(s)) or fitted(method, y, s))
    found = calibrated(rows, PARAMS)
    fold = rows[(rows["split"] == "val") & (rows["negative_use"] != "host")]
    assert given == [set(fold["score"])] * len(METHODS)
    assert {row["fold"] for row in found.rows} == {KEPT}
    for row in found.rows:
        assert (row["lenses"], row["negatives"]) == (200, len(fold) - 200)
        assert row["holds_at"] == pytest.approx(200 / len(fold))
        assert row["sky_share"] == 0.01
        assert row["reason"] is None
    assert [row["steps"] is not None for row in found.rows] == [method == "isotonic" for method in METHODS]
    assert len(json.loads(found.rows[-1]["steps"])[0]) == 2


def test_what_it_trained_on_is_not_in_the_fold():
    rows = scores()
    rows.loc[rows["galaxy_id"].isin(["g0000", "g0402"]), "trained_on"] = True
    before, after = (calibrated(each, PARAMS).rows[0] for each in (scores(), rows))
    assert after["lenses"] == before["lenses"] - 1
    assert after["negatives"] == before["negatives"] - (rows["negative_use"][402] == "threshold")


@pytest.mark.parametrize("lenses_kept", [True, False])
def test_probabilities_of_the_test_split_become_right(lenses_kept):
    """Also where every lens is tested: each is calibrated without itself, and the raw ones are wrong."""
    rows = scores(lenses_kept, 9000)
    found = calibrated(rows, PARAMS)
    assert found.rows[0]["fold"] == (KEPT if lenses_kept else CROSSED)
    tested = rows[rows["split"] == "test"]
    curve = reliability(tested["label"], tested["probability"], 15, 0.95)
    raw = calibration_error(curve, curve.count)
    for method in ("platt", "beta"):
        assert named(found, f"calibrated/{method}/cox_slope").value == pytest.approx(1.0, abs=0.2)
        assert named(found, f"calibrated/{method}/expected_over_observed").value == pytest.approx(1.0, abs=0.1)
        assert named(found, f"calibrated/{method}/ece").value < 0.5 * raw
    assert named(found, "calibrated/platt/ece").n == int((rows["split"] == "test").sum())


def test_a_lens_is_not_calibrated_with_itself():
    """Where all lenses are tested, one like no other changes all probabilities but those of its own part."""
    rows, method = scores(False), "platt"
    fold, _ = module._fold(rows)
    tested = rows[rows["split"] == "test"].reset_index(drop=True)
    plain = module._without_own(method, fold, tested)
    wrong = fold.copy()
    wrong.loc[wrong["galaxy_id"] == "g0003", "score"] = -60.0
    moved = module._without_own(method, wrong, tested) != plain
    part = np.array([int(name[1:]) % 5 == 3 and int(name[1:]) < 400 for name in tested["galaxy_id"]])
    assert not moved[part].any()
    assert moved[(tested["label"] == 1).to_numpy() & ~part].all()


def test_too_few_or_separable_objects_give_a_reason_and_no_number():
    rows = scores()
    few = rows[~((rows["split"] == "val") & (rows["label"] == 1)) | (rows.index < 10)]
    found = calibrated(few, PARAMS)
    assert found.rows[0]["reason"].startswith("not measurable with 5 lenses and 266 negatives, needs 10 of each")
    assert named(found, "calibrated/platt/log_loss").method == found.rows[0]["reason"]
    apart = rows.assign(score=np.where(rows["label"] == 1, 3.0 + rows["score"].abs(), -1.0))
    assert "do not overlap" in calibrated(apart, PARAMS).rows[1]["reason"]


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_calibrator_gives_the_probabilities_of_the_fitted_one(method):
    rows, logits = scores(), np.linspace(-9.0, 9.0, 50)
    stored = pd.DataFrame(calibrated(rows, PARAMS).rows).assign(checkpoint_id="c")
    fold, _ = module._fold(rows)
    known = fitted(method, fold["label"], fold["score"])
    found = probabilities(logits, stored, "c", method)
    np.testing.assert_allclose(found["calibrated"], known.apply(logits), rtol=1e-12)
    np.testing.assert_allclose(found["sky_probability"], shifted(known.apply(logits), known.share, 0.01), rtol=1e-12)
    assert (found["holds_at"].unique(), found["sky_share"].unique()) == (known.share, 0.01)
    undeclared = probabilities(logits, stored.assign(sky_share=None), "c", method)
    assert undeclared["calibrated"].equals(found["calibrated"])
    assert undeclared[["sky_probability", "sky_share"]].isna().all(axis=None)


def test_without_a_calibrator_of_this_checkpoint_there_is_no_probability():
    stored = pd.DataFrame(calibrated(scores(), PARAMS).rows).assign(checkpoint_id="c")
    for rows, name in ((stored, "another"), (stored.assign(holds_at=None), "c"), (pd.DataFrame(), "c")):
        assert probabilities([0.0, 1.0], rows, name, "platt").isna().all(axis=None)


def test_reliability_by_stratum_is_that_of_its_objects():
    rows = scores().assign(type_bin=np.array(["SER", "DEV", "few"])[np.minimum(np.arange(1200) % 40, 2)])
    rows.loc[rows["type_bin"] == "few", "type_bin"] = "REX"
    rows.loc[:4, "type_bin"] = "few"
    tested = rows[rows["split"] == "test"]
    found = pd.DataFrame(calibrated(rows.drop(columns="type_bin"), PARAMS, tested).points)
    raw = pd.DataFrame(reliability_points(tested, tested["probability"], PARAMS, "calibration"))
    assert set(raw["figure"]) == {"calibration/reliability", "calibration/reliability/type_bin"}
    assert set(raw.loc[raw["figure"].str.endswith("type_bin"), "series"]) == {"REX"}, "the others have too few lenses"
    for figures, p, start in ((raw, tested["probability"], "calibration"), (found, None, "calibrated/platt")):
        curve = figures[(figures["figure"] == f"{start}/reliability/type_bin") & (figures["series"] == "REX")]
        held = (tested["type_bin"] == "REX").to_numpy()
        if p is None:
            fold, _ = module._fold(rows)
            map_ = fitted("platt", fold["label"], fold["score"])
            p = shifted(map_.apply(tested["score"]), map_.share, float(tested["label"].mean()))
        share, mean = calibration_curve(tested["label"][held], np.asarray(p)[held], n_bins=5)
        np.testing.assert_allclose(curve["x"], mean)
        np.testing.assert_allclose(curve["y"], share)
        assert curve["n"].sum() == held.sum()
        assert (curve["low"] <= curve["y"]).all()
    kinds = {"raw": "calibration/reliability", "platt": "calibrated/platt/reliability"}
    shown = pd.concat([raw, found])[lambda rows: rows["figure"].str.endswith("/type_bin")]
    assert "Reliability by stratum (Tractor type): raw, platt" in str(reliability_by_stratum(kinds, shown))


@pytest.mark.parametrize("method", METHODS)
def test_every_calibrator_has_its_error_in_each_stratum_with_enough_objects(method):
    rows = scores().assign(type_bin=np.where(np.arange(1200) // 2 % 2 == 0, "SER", "DEV"))
    rows.loc[rows["galaxy_id"].isin(rows["galaxy_id"][rows["split"] == "test"][:3]), "type_bin"] = "few"
    tested = rows[rows["split"] == "test"]
    found = calibrated(rows.drop(columns="type_bin"), PARAMS, tested).measures
    names = [one.name for one in found if one.name.startswith("stratum/") and f"/calibrated/{method}/" in one.name]
    assert names == [f"stratum/type_bin/{v}/calibrated/{method}/{n}" for v in ("DEV", "SER") for n in ("ece", "mce")]
    fold, _ = module._fold(rows)
    map_ = fitted(method, fold["label"], fold["score"])
    p = shifted(map_.apply(tested["score"]), map_.share, float(tested["label"].mean()))
    held = (tested["type_bin"] == "DEV").to_numpy()
    y, p = tested["label"].to_numpy()[held], p[held]
    which = np.clip(np.ceil(p * 15).astype(int) - 1, 0, 14)
    parts = [(np.sum(which == b), abs(y[which == b].mean() - p[which == b].mean())) for b in np.unique(which)]
    ece, mce = (named_in(found, f"stratum/type_bin/DEV/calibrated/{method}/{n}") for n in ("ece", "mce"))
    assert ece.value == pytest.approx(sum(n * gap for n, gap in parts) / len(p))
    assert mce.value == pytest.approx(max(gap for _, gap in parts))
    assert ece.n == held.sum()


def test_the_view_applies_them(tmp_path):
    root, rows = DataRoot.of(tmp_path / "data"), scores().iloc[::40].reset_index(drop=True)
    rows.loc[0, "score"] = -900.0
    of = {"checkpoint_id": "c", "generation": "mine"}
    made = [{**row, **of} for row in calibrated(scores(), PARAMS).rows]
    stored = rows.assign(**of, cutout_version="v", manifest_id="m", probability=expit(rows["score"]))
    schema = {name: tables.spec(name).row_schema() for name in ("scores", "calibrations")}
    for name, given in (
        ("scores", pa.Table.from_pandas(stored, schema["scores"], preserve_index=False)),
        ("calibrations", pa.Table.from_pylist(made, schema["calibrations"])),
    ):
        writing.write_slice(Target(root, tables.spec(name), "mine", of, Provenance("test")), given)
    found = query(root, "select * from calibrated_scores order by method, galaxy_id").to_pandas()
    assert list(found["method"].unique()) == ["beta", "platt", "temperature"]
    fold, _ = module._fold(scores())
    for method, part in found.groupby("method"):
        known = fitted(method, fold["label"], fold["score"])
        np.testing.assert_allclose(part["calibrated"], known.apply(rows["score"]), atol=1e-9)
        sky = shifted(known.apply(rows["score"]), known.share, 0.01)
        np.testing.assert_allclose(part["sky_probability"], sky, atol=1e-9)
        assert part["holds_at"].eq(known.share).all()
