"""The balance of the splits on manifests whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.diagnostics.split_balance import split_balance
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import FRACTIONS, manifest, measure, status


def test_balanced_splits_pass(diagnose):
    outcome = split_balance(manifest(), FRACTIONS, SURVEY, diagnose)
    assert {gate.status for gate in outcome.gates} == {"PASS"}
    assert measure(outcome, "split/train/positives").value == 84 * 7
    assert measure(outcome, "split/val/tier/A/positives").value == 18 * 2
    assert measure(outcome, "split/ks_psfsize_r/train_val").n == 84 + 18
    assert measure(outcome, "split/test/pixels").value == 18
    assert measure(outcome, "split/healpix_missing").value == 0
    assert "70.0 / 15.0 / 15.0 % of 120 HEALPix pixels (4,800 rows)" in outcome.findings[0].text
    assert "not told apart" in outcome.findings[0].text


def test_figures_show_counts_and_cumulative_conditions(diagnose):
    rows = manifest()
    points = split_balance(rows, FRACTIONS, SURVEY, diagnose).points
    counts = {(point.series, point.label): point.y for point in points if point.figure.endswith("counts")}
    assert counts["train", "Tier A"] == 84 * 2
    assert counts["val", "negatives"] == 18 * 33
    seeing = [point for point in points if point.figure.endswith("seeing") and point.series == "test"]
    assert [point.y for point in seeing] == pytest.approx(np.linspace(0, 1, 21))
    median = rows[rows["split"] == "test"].groupby("healpix_128")["psfsize_r"].median().median()
    assert seeing[10].x == pytest.approx(median)


def test_shares_have_a_95_percent_interval_of_their_pixels(diagnose):
    share = measure(split_balance(manifest(), FRACTIONS, SURVEY, diagnose), "split/val/pixel_share")
    exact = stats.binomtest(18, 120).proportion_ci(0.95, method="exact")
    assert (share.value, share.low, share.high) == pytest.approx((18 / 120, exact.low, exact.high))


def test_shared_pixels_and_galaxies_fail(diagnose):
    rows = manifest()
    rows.loc[0, "split"] = "test"
    rows.loc[5, "healpix_128"] = np.nan
    outcome = split_balance(rows, FRACTIONS, SURVEY, diagnose)
    assert status(outcome, "split/shared_healpix_128") == "FAIL"
    assert status(outcome, "split/shared_galaxy_id") == "PASS"
    assert status(outcome, "split/healpix_known") == "FAIL"
    assert measure(outcome, "split/healpix_missing").value == 1
    assert "but split/shared_healpix_128, split/healpix_known fail" in outcome.findings[0].text


def test_wrong_proportions_and_seeing_fail(diagnose):
    rows = manifest()
    moved = rows[rows["healpix_128"].between(0, 50)].index
    rows.loc[moved, "split"] = "test"
    rows.loc[rows["split"] == "test", "psfsize_r"] += 0.5
    outcome = split_balance(rows, FRACTIONS, SURVEY, diagnose)
    assert status(outcome, "split/train_share") == "FAIL"
    assert status(outcome, "split/psfsize_r_train_test") == "FAIL"


def test_so_few_pixels_that_no_difference_could_fail_are_not_measured(diagnose):
    """Three pixels against three cannot reach p below 0.1: a pass would say nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for split, pixels in (("train", 40), ("val", 3), ("test", 3)):
        for pixel in range(pixels):
            psf = 1.0 if split == "train" else 1.5 if split == "val" else 2.0
            rows.append((split, f"{split}{pixel}", psf + 0.1 * rng.random(), 100.0 + rng.random()))
    manifest = pd.DataFrame(rows, columns=["split", "galaxy_id", "psfsize_r", "psfdepth_r"])
    manifest["healpix_128"], manifest["label"] = np.arange(len(manifest)), np.arange(len(manifest)) % 2
    outcome = split_balance(manifest, FRACTIONS, SURVEY, diagnose)
    assert status(outcome, "split/psfsize_r_val_test") == "NOT MEASURED"
    assert measure(outcome, "split/ks_psfsize_r/val_test/p").value == pytest.approx(0.1)
    assert status(outcome, "split/psfsize_r_train_val") == "FAIL"
    assert status(outcome, "split/psfdepth_r_train_val") == "PASS"
