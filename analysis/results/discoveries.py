"""Objects that are not in the candidate list, ranked by score."""

from __future__ import annotations

import pandas as pd

from analysis.results.calibrated import probabilities
from lake.errors import invalid

VIEWER = "https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"


CALIBRATOR = "platt"
"""The calibrator whose probabilities are shown unless another is named."""


def ranked_candidates(
    scores: pd.DataFrame, positions: pd.DataFrame, limit: int, calibrations: pd.DataFrame, method: str = CALIBRATOR
) -> pd.DataFrame:
    """The `limit` best unlisted objects, best first.

    `scores`: rows of `scores` of one finder (`label` 0 is unlisted); `positions`: `galaxy_id`, `ra`, `dec` (degrees);
    `calibrations`: the finder's rows, of which `method` gives the columns `calibrated` to `sky_share`.
    `trained_on` marks objects that the finder was told are not lenses: their score is biased low (missing: not known).
    """
    if limit < 0:
        raise invalid("limit", "0 or more", limit)
    if scores["checkpoint_id"].nunique() > 1:
        raise invalid("scores", "of one checkpoint", sorted(scores["checkpoint_id"].unique()))
    unlisted = scores[scores["label"] == 0].merge(
        positions[["galaxy_id", "ra", "dec"]], how="inner", on="galaxy_id", validate="many_to_one"
    )
    best = unlisted.sort_values(["score", "galaxy_id"], ascending=[False, True]).head(limit).reset_index(drop=True)
    kept = best[["galaxy_id", "ra", "dec", "score", "probability", "split"]].assign(
        trained_on=best["seen_in_training"].astype("boolean"),
        viewer=[VIEWER.format(ra=ra, dec=dec) for ra, dec in zip(best["ra"], best["dec"], strict=True)],
    )
    kept.insert(0, "rank", range(1, len(best) + 1))
    known = probabilities(
        best["score"], calibrations, str(scores["checkpoint_id"].iloc[0]) if len(scores) else "", method
    )
    place = list(kept.columns).index("probability") + 1
    return pd.concat([kept.iloc[:, :place], known, kept.iloc[:, place:]], axis=1)
