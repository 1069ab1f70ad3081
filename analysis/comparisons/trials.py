"""Trials of one experiment: outcomes of its variants, and what changes from one variant to another, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.records import UNMEASURED, Measure, Point, missing
from analysis.statistics.changes import Change, change, holm, shifted
from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered
from lake.tables.trials import BASELINE

LEVEL_P = 0.05
"""Below it a change is called significant, after Holm where bins are tested together."""
DRAWN = ("seed", "galaxy_id", "bin", "theta_e_arcsec", "beta_frac", "src_mag")
"""What makes a trial the same."""
COLUMNS = ("trial_id", *DRAWN, "arc_snr", "score", "probability", "host_probability")
_EXACT = "Bonett-Price interval, host-clustered"


def scored(trials: pd.DataFrame, experiment: str, variant: str) -> pd.DataFrame:
    """The scored trials of a variant; none where it was not made."""
    if trials.empty:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in COLUMNS})
    held = (trials["experiment"] == experiment) & (trials["variant"] == variant) & (trials["status"] == "scored")
    return trials.loc[held, list(COLUMNS)].reset_index(drop=True)


def variants(trials: pd.DataFrame, experiment: str) -> list[str]:
    """Names of the variants that were made, in their order."""
    return [] if trials.empty else trials.loc[trials["experiment"] == experiment, "variant"].unique().tolist()


def bins(trials: pd.DataFrame, experiment: str) -> list[str]:
    """All bins of an experiment, the brightest sources first; one whose trials all failed is among them."""
    if trials.empty:
        return []
    rows = trials[trials["experiment"] == experiment]
    return rows.groupby("bin")["src_mag"].mean().sort_values(kind="stable").index.tolist()


def lacking(trials: pd.DataFrame, experiment: str, variant: str) -> str | None:
    """Why a variant has no scored trial; None if it has some."""
    if len(scored(trials, experiment, variant)):
        return None
    made = variants(trials, experiment)
    if not made:
        return f"there are no trials of {experiment}"
    if variant not in made:
        return f"{variant} was not made; another preprocessing needs a network of this project"
    return f"all trials of {variant} failed"


def share_of_hosts(name: str, found: pd.Series, hosts: pd.Series, method: str) -> Measure:
    """A share of trials with an interval that is clustered by their hosts."""
    if not len(found):
        return missing(name, "no trial was scored")
    each = found.astype(np.float64).groupby(hosts.to_numpy()).agg(["sum", "count"]).to_numpy()
    k, n = each.sum(axis=0)
    squares = [np.atleast_1d(x) for x in (each[:, 0] @ each[:, 0], each[:, 0] @ each[:, 1], each[:, 1] @ each[:, 1])]
    sums = ClusterSums(np.array([len(each)], np.float64), squares[0], squares[1], squares[2])
    low, high = clustered([k], [n], sums, TABLE_LEVEL)
    return Measure(name, k / n, float(low[0]), float(high[0]), int(n), method=f"host-clustered; {method}")


@dataclass(frozen=True)
class Comparison:
    """What changes from one variant to another, over the same trials."""

    name: str
    """Beginning of the names of its measures"""
    bins: Sequence[str]
    by_bin: Sequence[Change]
    p_holm: Sequence[float]
    """p of each bin, adjusted for all bins"""
    whole: Change
    """Over all bins"""
    score: tuple[float, float, float, float, int]
    """See :func:`analysis.statistics.changes.shifted`"""
    refused: str | None = None
    """Why there is nothing to compare"""

    def measures(self) -> Iterator[Measure]:
        """Changes in points, with p-values; of scores in logits."""
        if self.refused is not None:
            yield missing(f"{self.name}/change/all", self.refused)
            return
        for label, found, p in zip(self.bins, self.by_bin, self.p_holm, strict=True):
            yield _points(f"{self.name}/change/{label}", found)
            how = "exact McNemar test, Holm over the bins"
            yield Measure(f"{self.name}/p_holm/{label}", p, n=found.trials, method=how)
        yield _points(f"{self.name}/change/all", self.whole)
        signs = "exact test of the hosts' net changes (McNemar's where each has one trial), all bins together"
        yield Measure(f"{self.name}/p/all", self.whole.p, n=self.whole.trials, method=signs)
        median, low, high, p, hosts = self.score
        what = "median over hosts of the change of the score (logit)"
        yield Measure(f"{self.name}/score", median, low, high, hosts, method=f"{what}, order-statistic interval")
        yield Measure(f"{self.name}/score_p", p, n=hosts, method=f"Wilcoxon signed-rank test of the {what}")

    def points(self, figure: str, series: str) -> list[Point]:
        """The change of each bin with pairs, in points."""
        return [
            Point(figure, series, place, *of.points, of.trials, label)
            for place, (label, of) in enumerate(zip(self.bins, self.by_bin, strict=True))
            if of.trials
        ]

    @property
    def significant(self) -> list[str]:
        """Bins that change, after Holm."""
        return [label for label, p in zip(self.bins, self.p_holm, strict=True) if p < LEVEL_P]

    @property
    def words(self) -> str:
        """The change in words."""
        if self.refused is not None:
            return f"{UNMEASURED}{self.refused}"
        value, low, high = self.whole.points
        where = f"in {', '.join(self.significant)}" if self.significant else "in no single bin"
        tested = f"p = {self.whole.p:.2g}, {self.whole.trials:,} pairs; significant {where}, Holm"
        return f"{value:+.1f} [{low:.1f}, {high:.1f}] points ({tested})"


def compared(
    name: str, trials: pd.DataFrame, experiment: str, after: str, threshold: float, before: str = BASELINE
) -> Comparison:
    """One variant of an experiment against another, at a probability threshold."""
    refused = lacking(trials, experiment, before) or lacking(trials, experiment, after)
    both = pairs(trials, experiment, before, after)
    if refused is None and both.empty:
        refused = f"no trial was scored in both {before} and {after}"
    labels = bins(trials, experiment)
    parts = [_change(both[both["bin"] == label], threshold) for label in labels]
    score = shifted(both["score_after"] - both["score_before"], both["galaxy_id"])
    adjusted = holm([part.p for part in parts])
    return Comparison(name, labels, parts, adjusted, _change(both, threshold), score, refused)


def pairs(trials: pd.DataFrame, experiment: str, before: str, after: str) -> pd.DataFrame:
    """Trials that are scored in both variants: `trial_id`, `galaxy_id`, `bin`, and score and probability of each."""
    own = ["trial_id", "score", "probability"]
    first, second = scored(trials, experiment, before), scored(trials, experiment, after)
    kept = first[["galaxy_id", "bin", *own]]
    return kept.merge(second[own], on="trial_id", suffixes=("_before", "_after"), validate="one_to_one")


def _change(both: pd.DataFrame, threshold: float) -> Change:
    before, after = (both[f"probability_{when}"] > threshold for when in ("before", "after"))
    return change(before, after, both["galaxy_id"])


def _points(name: str, of: Change) -> Measure:
    if not of.trials:
        return missing(name, "no pair was scored")
    how = f"{_EXACT}; {of.gained} gained, {of.lost} lost"
    return Measure(name, *of.points, of.trials, "points", how)
