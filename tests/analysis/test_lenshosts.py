"""Completeness with hosts that follow the lenses' hosts: rows of the table, what is measured, and who reads them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.fitted.propensity import fit
from analysis.records import Outcome
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.selection import lens_hosts_view
from analysis.results.gridtable import counted, drawn, table_of
from analysis.results.lenshosts import AUC, BALANCE, LensHosts, not_weighted, weighted_rows, weighting
from analysis.statistics.completeness import equally_weighted
from analysis.statistics.thresholds import Threshold
from analysis.statistics.weighted import weighted_share
from lake import tables
from lake.errors import DataError
from lake.sky.survey import SURVEY
from tests.analysis.hostgalaxies import SHAPE, galaxies

N, EDGES = 1200, (23.0, 24.5, 26.0)
CELLS = [
    {"cell": name, "theta_e_index": k, "psf_index": 0, "depth_index": 0, "theta_e_arcsec": 1.0 + k}
    | {"psf_fwhm_nea_arcsec_low": 1.0, "psf_fwhm_nea_arcsec_high": 1.4, "depth_mag_low": 23.0, "depth_mag_high": 24.0}
    for k, name in enumerate(("a", "b", "empty"))
]
FIXING = np.random.default_rng(0).random(400) ** 3
AT: dict[str, Any] = {"negatives": 400, "negatives_needed": 100, "test_negatives": 300, "test_above": 20}
AT |= {"fpr_reached": 0.07, "fpr_low": 0.04, "fpr_high": 0.1}
POINTS = [
    Threshold("p0.5", "fixed", 0.5, np.nan, above=60, **AT),
    Threshold("fpr1e-1@val", "measured", float(np.quantile(FIXING, 0.9)), 0.1, above=40, **AT),
]
STORED = pd.DataFrame([asdict(point) for point in POINTS]).assign(checkpoint_id="c")


def injections() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    host = rng.integers(0, 150, N)
    return pd.DataFrame(
        {
            "grid_id": "g",
            "injection_id": [f"i{k}" for k in range(N)],
            "galaxy_id": [f"h{k}" for k in host],
            "field": [f"brick{k % 12}" for k in host],
            "cell": np.where(np.arange(N) % 3 == 0, "a", "b"),
            "status": np.where(np.arange(N) % 20 == 0, "failed", "scored"),
            "score": 0.0,
            "arc_snr": 5.0,
            "src_mag_r": rng.uniform(23.0, 26.0, N),
            "probability": np.clip(0.3 + 0.4 * (host < 60) + rng.normal(0.0, 0.2, N), 0.0, 1.0),
            "weight": np.where(host < 60, 3.0, np.where(host < 140, 0.5, 0.0)),
        }
    )


def own_rows(rows: pd.DataFrame) -> pa.Table:
    points, _ = drawn(STORED, FIXING)
    counts = counted(rows, CELLS, {point.threshold_id: point.threshold for point in points}, EDGES, SURVEY)
    same = {"grid_id": "g", "grid_name": "main", "checkpoint_id": "c", "generation": "m", "prior": "v1"}
    counts = counts.assign(**same, weighting_id="v1")
    return table_of(counts, STORED, FIXING, rows[rows["status"] == "scored"], EDGES, SURVEY)


def weighted(rows: pd.DataFrame) -> pd.DataFrame:
    scored = rows[rows["status"] == "scored"]
    return weighted_rows(
        own_rows(rows), scored, *drawn(STORED, FIXING), EDGES, SURVEY, np.zeros((len(scored), 1))
    ).to_pandas()


def test_equal_weights_give_the_rows_of_the_table() -> None:
    rows = injections().assign(weight=2.5)
    keys = ["cell", "source_mag_bin", "threshold_id"]
    found, own = weighted(rows).set_index(keys).sort_index(), own_rows(rows).to_pandas().set_index(keys)
    own = own.loc[found.index]
    assert set(found.index) == {
        *((cell, "all", name) for cell in ("a", "b", "marginal") for name in STORED["threshold_id"]),
        *(("marginal", mags, name) for mags in ("23-24.5", "24.5-26") for name in STORED["threshold_id"]),
    }
    for name in ("n", "detected", "failed", "hosts", "threshold", "fpr_reached"):
        pd.testing.assert_series_equal(found[name], own[name], check_dtype=False)
    np.testing.assert_allclose(found["n_eff"], own["n"])
    for name in ("completeness", "host_clustered_95_low", "host_clustered_95_high", "joint_95_low", "joint_95_high"):
        np.testing.assert_allclose(found[name].astype(float), own[name].astype(float), atol=5e-4, err_msg=name)
    whole = found.index.get_level_values("cell") == "marginal"
    for name in ("field_clustered_95_low", "field_clustered_95_high"):
        np.testing.assert_allclose(found[name].astype(float), own[name].astype(float), atol=5e-4, err_msg=name)
        assert found.loc[whole, name].notna().all()
    assert found[["jeffreys_95_low", "mean_score"]].isna().all(axis=None)


def test_weighted_completeness_is_the_ratio_of_sums_and_counts_what_has_weight() -> None:
    rows = injections()
    found = weighted(rows).set_index(["cell", "source_mag_bin", "threshold_id"])
    held = rows[(rows["status"] == "scored") & (rows["weight"] > 0)]
    hit = held["probability"] > 0.5
    row = found.loc[("marginal", "all", "p0.5")]
    assert row["completeness"] == pytest.approx((held["weight"] * hit).sum() / held["weight"].sum())
    assert row["completeness"] > hit.mean() + 0.1
    assert (row["n"], row["detected"], row["hosts"]) == (len(held), hit.sum(), held["galaxy_id"].nunique())
    assert row["n_eff"] == pytest.approx(held["weight"].sum() ** 2 / (held["weight"] ** 2).sum())
    by_hand = weighted_share(held["galaxy_id"], held["probability"], held["weight"], 0.5, None, 0.95)
    assert (row["host_clustered_95_low"], row["host_clustered_95_high"]) == (by_hand.low, by_hand.high)
    assert row["weighting_id"] == weighting("v1") == "v1+lens_hosts"
    assert weighted(rows.assign(weight=0.0)).empty


def test_rows_of_different_weightings_are_kept_apart() -> None:
    rows = injections()
    own = own_rows(rows).to_pandas()
    both = pd.DataFrame([*own.to_dict("records"), *weighted(rows).to_dict("records")])
    pd.testing.assert_frame_equal(equally_weighted(both), own, check_dtype=False)
    assert not both.duplicated(list(tables.spec("completeness").key)).any()
    assert equally_weighted(pd.DataFrame()).empty


def lens_hosts(shift: float = 0.6) -> LensHosts:
    made, hosts = fit(galaxies(400, 1, shift), galaxies(1500, 2), SHAPE, 0), galaxies(200, 3)
    hosts.index = pd.Index([f"h{k}" for k in range(200)])
    return LensHosts(made, hosts, made.weights(hosts), 7)


def test_the_outcome_tells_what_the_weights_rest_on() -> None:
    found = lens_hosts()
    measures = {measure.name: measure for measure in found.outcome().measures}
    assert measures[AUC].low < measures[AUC].value < measures[AUC].high
    assert "7 lenses fail the pool's cuts, 0 galaxies lack a covariate" in measures[AUC].method
    assert abs(measures[f"{BALANCE}/mag_z/after"].value) < 0.3 * abs(measures[f"{BALANCE}/mag_z/before"].value)
    assert measures["lens_hosts/effective_hosts"].n == 200
    np.testing.assert_array_equal(found.of(pd.Series(["h3", "gone", "h3"])), [found.weights[3], 0.0, found.weights[3]])
    found.require(0.9)
    with pytest.raises(DataError, match="negatives represent"):
        lens_hosts(shift=3.0).require(0.95)


def added(item: GenerationInputs, outcome: Outcome) -> pd.DataFrame:
    """Diagnostics of a model with those of one more outcome."""
    return pd.DataFrame([*item.diagnostics.to_dict("records"), *outcome.diagnostics_rows("completeness-demo1")])


def test_the_report_shows_both_with_what_the_weights_rest_on(inputs: ReportInputs) -> None:
    item = inputs.generations[0]
    assert lens_hosts_view(inputs) is None
    weighted_marginals = item.completeness[item.completeness["cell"] == "marginal"].assign(
        weighting_id="v1+lens_hosts", n_eff=100.0, completeness=0.5
    )
    changed = replace(item, diagnostics=added(item, lens_hosts().outcome()), lens_hosts=weighted_marginals)
    view = lens_hosts_view(replace(inputs, generations=[changed]))
    assert view is not None
    assert {row[1] for row in view.rows} == set(item.completeness["threshold_id"])
    row = next(row for row in view.rows if row[1] == "p0.5")
    assert row[4].startswith("50.0\u00a0%")
    assert row[6].startswith("100 of ")
    for words in ("AUC of the propensity 0.", "of the lenses' hosts;", "hosts effective", "after weighting."):
        assert words in view.caption
    without = replace(item, diagnostics=added(item, not_weighted("there are 12 lenses")))
    view = lens_hosts_view(replace(inputs, generations=[without]))
    assert view is not None
    assert [row[3] for row in view.rows] == ["not measured: there are 12 lenses"]
