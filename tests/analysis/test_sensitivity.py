"""The diagnostic of perturbations, on frames of trials."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics import sensitivity
from analysis.diagnostics.sensitivity import Params, label
from analysis.results.reweighting import Weights
from analysis.statistics.contrasts import mean_change
from tests.analysis.outcomes import measure, status
from tests.analysis.pairedtrials import threshold, trials

N = 400
HOSTS = [f"h{place // 2}" for place in range(N)]
BINS = [f"c{place // 40}" for place in range(N)]


def perturbed(**changes):
    """A tenth of the trials is detected; each variant finds (or loses) some more from the start (or the end)."""
    base = (np.arange(N) % 10 == 0).astype(float)
    hits = {"baseline": base}
    for name, share in changes.items():
        found, some = base.copy(), round(abs(share) * N)
        places = np.flatnonzero(base == (share < 0))[:: -1 if share < 0 else 1][:some]
        found[places] = float(share > 0)
        hits[name.replace("_02", "_0.2")] = found
    return trials("sensitivity", hits, HOSTS, BINS)


def subject(rows, weights=None, interval=(0.05, 0.15)):
    marginal = {"cell": "marginal", "threshold_id": "p0.5", "source_mag_bin": "all", "completeness": 0.1, "n": N}
    low, high = interval
    return SimpleNamespace(
        trials=rows,
        thresholds=[threshold(), threshold("fpr1e-3@val", status="not measurable")],
        completeness=pd.DataFrame([{**marginal, "joint_95_low": low, "joint_95_high": high}]),
        trial_weights=weights or (lambda rows, prior: "no prior"),
        seed=1,
    )


@pytest.fixture
def params(diagnose):
    return diagnose


def test_mean_changes_are_those_of_pairs_with_hosts_as_clusters(params):
    rows = perturbed(psf_plus_10=-0.05, psf_minus_10=0.03, colour_plus_02=0.0, poisson=-0.02)
    found = sensitivity.diagnose(subject(rows), params)
    for name, share in {"psf_plus_10": -5.0, "psf_minus_10": 3.0, "colour_plus_0.2": 0.0, "poisson": -2.0}.items():
        assert measure(found, f"sensitivity/{name}/change/p0.5").value == pytest.approx(share)
    wide = rows.pivot(index="trial_id", columns="variant", values="probability") > 0.5
    expected = mean_change(wide["psf_plus_10"].astype(float) - wide["baseline"], [HOSTS])
    shown = measure(found, "sensitivity/psf_plus_10/change/p0.5")
    assert (shown.low, shown.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert "reference system had -0.52" in shown.method
    assert not any("fpr1e-3" in one.name for one in found.measures)
    assert measure(found, "sensitivity/completeness/p0.5").value == pytest.approx(10.0)
    assert [point.label for point in found.points] == ["PSF +10 %", "PSF -10 %", "source colour +0.2 mag", "poisson"]


def test_systematic_adds_the_larger_end_of_each_assumption(params):
    others = dict.fromkeys(("colour_plus_02", "colour_minus_02", "q_low_minus_02", "q_low_plus_02"), 0.0)
    own = {"psf_plus_10": -0.03, "psf_minus_10": 0.01, "re_plus_30": -0.04, "re_minus_30": -0.02, "poisson": -0.09}
    rows = perturbed(**own, **others)
    found = sensitivity.diagnose(subject(rows), params)
    assert measure(found, "sensitivity/systematic/p0.5").value == pytest.approx(5.0), "Poisson noise is no assumption"
    assert status(found, "sensitivity/systematic") == "PASS"
    narrow = sensitivity.diagnose(subject(rows, interval=(0.06, 0.14)), params)
    assert status(narrow, "sensitivity/systematic") == "WARN"
    assert "statistical half-width of 4.0" in narrow.findings[0].text
    assert "-9.0" in narrow.findings[0].text, "poisson moves it most"
    unknown = sensitivity.diagnose(subject(rows, interval=(np.nan, np.nan)), params)
    assert status(unknown, "sensitivity/systematic") == "NOT MEASURED"


def test_the_largest_change_in_a_cell_stands_beside_noise(params):
    rows = perturbed(psf_plus_10=0.05)  # 20 more in the first cell, none elsewhere
    found = sensitivity.diagnose(subject(rows), params)
    largest, noise = (
        measure(found, f"sensitivity/psf_plus_10/{kind}/p0.5") for kind in ("largest", "largest_by_noise")
    )
    assert largest.value == pytest.approx(50.0)
    assert noise.low > 5.0
    assert noise.high < 25.0
    spread = measure(found, "sensitivity/psf_plus_10/cell_std/p0.5").value
    assert spread == pytest.approx(100 * np.std([0.5] + [0.0] * 9))
    assert spread > measure(found, "sensitivity/psf_plus_10/cell_std_by_noise/p0.5").high


def test_changes_are_weighted_to_other_priors_where_the_draws_cover_them(params):
    def weights(rows, prior):
        assert (rows["variant"] == "baseline").all()
        if prior == "v1":
            return Weights("v1", np.ones(len(rows)), 0.5)
        place = np.arange(len(rows))
        return Weights(prior, np.where(place < 40, 10.0, 0.0), 1.0)

    shuffled = perturbed(psf_plus_10=0.05).sample(frac=1.0, random_state=1)
    rows = shuffled.sort_values("trial_id", kind="stable")
    found = sensitivity.diagnose(subject(rows, weights), params)
    refused = measure(found, "sensitivity/psf_plus_10/v1")
    assert np.isnan(refused.value)
    assert refused.method.startswith("not measurable: the injections")
    assert measure(found, "sensitivity/psf_plus_10/anchored/p0.5").value == pytest.approx(50.0)
    assert "Weighted to other priors that change is anchored +50.0 [" in found.findings[0].text


def test_failed_trials_leave_their_pairs_and_no_trials_are_not_measured(params):
    rows = perturbed(psf_plus_10=0.05, psf_minus_10=0.0)
    rows.loc[(rows["variant"] == "psf_plus_10") & (rows["trial_id"] < "sensitivity/00040"), ["status"]] = "failed"
    found = sensitivity.diagnose(subject(rows), params)
    assert measure(found, "sensitivity/psf_plus_10/change/p0.5").n == N - 40
    assert measure(found, "sensitivity/psf_plus_10/change/p0.5").value == pytest.approx(0.0)
    assert measure(found, "sensitivity/psf_minus_10/change/p0.5").n == N
    for nothing in (pd.DataFrame(), rows[rows["variant"] != "baseline"]):
        outcome = sensitivity.diagnose(subject(nothing), params)
        assert [one.method[:14] for one in outcome.measures] == ["not measurable"]
        assert status(outcome, "sensitivity/systematic") == "NOT MEASURED"
    alone = sensitivity.diagnose(subject(rows[rows["variant"] == "baseline"]), params)
    assert status(alone, "sensitivity/systematic") == "NOT MEASURED"
    assert not alone.points
    at_none = params.model_copy(update={"sensitivity_threshold": "fpr1e-3@val"})
    assert status(sensitivity.diagnose(subject(rows), at_none), "sensitivity/systematic") == "NOT MEASURED"


def test_fewer_than_ten_hosts_are_not_measured(params):
    rows = perturbed(psf_plus_10=0.05)
    rows["galaxy_id"] = "h" + (rows["galaxy_id"].str[1:].astype(int) % 9).astype(str)
    found = sensitivity.diagnose(subject(rows), params)
    change = measure(found, "sensitivity/psf_plus_10/change/p0.5")
    assert np.isnan(change.value)
    assert change.method.startswith("not measurable: 400 trials in 9 hosts, fewer than 10")
    assert status(found, "sensitivity/systematic") == "NOT MEASURED"
    assert found.gates[0].rule.endswith("400 trials in 9 hosts, fewer than 10")


def test_a_systematic_without_some_assumption_warns_but_does_not_pass(params):
    small = perturbed(psf_plus_10=0.005, psf_minus_10=-0.005)
    found = sensitivity.diagnose(subject(small), params)
    assert status(found, "sensitivity/systematic") == "NOT MEASURED"
    assert "not measured: source radius +30 %" in found.gates[0].rule
    assert "not judged (not measured: source radius +30 %" in found.findings[0].text
    large = sensitivity.diagnose(subject(perturbed(psf_plus_10=-0.09)), params)
    assert status(large, "sensitivity/systematic") == "WARN"


def test_no_change_at_all_is_said_with_what_so_many_trials_allow(params):
    text = sensitivity.diagnose(subject(perturbed(psf_plus_10=0.0, re_plus_30=0.0)), params).findings[0].text
    assert text.startswith("No change of an assumption moves completeness at p0.5: [-")
    assert text.endswith("400 trials.")


def test_labels_read_as_words():
    assert label("q_low_minus_0.2") == "least axis ratio -0.2"
    assert label("re_plus_30") == "source radius +30 %"
    assert label("other_plus_3") == "other plus 3"
    assert Params.model_fields["sensitivity_threshold"].default == "p0.5"
