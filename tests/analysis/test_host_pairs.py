"""The 2 x 2 of hosts and lens shapes, on frames of trials."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics import host_pairs
from tests.analysis.outcomes import measure
from tests.analysis.pairedtrials import threshold, trials

N = 300
SHARES = {"all_independent": 0.40, "all_conditioned": 0.42, "early_independent": 0.30, "early_conditioned": 0.26}


def corners(shares=SHARES, n=N):
    ordered = np.arange(n) / n
    hits = {corner: (ordered < share - 1e-9).astype(float) for corner, share in shares.items()}
    hosts = {corner: [f"{corner[:3]}{place}" for place in range(n)] for corner in shares}
    return trials("host_pairs", hits, hosts)


def judged(rows, params):
    return host_pairs.diagnose(SimpleNamespace(trials=rows, thresholds=[threshold()]), params)


def test_corners_effects_and_interaction(diagnose):
    found = judged(corners(), diagnose)
    for corner, share in SHARES.items():
        m = measure(found, f"host_pairs/{corner}/p0.5")
        assert m.value == pytest.approx(100 * share)
        assert m.low < m.value < m.high
    assert measure(found, "host_pairs/effect/hosts/p0.5").value == pytest.approx(-13.0)
    assert measure(found, "host_pairs/effect/shape/p0.5").value == pytest.approx(-1.0)
    assert measure(found, "host_pairs/effect/interaction/p0.5").value == pytest.approx(-6.0)
    text = found.findings[0].text
    assert "all hosts, independent lens shape 40.0 %" in text
    assert "hosts and interaction can be told from zero" in text
    assert {(p.series, p.label): p.y for p in found.points if p.figure == "host_pairs/corners"} == pytest.approx(
        {
            ("independent shape", "all hosts"): 0.40,
            ("conditioned shape", "all hosts"): 0.42,
            ("independent shape", "early-type hosts"): 0.30,
            ("conditioned shape", "early-type hosts"): 0.26,
        }
    )


def test_pairs_are_narrower_than_independent_groups_and_wider_where_hosts_recur(diagnose):
    once = measure(judged(corners(), diagnose), "host_pairs/effect/hosts/p0.5")
    apart = 1.96 * 100 * np.sqrt(2 * 0.25 / (2 * N))
    assert once.high - once.low < 2 * apart
    rows = corners()
    rows["galaxy_id"] = rows["galaxy_id"].str[:3] + (rows["galaxy_id"].str[3:].astype(int) // 30).astype(str)
    many = measure(judged(rows, diagnose), "host_pairs/effect/hosts/p0.5")
    assert many.value == once.value
    assert many.high - many.low > 2.5 * (once.high - once.low)


def test_equal_corners_are_not_told_apart(diagnose):
    found = judged(corners(dict.fromkeys(SHARES, 0.3)), diagnose)
    assert found.findings[0].text.endswith("none of them can be told from zero.")
    effect = measure(found, "host_pairs/effect/interaction/p0.5")
    assert effect.low < 0.0 < effect.high


def test_fewer_than_ten_hosts_are_not_measured(diagnose):
    rows = corners()
    early = rows["variant"].str.startswith("early")
    rows.loc[early, "galaxy_id"] = "e" + (np.arange(early.sum()) % 9).astype(str).astype(object)
    found = judged(rows, diagnose)
    assert all(m.method.startswith("not measurable") and np.isnan(m.value) for m in found.measures)


def test_without_a_corner_it_is_not_measured(diagnose):
    rows = corners()
    for some in (pd.DataFrame(), rows[rows["variant"] != "early_conditioned"], rows.assign(status="failed")):
        found = judged(some, diagnose)
        assert {m.name for m in found.measures} == {
            f"host_pairs/effect/{name}" for name in ("hosts", "shape", "interaction")
        }
        assert all(m.method.startswith("not measurable") and np.isnan(m.value) for m in found.measures)
        assert "is not judged: there are no trials of the experiment" in found.findings[0].text
        assert not found.points
