"""Differences between finders on what both were measured on: against other code, and against independent errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from analysis.comparisons.differences import Measured, paired
from analysis.comparisons.trials import scored
from tests.analysis import trialframes

AT = {"p0.3": 0.3, "p0.5": 0.5}


def objects(found_lenses: int, found_negatives: int, n: int = 100) -> pd.DataFrame:
    """As many lenses and negatives; the first of each are above 0.5; half of the lenses are Tier A."""
    probability = np.r_[np.arange(n) < found_lenses, np.arange(n) < found_negatives] * 0.8 + 0.1
    tier = ["A", "B"] * (n // 2) + [None] * n
    ids = [f"g{place}" for place in range(2 * n)]
    return pd.DataFrame({"galaxy_id": ids, "label": [1] * n + [0] * n, "tier": tier, "probability": probability})


@pytest.mark.parametrize(
    ("measure", "difference", "n"),
    [("recall/p0.5", 0.10, 100), ("lens_recall/all/p0.5", 0.10, 100), ("recall/tier_A/p0.5", 0.10, 50),
     ("lens_recall/tier_B/p0.5", 0.10, 50), ("fpr/p0.5", -0.03, 100)],
)  # fmt: skip
def test_shares_of_the_same_galaxies(measure, difference, n):
    own, other = (
        Measured(objects(80, 2), thresholds=AT),
        Measured(objects(70, 5).sample(frac=1, random_state=1), thresholds=AT),
    )
    found = paired(measure, own, other)
    assert found.value == pytest.approx(difference)
    assert f"paired on {n} galaxies" in found.how
    assert found.low < found.value < found.high
    ends = [proportion_confint(share * n, n, method="wilson") for share in (0.8, 0.7)]
    independent = np.hypot(*(high - low for low, high in ends))
    assert found.high - found.low < 0.85 * independent, "what both have in common cancels"
    assert paired(measure, other, own).value == pytest.approx(-difference)


def trials(shift: float) -> Measured:
    return Measured(trials=trialframes.variant("baseline", trialframes.even(shift), 150), thresholds=AT)


def test_the_largest_shares_of_the_same_trials():
    own, other = trials(0.0), trials(-0.6)
    found = paired("bright_arcs/ceiling/p0.3", own, other)
    by_bin = [scored(one.trials, "bright_arcs", "baseline").groupby("bin")["probability"] for one in (own, other)]
    shares = [rows.apply(lambda each: (each > 0.3).mean()) for rows in by_bin]
    assert found.value == pytest.approx(shares[0].max() - shares[1].max())
    assert 0.0 < found.low < found.value < found.high
    share, n = shares[0].max(), 150
    assert found.high - found.low < 2 * 1.96 * np.sqrt(2 * share * (1 - share) / n), "narrower than two samples"
    one = paired("bright_arcs/detected/20-21/p0.3", own, other)
    assert one.value == pytest.approx(shares[0]["20-21"] - shares[1]["20-21"])
    same = paired("bright_arcs/ceiling/p0.3", own, own)
    assert same.value == 0.0
    assert same.low < 0.0 < same.high


@pytest.mark.parametrize(
    ("measure", "own", "other"),
    [
        ("split/train_share", trials(0.0), trials(0.0)),
        ("recall/p0.5", trials(0.0), trials(0.0)),
        ("recall/tier_C/p0.5", Measured(objects(9, 9), thresholds=AT), Measured(objects(8, 9), thresholds=AT)),
        ("recall/fpr1e-3@val", Measured(objects(9, 9), thresholds=AT), Measured(objects(8, 9), thresholds=AT)),
        ("bright_arcs/ceiling/p0.3", trials(0.0), Measured(thresholds=AT)),
        ("bright_arcs/ceiling/p0.3", trials(0.0), Measured(trials=trials(0.0).trials.assign(seed=2), thresholds=AT)),
    ],
)
def test_what_has_nothing_in_common_is_not_paired(measure, own, other):
    assert paired(measure, own, other) is None
