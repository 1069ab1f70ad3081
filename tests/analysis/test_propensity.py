"""Host propensity: against known truth and statsmodels, its limits, and catalogues that it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from analysis.fitted import propensity
from analysis.fitted.propensity import COVARIATES, DEFAULT, UNCHANGED, fit
from analysis.statistics.roc import auc
from analysis.statistics.weighted import effective_number, weighted_share
from lake import tables
from lake.errors import DataError, ParameterError
from tests.analysis.hostgalaxies import SHAPE, galaxies
from tests.analysis.propensitycoverage import table


def test_weighted_hosts_give_the_completeness_of_the_lenses() -> None:
    """A finder's rate depends on the host; injections go into random hosts, lenses have bright, early ones."""

    def rate(rows: pd.DataFrame) -> np.ndarray:
        return 0.15 + 0.5 * norm.cdf(18.7 - rows["mag_z"]) + 0.2 * (rows["type"] == "DEV")

    truth = float(rate(galaxies(400_000, 1, 0.6)).mean())
    covered, widths = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        made = fit(galaxies(600, 100 + seed, 0.6), galaxies(3000, 200 + seed), SHAPE, seed)
        hosts = galaxies(600, 300 + seed)
        weights = np.repeat(made.weights(hosts), 3)
        hit = (rng.random(1800) < np.repeat(rate(hosts), 3)).astype(float)
        along, names = np.repeat(made.directions(hosts), 3, axis=0), np.repeat(np.arange(600), 3)
        found = weighted_share(names, hit, weights, 0.5, None, 0.95, along)
        known = weighted_share(names, hit, weights, 0.5, None, 0.95)
        widths.append((found.high - found.low) / (known.high - known.low))
        plain = weighted_share(np.repeat(np.arange(600), 3), hit, np.ones(1800), 0.5, None, 0.95)
        assert plain.high < truth
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.9
    assert min(widths) > 1.0


def test_directions_are_the_scatter_of_fits_to_resampled_galaxies() -> None:
    """The weighted mean of an outcome that follows the host scatters over bootstrap fits as the directions say."""
    lenses, negatives, hosts = galaxies(400, 1, 0.6), galaxies(2000, 2), galaxies(3000, 3)
    made, rng = fit(lenses, negatives, SHAPE, 0), np.random.default_rng(4)
    outcome, weights = (hosts["mag_z"] < 18.6).to_numpy(float), made.weights(hosts)
    moved = (weights * (outcome - np.average(outcome, weights=weights))) @ made.directions(hosts) / weights.sum()
    refits = [
        fit(*(part.iloc[rng.integers(0, len(part), len(part))] for part in (lenses, negatives)), SHAPE, 0)
        for _ in range(40)
    ]
    drawn = [np.average(outcome, weights=again.weights(hosts)) for again in refits]
    assert np.sqrt((moved**2).sum()) == pytest.approx(np.std(drawn), rel=0.3)
    unknown = hosts.assign(mag_z=np.nan).head(2)
    assert (made.directions(unknown) == 0.0).all()


def test_the_propensity_is_that_of_a_shifted_normal() -> None:
    """Log-odds are linear in the magnitude, and the AUC is Phi(shift / sqrt 2)."""
    lenses, negatives = (galaxies(6000, seed, shift)[["mag_z"]] for seed, shift in ((1, 0.8), (2, 0.0)))
    made = fit(lenses, negatives, ("mag_z",), 0)
    assert auc(made.labels, made.scores) == pytest.approx(norm.cdf(0.8 / np.sqrt(2.0)), abs=0.01)
    at = pd.DataFrame({"mag_z": np.linspace(17.0, 20.5, 15)})
    expected = 0.8 * (19.0 - 0.4 - at["mag_z"])
    p = made.probabilities(at)
    np.testing.assert_allclose(np.log(p / (1.0 - p)), expected, atol=0.25)
    edge = made.probabilities(pd.DataFrame({"mag_z": [5.0, lenses["mag_z"].min(), 40.0]}))
    assert edge[0] == pytest.approx(edge[1], abs=1e-9), "a weight is extrapolated"


def test_indicators_give_the_odds_of_the_counts_as_statsmodels_does() -> None:
    lenses, negatives = galaxies(3000, 1, 1.0), galaxies(9000, 2)
    made = fit(lenses, negatives, ("type",), 0)
    both = pd.concat([lenses, negatives])
    early = (both["type"] == "DEV").to_numpy(float)
    other = sm.Logit(np.repeat([1.0, 0.0], [3000, 9000]), sm.add_constant(early)).fit(disp=0)
    at = pd.DataFrame({"type": ["SER", "DEV"]})
    np.testing.assert_allclose(made.probabilities(at), other.predict([[1.0, 0.0], [1.0, 1.0]]), atol=0.005)
    odds = [np.divide(*(((rows["type"] == name).sum()) for rows in (lenses, negatives))) for name in at["type"]]
    weights = made.weights(at)
    assert weights[1] / weights[0] == pytest.approx(odds[1] / odds[0], rel=0.03)
    assert set(made.constant) == {"type=REX", "type=EXP"}


def test_columns_may_be_scaled_shifted_or_constant_and_rows_in_any_order() -> None:
    lenses, negatives, hosts = galaxies(400, 1, 0.5), galaxies(1500, 2), galaxies(300, 3)
    weights = fit(lenses, negatives, ("mag_z", "sersic"), 0).weights(hosts)
    moved = [rows.assign(mag_z=7.0 - 100.0 * rows["mag_z"], ebv=0.1) for rows in (lenses, negatives, hosts)]
    made = fit(moved[0], moved[1], ("mag_z", "sersic", "ebv"), 0)
    assert made.constant == ("ebv",)
    np.testing.assert_allclose(made.weights(moved[2]), weights, rtol=1e-3)
    turned = fit(lenses.iloc[::-1], negatives.iloc[::-1], ("mag_z", "sersic"), 0)
    np.testing.assert_allclose(turned.weights(hosts.iloc[::-1])[::-1], weights, rtol=1e-3)
    assert weights.mean() == pytest.approx(1.0)


def test_lenses_like_negatives_get_equal_weights() -> None:
    made, hosts = fit(galaxies(2000, 1), galaxies(6000, 2), SHAPE, 0), galaxies(1000, 3)
    weights = made.weights(hosts)
    assert auc(made.labels, made.scores) == pytest.approx(0.5, abs=0.03)
    assert effective_number(weights) > 970
    assert made.support > 0.99
    assert made.refusal(weights, 0.95) is None


def test_lenses_that_no_negative_is_like_are_refused() -> None:
    lenses = galaxies(200, 1).assign(mag_z=lambda rows: rows["mag_z"] - 20.0)
    made = fit(lenses, galaxies(1000, 2), SHAPE, 0)
    weights = made.weights(galaxies(300, 3))
    assert np.isfinite(weights).all()
    assert made.support < 0.05
    assert "of the lenses' hosts, less than 95%" in str(made.refusal(weights, 0.95))
    few = np.where(np.arange(300) < 20, 1.0, 0.0)
    assert made.refusal(few, 0.0) == "the weighted hosts are effectively 20, fewer than 50"


def test_balance_is_the_standardised_difference_of_means() -> None:
    lenses, hosts = galaxies(800, 1, 0.7), galaxies(900, 3)
    made = fit(lenses, galaxies(4000, 2), SHAPE, 0)
    weights = made.weights(hosts)
    table = made.balance(hosts, weights).set_index("column")
    spread = np.sqrt((hosts["mag_z"].var(ddof=0) + lenses["mag_z"].var(ddof=0)) / 2)
    gap = hosts["mag_z"].mean() - lenses["mag_z"].mean()
    assert table.loc["mag_z", "before"] == pytest.approx(gap / spread)
    after = (hosts["mag_z"] * weights).sum() / weights.sum() - lenses["mag_z"].mean()
    assert table.loc["mag_z", "after"] == pytest.approx(after / spread)
    assert table["before"].abs().max() > 0.6
    assert table["after"].abs().max() < 0.15
    assert table.loc["type=EXP"].to_list() == [0.0, 0.0]


def test_rows_without_a_value_are_left_out_and_counted() -> None:
    lenses, negatives, hosts = galaxies(300, 1, 0.5), galaxies(900, 2), galaxies(100, 3)
    lenses.loc[:9, "mag_z"], negatives.loc[:4, "type"], hosts.loc[0, "sersic"] = np.nan, None, np.inf
    made = fit(lenses, negatives, SHAPE, 0)
    assert (made.incomplete, len(made.lenses), made.negatives) == (15, 290, 895)
    assert made.weights(hosts)[0] == 0.0
    assert np.isnan(made.probabilities(hosts)[0])
    assert np.isfinite(made.balance(hosts, made.weights(hosts))["after"]).all()
    with pytest.raises(DataError, match="no host has a value of each of mag_z, sersic, type"):
        made.weights(hosts.assign(mag_z=np.nan))


def test_what_cannot_be_fitted_is_refused() -> None:
    some = galaxies(200, 1)
    with pytest.raises(DataError, match="needs 50 lenses with all covariates, and there are 49"):
        fit(some.head(49), some, SHAPE, 0)
    with pytest.raises(DataError, match="needs 50 negatives with all covariates, and there are 0"):
        fit(some, some.assign(mag_z=np.nan), SHAPE, 0)
    with pytest.raises(DataError, match="no covariate varies: ebv"):
        fit(some.assign(ebv=0.1), some.assign(ebv=0.1), ("ebv",), 0)
    with pytest.raises(DataError, match="the catalogue rows lack shape_e1, shape_e2"):
        fit(some, some, ("ellipticity",), 0)
    with pytest.raises(ParameterError, match=r"'covariates' must be one of .*; did you mean 'mag_z'"):
        fit(some, some, ("magz",), 0)
    for names in ((), ("mag_z", "mag_z")):
        with pytest.raises(ParameterError, match="'covariates' must be at least one name"):
            fit(some, some, names, 0)


def test_covariates_are_columns_of_both_tables_and_say_what_an_arc_changes() -> None:
    for name in ("tractor_pool", "tractor_near_candidates"):
        assert set(propensity.needed(tuple(COVARIATES))) <= set(tables.spec(name).names)
    assert set(UNCHANGED) == {"nobs_z", "psfsize_r", "psfdepth_r", "ebv"}
    assert not set(UNCHANGED) & set(DEFAULT)


@pytest.mark.slow
def test_the_documented_coverage_with_a_fitted_propensity_is_reproduced() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    for lenses, negatives, hosts, *covered, _ in table(300, 1):
        start = f"| {lenses:,}, {negatives:,} | {hosts:,} |"
        (row,) = (line for line in page.splitlines() if line.startswith(start))
        documented = [float(cell) / 100.0 for cell in row.strip("| ").split(" | ")[2:]]
        assert covered == pytest.approx(documented, abs=0.01), start
