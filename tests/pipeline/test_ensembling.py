"""What an ensemble is fitted to: hosts, thresholds and tests of its audit are others."""

from __future__ import annotations

import pandas as pd

from pipeline.finders.ensembling import fits


def test_lenses_and_half_of_the_possible_hosts_fit_a_meta_learner() -> None:
    uses = ["threshold", "host", "test"] * 200
    rows = pd.DataFrame({"galaxy_id": [f"ls-dr10:{n}" for n in range(600)], "label": 0, "negative_use": uses})
    rows.loc[:49, ["label", "negative_use"]] = [1, None]
    chosen = rows[fits(rows)]
    assert (chosen["label"] == 1).sum() == 50
    negatives = chosen[chosen["label"] == 0]
    assert set(negatives["negative_use"]) == {"host"}
    assert 60 < len(negatives) < 125, "about half of 183"
    again = rows.sample(frac=1.0, random_state=1)
    assert set(again[fits(again)]["galaxy_id"]) == set(chosen["galaxy_id"]), "whatever the order"
