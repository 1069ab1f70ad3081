"""Fractions above a threshold that is itself uncertain, because it is derived from a sample at a given rate.

The threshold's uncertainty is its exact bootstrap distribution; at each of its values the fraction has the beta
distributions of its counts (effective counts if injections share hosts). The limits are those of the mixtures
(:mod:`analysis.statistics.limits`): a joint bootstrap over negatives and injections without its noise, and without its
interval [0, 0] when nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.completeness import ALL, MARGINAL, bin_numbers
from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, effective_counts, mixture
from analysis.statistics.thresholds import Distribution, Ends, bootstrap_thresholds
from lake.sky.imaging import Imaging
from lake.sky.split import LEAST_ABOVE

Floats = NDArray[np.float64]
Group = tuple[str, str, NDArray[np.int64], Floats]
"""Cell, magnitude bin, host codes and probabilities of a row."""
_BAND_POINTS = 40
_KEYS = ("cell", "source_mag_bin", "threshold_id")
_RANGE = ("unlisted_low", "unlisted_high", "unlisted_bound_low", "unlisted_bound_high")


def share_interval(hosts: ArrayLike, values: ArrayLike, threshold: Distribution, level: float) -> tuple[float, float]:
    """Interval of the fraction of `values` above an uncertain threshold; `hosts` names the cluster of each value."""
    k, n = _effective(np.unique(np.asarray(hosts), return_inverse=True)[1], np.asarray(values, float), threshold, level)
    low, high = mixture(k[:, None], n[:, None], threshold[1], level)
    return float(low[0]), float(high[0])


def tpr_interval(positive: ArrayLike, negative: ArrayLike, fpr: float, level: float) -> tuple[float, float]:
    """Interval of the true-positive rate at a false-positive rate of the same sample."""
    values = np.asarray(positive, float)
    return share_interval(np.arange(len(values)), values, bootstrap_thresholds(negative, fpr), level)


def roc_band(positive: Floats, negative: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Rates with at least ten negatives above the threshold, and the bounds of the true-positive rate there."""
    if len(negative) <= LEAST_ABOVE:
        return np.empty(0), np.empty(0), np.empty(0)
    rates = np.geomspace(LEAST_ABOVE / len(negative), 1.0 - 1.0 / len(negative), _BAND_POINTS)
    bounds = np.array([tpr_interval(positive, negative, rate, level) for rate in rates])
    return rates, bounds[:, 0], bounds[:, 1]


def fpr_interval(positive: ArrayLike, negative: ArrayLike, tpr: float, level: float) -> tuple[float, float]:
    """Interval of the false-positive rate at the highest threshold that keeps a fraction `tpr` of the positives."""
    mirrored = bootstrap_thresholds(-np.asarray(positive, float), 1.0 - tpr)
    values = -np.asarray(negative, float)
    lost = share_interval(np.arange(len(values)), values, mirrored, level)
    return 1.0 - lost[1], 1.0 - lost[0]


def field_intervals(
    injections: pd.DataFrame, thresholds: Mapping[str, Distribution], edges: Sequence[float], imaging: Imaging
) -> pd.DataFrame:
    """95 % intervals of the marginals as statements about the sky: injections of one `field` (a brick) are one cluster.

    Otherwise as :func:`joint_intervals`, with `field_clustered_95_low` and `field_clustered_95_high`. A threshold that
    was chosen beforehand is a distribution of one value.
    """
    by_field = injections.assign(galaxy_id=injections["field"], cell=None)  # in no cell: marginals alone
    found = joint_intervals(by_field, thresholds, edges, imaging)
    return found.rename(columns=lambda name: name.replace("joint_95", "field_clustered_95"))


def joint_intervals(
    injections: pd.DataFrame, thresholds: Mapping[str, Distribution], edges: Sequence[float], imaging: Imaging
) -> pd.DataFrame:
    """95 % intervals of every row of a completeness table at derived thresholds, the threshold's uncertainty included.

    `injections`: scored ones, with `cell`, `galaxy_id` (host), the source's magnitude in the reference band and
    `probability`. The result has `cell`, `source_mag_bin`, `threshold_id`, `n`, `joint_95_low` and `joint_95_high`.
    """
    groups = list(_groups(injections, injections[imaging.source_columns[0]].to_numpy(float), edges))
    found = [pd.DataFrame(columns=[*_KEYS, "n", "joint_95_low", "joint_95_high"])]
    for threshold_id, distribution in thresholds.items() if groups else ():
        low, high = _bounds(groups, distribution)
        found.append(_keyed(groups, threshold_id).assign(joint_95_low=low, joint_95_high=high))
    return pd.concat(found[1:], ignore_index=True) if len(found) > 1 else found[0]


def unlisted_ranges(
    injections: pd.DataFrame, ends: Mapping[str, Ends], edges: Sequence[float], imaging: Imaging
) -> pd.DataFrame:
    """Completeness of every row at both ends of a derived threshold's range; of marginals with their outer bounds.

    Otherwise as :func:`joint_intervals`, with `unlisted_low`, `unlisted_high`, `unlisted_bound_low` and
    `unlisted_bound_high`: the lower bound of the interval of one end, the upper bound of that of the other (NaN in
    cells, where they would take twice the time of all intervals).
    """
    groups = list(_groups(injections, injections[imaging.source_columns[0]].to_numpy(float), edges))
    found = [pd.DataFrame(columns=[*_KEYS, "n", *_RANGE])]
    for threshold_id, (highest, lowest) in ends.items() if groups else ():
        rows = _keyed(groups, threshold_id)
        whole = (rows["cell"] == MARGINAL).to_numpy()
        marginals = [group for group, is_whole in zip(groups, whole, strict=True) if is_whole]
        for place, (end, (value, distribution)) in enumerate((("low", highest), ("high", lowest))):
            rows[f"unlisted_{end}"] = [float((values > value).mean()) for *_, values in groups]
            rows.loc[whole, f"unlisted_bound_{end}"] = _bounds(marginals, distribution)[place]
        found.append(rows)
    return pd.concat(found[1:], ignore_index=True) if len(found) > 1 else found[0]


def _keyed(groups: Sequence[Group], threshold_id: str) -> pd.DataFrame:
    keys = [(cell, name, threshold_id, len(values)) for cell, name, _, values in groups]
    return pd.DataFrame(keys, columns=[*_KEYS, "n"])


def _bounds(groups: Sequence[Group], distribution: Distribution) -> tuple[Floats, Floats]:
    """Bounds of every group's fraction above an uncertain threshold."""
    counts = [_effective(codes, values, distribution, TABLE_LEVEL) for _, _, codes, values in groups]
    k, n = (np.stack(part, axis=1) for part in zip(*counts, strict=True))
    low, high = mixture(k, n, distribution[1], TABLE_LEVEL)
    return low, high


def _groups(injections: pd.DataFrame, mags: Floats, edges: Sequence[float]) -> Iterator[Group]:
    """Cell, magnitude bin, host codes and probabilities of each row of the table that contains an injection."""
    bins = bin_numbers(mags, edges)
    names = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    named = injections.assign(galaxy_id=_codes(injections["galaxy_id"]))  # once: numbers are faster to number than text
    parts = {ALL: named} | {name: named[bins == i] for i, name in enumerate(names)}
    for name, part in parts.items():
        for cell, rows in ((MARGINAL, part), *part.groupby("cell", sort=True)):
            if len(rows):
                yield str(cell), name, _codes(rows["galaxy_id"]), rows["probability"].to_numpy(float)


def _codes(names: pd.Series) -> NDArray[np.int64]:
    """Numbers from 0 on for the different values, of which null may be one."""
    return np.asarray(pd.factorize(names, use_na_sentinel=False)[0], dtype=np.int64)


def _effective(
    codes: NDArray[np.int64], values: Floats, threshold: Distribution, level: float
) -> tuple[Floats, Floats]:
    """Effective successes and trials (2, values of the threshold), for both limits; `codes` number the clusters."""
    cuts, total = threshold[0], float(len(values))
    above: Floats = (len(values) - np.searchsorted(np.sort(values), cuts, side="right")).astype(np.float64)
    hosts, whole = np.full(len(cuts), float(codes.max(initial=-1) + 1)), np.full(len(cuts), total)
    sums = (above, above, whole) if hosts[0] == total else _host_sums(codes, values, cuts)
    return effective_counts(above, whole, ClusterSums(hosts, *sums), level)


def _host_sums(codes: NDArray[np.int64], values: Floats, cuts: Floats) -> tuple[Floats, Floats, Floats]:
    """Over hosts the sums of detected^2, detected * n and n^2, at every cut."""
    order = np.argsort(cuts)
    passed = np.searchsorted(cuts[order], values, side="left")  # how many cuts each value lies above
    size = len(cuts) + 1
    counted = np.bincount(codes * size + passed, minlength=(int(codes.max()) + 1) * size).reshape(-1, size)
    above = counted[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.float64)
    n = counted.sum(axis=1).astype(np.float64)[:, None]
    back = np.argsort(order)
    return (above**2).sum(axis=0)[back], (above * n).sum(axis=0)[back], np.full(len(cuts), (n**2).sum())
