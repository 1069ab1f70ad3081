"""What a finder would return per square degree of the survey: lenses of a declared population, and contaminants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.fitted.standardised import Rate, standardised_rate
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.thresholds import Threshold

RANDOM = "N1"
"""Negatives drawn at random within a stratum."""
_ENDS = ("", "_low", "_high")


@dataclass(frozen=True)
class Sky:
    """The galaxies among which a finder searches."""

    pool: pd.DataFrame
    """Their number `n` per stratum: the other columns."""
    area_deg2: float
    """What they lie in."""

    @property
    def strata(self) -> list[str]:
        """The columns that make a stratum."""
        return [str(name) for name in self.pool.columns if name != "n"]


def contaminants(tested: pd.DataFrame, sky: Sky, threshold: float) -> Rate:
    """Galaxies of the survey per square degree that are no lenses and above a threshold.

    `tested`: objects of the reported split with `label`, `pool`, `probability` and the stratum; those drawn at random
    count. NaN where galaxies of a stratum were not tested.
    """
    held = tested[(tested["label"] == 0) & (tested["pool"] == RANDOM)]
    counted = held.assign(above=held["probability"] > threshold).groupby(sky.strata, observed=True)["above"]
    counts = counted.agg(["sum", "size"]).reset_index()
    strata = sky.pool.merge(counts, on=sky.strata, how="left")
    above, sampled = (strata[name].fillna(0).astype(float) for name in ("sum", "size"))
    return standardised_rate(above, sampled, strata["n"] / sky.area_deg2, TABLE_LEVEL)


def purity(expected: pd.DataFrame, tested: pd.DataFrame, sky: Sky, points: Mapping[str, Threshold]) -> pd.DataFrame:
    """Per threshold the lenses found, contaminants and purity, each with its range.

    `expected`: rows with `threshold_id` and `expected_low`, `expected`, `expected_high` per square degree. The ends of
    purity combine few lenses with many contaminants, and many with few: a range, not a confidence interval.
    """
    rows = []
    for row in expected.to_dict("records"):
        point = points.get(row["threshold_id"])
        if point is None or not point.measurable:
            continue
        wrong = contaminants(tested, sky, point.threshold)
        found = row["expected"], row["expected_low"], row["expected_high"]
        pairs = zip(found, (wrong[0], wrong[2], wrong[1]), strict=True)
        triples = {"lenses": found, "contaminants": wrong, "purity": tuple(_share(*pair) for pair in pairs)}
        ends = {f"{name}{end}": v for name, of in triples.items() for end, v in zip(_ENDS, of, strict=True)}
        rows.append({"threshold_id": row["threshold_id"], **ends})
    return pd.DataFrame(rows)


def _share(lenses: float, wrong: float) -> float:
    return lenses / (lenses + wrong) if lenses + wrong > 0 else float("nan")
