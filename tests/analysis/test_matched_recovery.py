"""Known lenses among injections like them: uniform where they are alike, and the right sign where they are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from analysis.diagnostics.matched_recovery import MEAN, VISIBLE, Params, match, matched_recovery
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import fixed, measure, status

PARAMS = Params.model_construct(
    matched_theta_e_width=0.12,
    matched_psf_width_arcsec=0.1,
    matched_depth_width_mag=0.25,
    matched_least_effective=20.0,
    matched_replicates=200,
    matched_visible_snr=20.0,
    matched_rank_tolerance=0.1,
)
POINT = fixed(np.linspace(0.0, 1.0, 100))


def sky(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Lenses whose score follows radius, seeing, depth and the brightness of their arc."""
    theta, psf, depth = rng.uniform(0.8, 2.4, n), rng.uniform(0.9, 1.8, n), rng.uniform(22.5, 24.5, n)
    arc_snr = rng.uniform(5.0, 100.0, n)
    score = 2.0 * (theta - 1.6) - 2.0 * (psf - 1.3) + 0.5 * (depth - 23.5) + 0.03 * (arc_snr - 50) + rng.normal(size=n)
    return pd.DataFrame(
        {"theta": theta, "psf": psf, "depth": depth, "arc_snr": arc_snr, "score": score, "probability": expit(score)}
    )


def pair(seed: int, lenses: int = 80, gain: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    real, grid = sky(rng, lenses), sky(rng, 4000)
    real["score"] += gain
    real = real.assign(probability=expit(real["score"]), galaxy_id=[f"lens{i}" for i in range(lenses)])
    real = real.rename(columns={"theta": "theta_e_arcsec", "psf": "psfsize_r"})
    real["psfdepth_r"] = (5.0 / 10 ** (0.4 * (22.5 - real["depth"]))) ** 2
    names = {"theta": "lens_theta_e_arcsec", "psf": "host_psf_fwhm_nea_r_arcsec", "depth": "host_depth_r_mag"}
    return real, grid.rename(columns=names).assign(galaxy_id=[f"host{i % 400}" for i in range(4000)])


def test_weights_and_ranks_of_one_lens_by_hand():
    lenses, injections = pair(0)
    found = match(lenses, injections, SURVEY, PARAMS)
    own = lenses.iloc[0]
    axes = (
        (np.log(injections["lens_theta_e_arcsec"]) - np.log(own["theta_e_arcsec"])) / 0.12,
        (injections["host_psf_fwhm_nea_r_arcsec"] - own["psfsize_r"]) / 0.1,
        (injections["host_depth_r_mag"] - own["depth"]) / 0.25,
    )
    weight = np.exp(-0.5 * sum(axis**2 for axis in axes))
    share = weight[injections["score"] < own["score"]].sum() / weight.sum()
    effective = weight.sum() ** 2 / (weight**2).sum()
    row = found.lenses.set_index("galaxy_id").loc["lens0"]
    assert row["effective"] == pytest.approx(effective, rel=0.03)
    assert row["rank"] == pytest.approx((share * effective + 0.5) / (effective + 1), abs=0.01)
    assert row["p"] == pytest.approx(2 * min(row["rank"], 1 - row["rank"]))


def test_lenses_like_injections_have_uniform_ranks():
    """Twenty skies: the interval of the mean rank holds 0.5 about as often as it should, and KS does not reject."""
    held, p = 0, []
    for seed in range(20):
        outcome = matched_recovery(*pair(seed), [POINT], SURVEY, PARAMS, seed)
        mean = measure(outcome, MEAN)
        held += mean.low < 0.5 < mean.high
        p.append(measure(outcome, "matched_recovery/ks/p").value)
        assert status(outcome, "matched_recovery") in ("PASS", "BORDERLINE")
    assert held >= 17
    assert np.mean(np.array(p) > 0.05) >= 0.8


def test_a_finder_that_says_the_same_of_everything_tells_nothing_apart():
    lenses, injections = (one.assign(score=1.0, probability=expit(1.0)) for one in pair(2))
    mean = measure(matched_recovery(lenses, injections, [POINT], SURVEY, PARAMS, 1), MEAN)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.5, 0.5, 0.5))


def test_lenses_that_are_easier_than_injections():
    lenses, injections = pair(1, gain=1.5)
    outcome = matched_recovery(lenses, injections, [POINT], SURVEY, PARAMS, 1)
    assert measure(outcome, MEAN).low > 0.6
    assert status(outcome, "matched_recovery") == "FAIL"
    assert measure(outcome, VISIBLE).value < measure(outcome, MEAN).value, "injections with brighter arcs score higher"
    recall, theirs, less = (
        measure(outcome, f"matched_recovery/{what}/p0.3") for what in ("recall", "completeness", "difference")
    )
    assert recall.value == pytest.approx((lenses["probability"] > 0.3).mean())
    assert less.value == pytest.approx(recall.value - theirs.value)
    assert less.low > 0.05
    text = outcome.findings[0].text
    assert "score higher than such injections; at p0.3 their recall minus the completeness" in text
    assert f"{100 * less.value:+.1f} [{100 * less.low:+.1f}, {100 * less.high:+.1f}] points" in text


def test_lenses_without_injections_like_them_are_left_out():
    lenses, injections = pair(2)
    lenses.loc[:9, "theta_e_arcsec"] = 8.0
    lenses.loc[10:14, "psfdepth_r"] = np.nan
    outcome = matched_recovery(lenses, injections, [POINT], SURVEY, PARAMS, 1)
    assert measure(outcome, "matched_recovery/unmatched").value >= 15
    assert measure(outcome, MEAN).n == 80 - measure(outcome, "matched_recovery/unmatched").value


@pytest.mark.parametrize(
    ("rows", "grid", "why"),
    [(5, 4000, "5 test lenses have"), (80, 0, "no scored injections"), (80, 30, "0 of 80 lenses")],
)
def test_too_little_is_not_measured(rows, grid, why):
    lenses, injections = pair(3)
    outcome = matched_recovery(lenses.head(rows), injections.head(grid), [POINT], SURVEY, PARAMS, 1)
    assert status(outcome, "matched_recovery") == "NOT MEASURED"
    assert why in outcome.findings[0].text
    assert measure(outcome, MEAN).method.startswith("not measurable: ")
