"""Checks of stamps: masked pixels, fluxes, annuli."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.diagnostics import annulus
from analysis.diagnostics.annulus import annulus_comparison
from analysis.diagnostics.flux_check import flux_check
from analysis.diagnostics.host_noise import host_noise
from analysis.diagnostics.masked_pixels import masked_pixels
from analysis.diagnostics.real_lenses import real_lens_recall
from analysis.diagnostics.split_balance import split_balance
from analysis.diagnostics.subject import Subject
from analysis.results.features import stamp_features
from lake.sky.survey import SURVEY
from tests.analysis.galaxies import make_stamps
from tests.analysis.outcomes import FRACTIONS, fixed, manifest, masked_params, measure, status


def test_masked_pixels():
    good = np.zeros(1000)
    assert status(masked_pixels(good, good + 5e-6, masked_params()), "masked_pixels") == "PASS"
    bad = good.copy()
    bad[:100] = 0.5
    assert status(masked_pixels(bad, good, masked_params()), "masked_pixels") == "FAIL"
    assert status(masked_pixels([], [], masked_params()), "masked_pixels") == "NOT MEASURED"
    found = masked_pixels(bad, good, masked_params())
    assert "100 of 1,000 cut-outs (10.00 %) have more than 5 % bad pixels" in found.findings[0].text
    assert {point.x: point.y for point in found.points}[20.0] == 0.1


def test_fluxes_are_nanomaggies(galaxies, diagnose):
    features, _, _, flux = galaxies
    catalogue = pd.DataFrame(flux, columns=["flux_g", "flux_r", "flux_z"])
    assert {g.status for g in flux_check(features, catalogue, SURVEY, diagnose).gates} == {"PASS"}
    wrong = flux_check(features, catalogue * 1e3, SURVEY, diagnose)
    assert {g.status for g in wrong.gates} == {"FAIL"}
    assert measure(wrong, "flux_ratio/r").value == pytest.approx(1e-3, rel=0.1)
    assert "differ in unit or zero point" in wrong.findings[0].text
    assert [point.label for point in wrong.points] == ["g", "r", "z"]
    right = flux_check(features, catalogue, SURVEY, diagnose).findings[0].text
    assert "are in the catalogue's nanomaggies" in right
    assert "neighbours" not in right
    more = flux_check(features, catalogue / 1.15, SURVEY, diagnose)
    assert {g.status for g in more.gates} == {"WARN"}
    assert "beyond the tolerance of 10 % in g, r, z, and too little for a wrong unit" in more.findings[0].text
    assert "neighbours in the aperture has this sign" in more.findings[0].text
    less = flux_check(features, catalogue * 1.25, SURVEY, diagnose).findings[0].text
    assert "beyond the tolerance" in less
    assert "neighbours" not in less, "neighbours take no light away"


def test_the_noise_of_hosts_is_that_of_their_depth():
    hosts = pd.DataFrame({"galaxy_id": [f"h{k}" for k in range(40)], "sky_sigma_psfdepth_nmgy": 0.01})
    right = host_noise(pd.concat(2 * [hosts.assign(sky_sigma_mad_nmgy=np.linspace(0.009, 0.014, 40))]))
    assert status(right, "host_noise") == "PASS"
    assert measure(right, "host_noise").n == 40
    assert measure(right, "host_noise").value == pytest.approx(1.15)
    assert "depth and pixels agree" in right.findings[0].text
    bright = host_noise(hosts.assign(sky_sigma_mad_nmgy=0.023))
    assert status(bright, "host_noise") == "WARN"
    assert "light fills their annulus" in bright.findings[0].text
    for factor in (1 / 300, 0.49, 11):
        wrong = host_noise(hosts.assign(sky_sigma_mad_nmgy=0.01 * factor))
        assert status(wrong, "host_noise") == "FAIL"
        assert "a map of variances taken for inverse variances" in wrong.findings[0].text
    for nothing in (pd.DataFrame(), hosts.assign(sky_sigma_mad_nmgy=np.nan)):
        assert status(host_noise(nothing), "host_noise") == "NOT MEASURED"


def test_annuli_far_from_the_galaxy_agree(diagnose):
    rng = np.random.default_rng(0)
    stamps = make_stamps(rng, np.full((60, 3), 10.0), np.full(60, 3.0), noise=0.01)
    stamps += rng.normal(0, 0.01, 60).astype(np.float32)[:, None, None, None]
    objects = pd.DataFrame(
        {"label": np.arange(60) % 2, "psfsize_r": rng.normal(1.2, 0.1, 60), "psfdepth_r": rng.normal(200, 9, 60)}
    )
    outcome = annulus_comparison(stamp_features(stamps, SURVEY, diagnose), objects, SURVEY, diagnose)
    assert status(outcome, "annulus/median") == "PASS"
    assert outcome.findings[0].text.endswith("the choice is cosmetic.")
    seeing = [point for point in outcome.points if point.figure == "annulus/shift_by_seeing"]
    assert {point.series for point in seeing} == {"positives", "negatives"}
    assert sum(point.n for point in seeing) == 60
    assert all(point.low <= point.y <= point.high for point in seeing)
    wide = make_stamps(rng, np.full((60, 3), 400.0), 8.0 + 4.0 * np.linspace(0, 1, 60), noise=0.01)
    objects["psfsize_r"] = np.linspace(0.9, 1.8, 60)
    material = annulus_comparison(stamp_features(wide, SURVEY, diagnose), objects, SURVEY, diagnose)
    assert status(material, "annulus/median") == "GO"
    assert "so the choice is material" in material.findings[0].text
    objects["psfsize_r"] = rng.permutation(objects["psfsize_r"])
    assert (
        status(annulus_comparison(stamp_features(wide, SURVEY, diagnose), objects, SURVEY, diagnose), "annulus/median")
        == "BORDERLINE"
    )


def test_a_small_shift_of_the_same_stamps_is_seen(diagnose):
    """Every stamp moves by a tenth of the spread between stamps: a test of paired differences sees it, KS does not."""
    rng = np.random.default_rng(4)
    first = rng.normal(0.0, 0.01, 200)
    columns = {"annulus0/median_r": first, "annulus1/median_r": first + rng.normal(0.001, 0.0005, 200)}
    columns |= {f"annulus{i}/mad_r": np.full(200, 0.01) for i in (0, 1)}
    objects = pd.DataFrame({"label": np.arange(200) % 2, "psfsize_r": np.nan, "psfdepth_r": np.nan}, range(200))
    outcome = annulus_comparison(pd.DataFrame(columns), objects, SURVEY, diagnose)
    shift = columns["annulus1/median_r"] - first
    assert measure(outcome, "annulus/median/paired_p").value == pytest.approx(stats.wilcoxon(shift).pvalue)
    assert stats.ks_2samp(first, columns["annulus1/median_r"]).pvalue > 0.05
    assert status(outcome, "annulus/median") == "BORDERLINE"
    assert status(outcome, "annulus/mad") == "PASS"
    text = outcome.findings[0].text
    assert "the median of the sky shifts (" in text
    assert "the MAD of the sky does not shift measurably (" in text
    assert "the shift of the median is neither" in text


def test_the_finding_speaks_of_what_shifts(diagnose):
    """The MAD alone changes."""
    rng = np.random.default_rng(4)
    first = rng.normal(0.0, 0.01, 200)
    columns = {"annulus0/median_r": first, "annulus1/median_r": first + rng.normal(0.0, 0.001, 200)}
    columns |= {"annulus0/mad_r": np.full(200, 0.01), "annulus1/mad_r": 0.01 - rng.uniform(0.0, 1e-3, 200)}
    objects = pd.DataFrame({"label": np.arange(200) % 2, "psfsize_r": np.nan, "psfdepth_r": np.nan}, range(200))
    text = annulus_comparison(pd.DataFrame(columns), objects, SURVEY, diagnose).findings[0].text
    assert "the median of the sky does not shift measurably (" in text
    assert "the MAD of the sky shifts (-" in text
    assert "the shift of the MAD is neither cosmetic nor clearly material" in text


@pytest.mark.parametrize("count", [0, 1, 9])
def test_few_stamps_judge_no_annulus(diagnose, count):
    """The signed-rank test of five stamps cannot fall below 0.06, so it would call every annulus cosmetic."""
    objects = pd.DataFrame({"galaxy_id": list("abcdefghi"), "label": 1, "split": "train"}).head(count)
    nothing = pd.DataFrame()
    subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, FRACTIONS, 1, diagnose, None, None)
    outcome = annulus.diagnose(subject, diagnose)
    assert {gate.name: gate.status for gate in outcome.gates} == {
        "annulus/median": "NOT MEASURED",
        "annulus/mad": "NOT MEASURED",
    }
    assert [m.method for m in outcome.measures] == [
        f"not measurable: {count} stamps of training and test split, fewer than 10"
    ]
    assert f"{count} stamps" in outcome.findings[0].text


def test_a_check_that_has_nothing_to_check_says_so(diagnose):
    """None of these may pass, nor be left out of the list of gates."""
    rows = manifest()
    rows["cutout_path"] = None
    rows.loc[rows["split"] == "val", "psfsize_r"] = np.nan
    outcome = split_balance(rows, FRACTIONS, SURVEY, diagnose)
    assert status(outcome, "split/shared_cutout_path") == "NOT MEASURED"
    assert status(outcome, "split/psfsize_r_train_val") == "NOT MEASURED"
    assert status(outcome, "split/psfsize_r_train_test") == "PASS"
    two = split_balance(rows[rows["split"] != "val"], (0.7, 0.0, 0.3), SURVEY, diagnose)
    assert "split/psfsize_r_train_val" not in {gate.name for gate in two.gates}, "there is no such split"
    lenses = pd.DataFrame({"tier": ["A"], "healpix_128": [1], "probability": [np.nan]})
    assert status(real_lens_recall(lenses, [9], [fixed([0.1])]), "lens_recall/leakage_guard") == "NOT MEASURED"
    features = pd.DataFrame({f"trivial/log_flux_{band}": [0.0, 0.0] for band in "grz"})
    fluxes = pd.DataFrame({"flux_g": [1.0, 1.0], "flux_r": [np.nan, 0.0], "flux_z": [1.0, 1.0]})
    checked = flux_check(features, fluxes, SURVEY, diagnose)
    assert [status(checked, f"flux_ratio/{band}") for band in "grz"] == ["PASS", "NOT MEASURED", "PASS"]
    unknown = np.full(100, np.nan)
    assert status(masked_pixels(unknown, unknown, masked_params()), "masked_pixels") == "FAIL", (
        "unknown pixels are not good"
    )
