"""Diagnostics on trials: shares, ceiling and paired changes against statsmodels, and what cannot be measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from analysis.comparisons import trials
from analysis.diagnostics import bright_arcs, clipping, core_suppression, poisson
from analysis.records import Outcome
from tests.analysis import trialframes
from tests.analysis.outcomes import measure, status

MODULES = (bright_arcs, poisson, clipping, core_suppression)


def outcome(module: Any, frame: pd.DataFrame, diagnose: Any, thresholds: Any = ()) -> Outcome:
    found: Outcome = module.diagnose(SimpleNamespace(trials=frame, thresholds=thresholds), diagnose)
    assert found.diagnostic == module.__name__.rpartition(".")[2]
    assert all(point.figure in module.FIGURES for point in found.points)
    return found


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return trialframes.experiment()


def test_shares_and_the_ceiling_are_counts(frame, diagnose):
    thresholds = [SimpleNamespace(threshold_id="fpr1e-2@val", threshold=0.8, measurable=True)]
    found = outcome(bright_arcs, frame, diagnose, thresholds)
    base = frame[frame["variant"] == "baseline"]
    for name, level in {"p0.3": 0.3, "p0.5": 0.5, "fpr1e-2@val": 0.8}.items():
        shares = (base["probability"] > level).groupby(base["bin"]).mean()
        for label, share in shares.items():
            one = measure(found, f"bright_arcs/detected/{label}/{name}")
            assert one.value == pytest.approx(share)
            assert one.low <= share <= one.high
        top = measure(found, f"bright_arcs/ceiling/{name}")
        assert top.value == pytest.approx(shares.max())
        assert f"largest share, in {shares.idxmax()}" in top.method
        assert top.low < measure(found, f"bright_arcs/detected/{shares.idxmax()}/{name}").low
    assert measure(found, "bright_arcs/bare_hosts/p0.3").value == 0.0
    snr = base[base["bin"] == "20-21"]["arc_snr"]
    assert measure(found, "bright_arcs/arc_snr/20-21").value == pytest.approx(snr.median())
    free = frame[frame["variant"] == "unrestricted"]
    freed = (free["probability"] > 0.3).groupby(free["bin"]).mean().max()
    assert measure(found, "bright_arcs/unrestricted/ceiling/p0.3").value == pytest.approx(freed)


@pytest.mark.parametrize(("shift", "wanted"), [(1.0, "GO"), (-3.2, "BORDERLINE"), (-5.5, "NO-GO")])
def test_the_gate_knows_where_the_interval_lies(shift, wanted, diagnose):
    rows = trialframes.variant("baseline", trialframes.even(shift))
    found = outcome(bright_arcs, pd.concat([rows, rows.assign(variant="unrestricted")]), diagnose)
    assert status(found, "bright_arcs/ceiling") == wanted
    words = {
        "GO": "above the gate's 40 %",
        "BORDERLINE": "40 % lies within",
        "NO-GO": "large source offsets do not explain",
    }
    assert words[wanted] in found.findings[0].text


def test_a_finder_that_finds_every_host_finds_no_arc(frame, diagnose):
    """Sure of everything: arcs are above the threshold, and so are their hosts without them."""
    sure = frame.assign(score=9.0, probability=0.999, host_probability=0.999)
    found = outcome(bright_arcs, sure, diagnose)
    assert measure(found, "bright_arcs/ceiling/p0.3").value == 1.0
    assert status(found, "bright_arcs/ceiling") == "NOT MEASURED"
    assert "100.0 % [" in found.gates[0].rule
    assert "because bare hosts are found as often" in found.findings[0].text


def test_paired_changes_are_mcnemars_and_holms(frame, diagnose):
    found = outcome(poisson, frame, diagnose)
    before, after = (frame[frame["variant"] == name].set_index("trial_id") for name in ("baseline", "poisson"))
    p_values = []
    for label in trials.bins(frame, "bright_arcs"):
        old = (before["probability"] > 0.3)[before["bin"] == label]
        new = (after["probability"] > 0.3).loc[old.index]
        table = [[(old & new).sum(), (old & ~new).sum()], [(~old & new).sum(), (~old & ~new).sum()]]
        p_values.append(mcnemar(table, exact=True).pvalue)
        assert measure(found, f"poisson/own_clip/change/{label}").value == pytest.approx(
            100 * (new.mean() - old.mean())
        )
    adjusted = multipletests(p_values, method="holm")[1]
    for label, p in zip(trials.bins(frame, "bright_arcs"), adjusted, strict=True):
        assert measure(found, f"poisson/own_clip/p_holm/{label}").value == pytest.approx(p)
    whole = measure(found, "poisson/own_clip/change/all")
    assert whole.n == 320
    assert whole.low < whole.high < 0.0
    assert measure(found, "poisson/own_clip/p/all").value < 1e-3
    assert measure(found, "poisson/own_clip/score").value == pytest.approx(-0.4)
    assert measure(found, "poisson/own_clip/score_p").value < 1e-6
    # With another clip range the comparison is with that clip range, without noise.
    assert measure(found, "poisson/clip20/score").value == pytest.approx(-0.4)


def test_bins_are_those_declared_the_brightest_first(frame):
    assert trials.bins(frame, "bright_arcs") == [f"{low}-{low + 1}" for low in range(18, 26)]
    faint = frame["bin"] == "25-26"
    failed = frame.assign(status=np.where(faint, "failed", "scored"), score=frame["score"].where(~faint))
    assert trials.bins(failed, "bright_arcs")[-1] == "25-26"
    found = trials.compared("x", failed, "bright_arcs", "poisson", 0.3)
    assert np.isnan(found.p_holm[-1])
    assert [one.name for one in found.measures() if one.method.startswith("not measurable")] == ["x/change/25-26"]


def test_a_trial_that_failed_in_one_variant_is_in_no_pair(frame):
    lost = frame.copy()
    place = lost.index[lost["variant"] == "poisson"][3]
    lost.loc[place, ["status", "score", "probability"]] = "failed", np.nan, np.nan
    both = trials.pairs(lost, "bright_arcs", "baseline", "poisson")
    assert len(both) == 319
    assert lost.loc[place, "trial_id"] not in set(both["trial_id"])


def test_clipping_names_its_bins_and_core_suppression_changes_nothing(frame, diagnose):
    found = outcome(clipping, frame, diagnose)
    small, large = (measure(found, f"clipping/{name}/change/18-19") for name in ("clip20", "clip100"))
    assert small.high < 0.0 < large.low
    assert measure(found, "clipping/clip20/change/22-23").value == 0.0
    text = found.findings[0].text
    assert text.index("clip20: -") < text.index("clip100: +")
    calm = outcome(core_suppression, frame, diagnose)
    assert measure(calm, "core_suppression/change/all").value == 0.0
    assert measure(calm, "core_suppression/p/all").value == 1.0
    assert measure(calm, "core_suppression/score_p").value == 1.0


def test_a_high_gain_that_changes_answers_fails(frame, diagnose):
    assert status(outcome(poisson, frame, diagnose), "poisson/high_gain") == "PASS"
    high = frame["variant"] == "high_gain"
    noisy = frame.assign(score=frame["score"] + np.where(high, 0.01, 0.0))
    assert status(outcome(poisson, noisy, diagnose), "poisson/high_gain") == "FAIL"
    crossing = frame.copy()
    place = crossing.index[high & (crossing["probability"] > 0.3)][0]
    crossing.loc[place, "probability"] = 0.29
    assert status(outcome(poisson, crossing, diagnose), "poisson/high_gain") == "FAIL"


@pytest.mark.parametrize("module", MODULES)
def test_without_trials_nothing_is_measured_and_nothing_fails(module, diagnose):
    found = outcome(module, pd.DataFrame(), diagnose)
    assert all(np.isnan(one.value) for one in found.measures)
    assert all(one.method.startswith("not measurable") for one in found.measures)
    assert {gate.status for gate in found.gates} <= {"NOT MEASURED"}
    assert "not measurable" in found.findings[0].text
    assert found.points == ()


def test_the_clip_range_of_a_users_finder_is_its_own(frame, diagnose):
    theirs = trialframes.not_ours(frame)
    found = outcome(clipping, theirs, diagnose)
    assert "only networks of this project" in found.findings[0].text
    assert [one.name for one in found.measures] == ["clipping/change/all"]
    assert {one.name.split("/")[1] for one in outcome(poisson, theirs, diagnose).measures} == {"own_clip", "high_gain"}
    assert status(outcome(bright_arcs, theirs, diagnose), "bright_arcs/ceiling") != "NOT MEASURED"


def test_trials_that_all_failed_are_not_measured(frame, diagnose):
    failed = frame.assign(status="failed", score=np.nan, probability=np.nan, host_probability=np.nan)
    for module in MODULES:
        found = outcome(module, failed, diagnose)
        assert "not measurable" in found.findings[0].text
        assert {gate.status for gate in found.gates} <= {"NOT MEASURED"}
