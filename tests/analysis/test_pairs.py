"""Rows of the table of pairs: what each other finder makes of a finder's trials."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.comparisons.crossmodel import crossed
from analysis.comparisons.network import Finder, network
from analysis.comparisons.pairs import pair_rows
from analysis.reporting.compare import pairs_in_words
from lake import tables
from lake.contract import rules
from tests.analysis import trialframes
from tests.analysis.pairedtrials import finds_the_first, threshold


def both(shift: float, share: float) -> Finder:
    arcs = trialframes.variant("baseline", trialframes.even(shift), 60)
    drawn = finds_the_first(share, [f"h{place // 2}" for place in range(200)])
    return Finder(pd.concat([arcs, drawn], ignore_index=True), [threshold()])


FINDERS = {"a": both(-3.5, 0.3), "b": both(1.0, 0.4), "c": Finder(pd.DataFrame(), [threshold()])}


def test_rows_are_what_report_and_decisions_say():
    made = pd.DataFrame(pair_rows(FINDERS, "a")).set_index(["other", "quantity"])
    found = crossed(FINDERS["a"].trials, FINDERS["b"].trials)
    assert made.loc[("b", "other_ceiling"), "verdict"] == found.status == "GO"
    assert made.loc[("b", "ceiling"), ["value", "low", "high"]].tolist() == pytest.approx(
        [100 * each for each in (found.own.value, found.own.low, found.own.high)]
    )
    assert made.loc[("b", "ceiling_change"), ["value", "low", "high"]].tolist() == pytest.approx(found.change.points)
    term = next(m for m in network(FINDERS, "a", "p0.5") if m.name.endswith("/b"))
    assert made.loc[("b", "network"), ["value", "low", "high", "n"]].tolist() == pytest.approx(
        [term.value, term.low, term.high, term.n]
    )
    assert made.loc[("c", "other_ceiling"), "verdict"] == "NOT MEASURED"
    assert made.loc[("c", "network"), "method"].startswith("not measurable")
    assert pair_rows({"a": FINDERS["a"]}, "a") == []


def test_rows_meet_the_contract_and_read_as_figures():
    rows = pair_rows(FINDERS, "a")
    rules.require(tables.spec("finder_pairs"), tables.spec("finder_pairs").table(rows))
    words = pairs_in_words(pd.DataFrame(rows)).set_index(["other", "quantity"])
    assert words.loc[("b", "network"), "figure"].startswith("10.0 [")
    assert words.loc[("b", "network"), "figure"].endswith("] points")
    assert words.loc[("c", "network"), "figure"].startswith("not measurable")
    assert pairs_in_words(pd.DataFrame()).empty
