"""The gap between injections and lenses, term by term, on frames."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics import discovery, gap_budget
from analysis.records import Measure, Outcome
from tests.analysis.outcomes import measure
from tests.analysis.pairedtrials import threshold

N = 4000
RATE = 0.2
"""Share of detected injections with small offsets or bright arcs above that of the others."""


def injections(seed=1):
    """Small offsets add a fifth to the chance of detection, bright arcs another."""
    rng = np.random.default_rng(seed)
    beta, snr = rng.uniform(0.1, 1.0, N), rng.uniform(1.0, 100.0, N)
    chance = 0.1 + RATE * (beta < 0.5) + RATE * (snr > 50.0)
    return pd.DataFrame(
        {
            "galaxy_id": [f"h{place % 1000}" for place in range(N)],
            "probability": np.where(rng.random(N) < chance, 0.9, 0.1),
            "lens_theta_e_arcsec": rng.choice([1.0, 1.5, 2.0], N),
            "src_beta_frac": beta,
            "arc_snr": snr,
        }
    )


def lenses(count=300, seed=2):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "lens_theta_e_arcsec": rng.uniform(0.9, 2.2, count),
            "src_beta_frac": rng.uniform(0.1, 0.4999, count),
            "arc_snr": rng.uniform(60.0, 90.0, count),
        }
    )


def others(**changes):
    """What the other diagnostics measured."""
    found = {
        "lens_recall/all/p0.5": (0.9, 0.85, 0.94),
        "closure/true/p0.5": (92.0, 88.0, 95.0),
        "closure/renderer/p0.5": (-1.0, -3.0, 0.5),
        "closure/whole/p0.5": (-4.0, -9.0, 2.0),
        "sensitivity/psf_plus_10/change/p0.5": (-2.0, -3.0, -1.0),
        "sensitivity/psf_minus_10/change/p0.5": (3.0, 1.0, 5.0),
        "sensitivity/poisson/change/p0.5": (-0.5, -1.5, 0.5),
        **changes,
    }
    return Outcome("diagnose", tuple(Measure(name, *values, 100) for name, values in found.items() if values))


def subject(rows=None, known=None, weights=None):
    rows = injections() if rows is None else rows
    share = float((rows["probability"] > 0.5).mean()) if len(rows) else math.nan
    marginal = {"cell": "marginal", "threshold_id": "p0.5", "source_mag_bin": "all", "n": N, "completeness": share}
    return SimpleNamespace(
        injections=rows,
        thresholds=[threshold(), threshold("fpr1e-3@val", status="not measurable")],
        completeness=pd.DataFrame([{**marginal, "joint_95_low": share - 0.03, "joint_95_high": share + 0.02}]),
        lenses=lenses() if known is None else known,
        host_weights=weights or (lambda hosts: "too few training lenses"),
    )


def value(outcome, name):
    return measure(outcome, f"gap_budget/{name}").value


def test_terms_are_what_lenses_would_change_one_at_a_time(diagnose):
    found = gap_budget.conclude(subject(), diagnose, others())
    geometry, visibility = (measure(found, f"gap_budget/{name}") for name in ("geometry", "visibility"))
    assert geometry.low < 100 * RATE * (1.0 - 0.4 / 0.9) < geometry.high
    assert visibility.low < 100 * RATE * (1.0 - 50.0 / 99.0) < visibility.high
    assert geometry.high - geometry.low < 6.0
    assert value(found, "noise") == -0.5
    renderer = measure(found, "gap_budget/renderer")
    assert (renderer.value, renderer.low, renderer.high) == (1.0, -0.5, 3.0)
    psf = measure(found, "gap_budget/psf")
    assert (psf.value, psf.low, psf.high) == (0.0, -3.0, 5.0)
    for lacking in ("morphology", "host"):
        m = measure(found, f"gap_budget/{lacking}")
        assert np.isnan(m.value)
        assert m.method.startswith("not measurable: ")


def test_gap_sum_and_remainder(diagnose):
    found = gap_budget.conclude(subject(), diagnose, others())
    c = 100 * (injections()["probability"] > 0.5).mean()
    gap = measure(found, "gap_budget/gap")
    assert gap.value == pytest.approx(90.0 - c)
    assert gap.low == pytest.approx(gap.value - math.hypot(5.0, 2.0))
    assert gap.high == pytest.approx(gap.value + math.hypot(4.0, 3.0))
    total = measure(found, "gap_budget/sum")
    names = ("geometry", "visibility", "renderer")
    assert total.value == pytest.approx(sum(value(found, name) for name in names)), "PSF and noise are in the renderer"
    assert value(found, "remainder") == pytest.approx(gap.value - total.value)
    assert value(found, "remainder_of_true") == pytest.approx(92.0 - c - total.value)
    assert value(found, "together") == pytest.approx(92.0 - 4.0 - c)
    supposed = gap_budget.conclude(subject(), diagnose, others(**{"closure/renderer/p0.5": None}))
    names = ("geometry", "visibility", "psf", "noise")
    assert value(supposed, "sum") == pytest.approx(sum(value(supposed, name) for name in names))
    text = found.findings[0].text
    assert "need not add up" in text
    assert "Not measured: host, morphology." in text
    assert [point.label for point in found.points] == [
        "gap", "geometry", "visibility", "psf", "noise", "renderer", "sum", "remainder"
    ]  # fmt: skip


def test_hosts_and_transplants_count_where_they_are_measured(diagnose):
    rows = injections()
    special = rows["galaxy_id"].isin([f"h{place}" for place in range(500)])
    rows.loc[special, "probability"] = 0.9
    measured = others(**{"transplants/change/p0.5": (4.0, 2.0, 6.0)})
    found = gap_budget.conclude(
        subject(rows, weights=lambda hosts: np.where(hosts.isin(rows.loc[special, "galaxy_id"]), 1.0, 0.0)),
        diagnose,
        measured,
    )
    assert value(found, "host") == pytest.approx(100 * (1 - (rows["probability"] > 0.5).mean()))
    assert value(found, "morphology") == 4.0


def test_without_the_lenses_geometry_injections_are_restricted(diagnose):
    for known in (pd.DataFrame(), lenses(10)):
        found = gap_budget.conclude(subject(known=known), diagnose, others())
        geometry = measure(found, "gap_budget/geometry")
        rows = injections()
        near = rows[rows["src_beta_frac"] <= 0.55]
        expected = (near["probability"] > 0.5).mean() - (rows["probability"] > 0.5).mean()
        assert geometry.value == pytest.approx(100 * expected)
        assert "beta_frac <= 0.55" in geometry.method
        assert np.isnan(value(found, "visibility"))
    rows = injections()
    rows.loc[rows["lens_theta_e_arcsec"] == 2.0, "probability"] = 0.9
    wide = pd.DataFrame({"lens_theta_e_arcsec": np.linspace(1.8, 2.4, 30)})
    found = gap_budget.conclude(subject(rows, wide), diagnose, others())
    assert value(found, "geometry") == pytest.approx(100 - 100 * (rows["probability"] > 0.5).mean())
    assert "weighted to the theta_E of 30 lenses" in measure(found, "gap_budget/geometry").method
    far = lenses().assign(arc_snr=lambda rows: rows["arc_snr"] + 90.0)
    refused = measure(gap_budget.conclude(subject(known=far), diagnose, others()), "gap_budget/visibility")
    assert np.isnan(refused.value)
    assert "cover" in refused.method


def test_what_is_not_measured_is_said(diagnose):
    nothing = Outcome("diagnose")
    found = gap_budget.conclude(subject(known=pd.DataFrame()), diagnose, nothing)
    assert np.isnan(value(found, "gap"))
    assert np.isnan(value(found, "remainder"))
    assert value(found, "sum") == value(found, "geometry")
    assert found.findings[0].text.startswith("The gap at p0.5 is not measured.")
    refused = Measure("lens_recall/all/p0.5", math.nan, method="refused: the model trained on 100 of 110 test lenses")
    told = measure(gap_budget.conclude(subject(), diagnose, Outcome("diagnose", (refused,))), "gap_budget/gap")
    assert "trained on 100 of 110" in told.method
    other = diagnose.model_copy(update={"gap_threshold": "fpr1e-3@val"})
    for outcome in (
        gap_budget.conclude(subject(), other, others()),
        gap_budget.conclude(subject(injections().head(0)), diagnose, others()),
    ):
        assert all(np.isnan(m.value) and m.method.startswith("not measurable") for m in outcome.measures)
        assert {m.name for m in outcome.measures} >= {"gap_budget/gap", "gap_budget/remainder"}
        assert outcome.findings[0].text.startswith("The gap is not measured: ")


def test_it_is_given_what_the_diagnostics_before_it_found(monkeypatch):
    def first(subject, params):
        return Outcome("first", (Measure("first/one", 1.0),))

    def last(subject, params, found):
        return Outcome("last", (Measure("last/seen", float(len(found.measures))),))

    modules = [SimpleNamespace(__name__="x.first", diagnose=first), SimpleNamespace(__name__="x.last", conclude=last)]
    outcome = discovery.run(modules, SimpleNamespace(params=None))
    assert measure(outcome, "last/seen").value == 1.0
    names = [module.__name__.rpartition(".")[2] for module in discovery.found()]
    assert names[-1] == "gap_budget"
    assert "gap_budget/terms" in discovery.drawings()
